"""Written bags: complete or absent, and understood by other readers."""

from __future__ import annotations

from bag_recipes import depth, image, info, record, START, transform
from diffseg_ros.errors import DiffsegError
from diffseg_ros.io import messages
from diffseg_ros.io.bag_writer import BagWriter
from diffseg_ros.io.messages import header, image_message
from diffseg_ros.io.source import open_source
import numpy as np
import pytest
from rosbags.interfaces import QosDurability
from rosbags.rosbag2 import Reader

NAMES = ('bag.mcap', 'bag.db3', 'bag')


@pytest.mark.parametrize('name', NAMES)
def test_only_the_bag_appears(tmp_path, name):
    path = record(tmp_path / 'new' / name, image(0, 0))
    assert [entry.name for entry in path.parent.iterdir()] == [name]
    assert path.is_dir() == ('.' not in name)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('existing', [False, True])
def test_failure_leaves_everything_as_it_was(tmp_path, name, existing):
    path = tmp_path / name
    if existing:
        record(path, image(7, 0))
    with pytest.raises(RuntimeError, match='power cut'):
        with BagWriter(path, overwrite=True) as writer:
            writer.write('/a', image(0, 0).message, START)
            assert [entry.name for entry in tmp_path.iterdir()
                    if not entry.name.startswith('.')] == ([name] if existing else [])
            raise RuntimeError('power cut')
    assert [entry.name for entry in tmp_path.iterdir()] == ([name] if existing else [])
    if existing:
        assert next(iter(open_source(path))).rgb[0, 0, 0] == 7


@pytest.mark.parametrize('name', NAMES)
def test_overwriting_is_asked_for(tmp_path, name):
    path = record(tmp_path / name, image(1, 0))
    with pytest.raises(DiffsegError, match='exists already'):
        BagWriter(path)
    with BagWriter(path, overwrite=True) as writer:
        writer.write('/rgb/image_raw', image(2, 0).message, START)
    assert next(iter(open_source(path))).rgb[0, 0, 0] == 2


def test_folders_that_are_no_bags_are_safe(tmp_path):
    (tmp_path / 'home').mkdir()
    (tmp_path / 'home' / 'letter').write_text('dear')
    (tmp_path / 'x.mcap').mkdir()
    (tmp_path / 'file').write_text('x')
    for name in ('home', 'x.mcap', 'file'):
        with pytest.raises(DiffsegError, match=name):
            BagWriter(tmp_path / name, overwrite=True)
    assert (tmp_path / 'home' / 'letter').read_text() == 'dear'


def test_place_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').write_text('x')
    with pytest.raises(DiffsegError, match='cannot be written'):
        with BagWriter(tmp_path / 'file' / 'bag.mcap'):
            pass


@pytest.mark.parametrize('name', NAMES)
def test_times_and_types(tmp_path, name):
    path = record(tmp_path / name, image(0, 0.000123), transform(1, 1, topic='/tf_static'))
    with Reader(path) as reader:
        found = [(item.topic, item.msgtype, time) for item, time, _ in reader.messages()]
        durability = {item.topic: item.ext.offered_qos_profiles[0].durability
                      for item in reader.connections}
    assert found == [('/rgb/image_raw', 'sensor_msgs/msg/Image', START + 123),
                     ('/tf_static', 'tf2_msgs/msg/TFMessage', START + 1_000_000)]
    assert durability == {'/rgb/image_raw': QosDurability.VOLATILE,
                          '/tf_static': QosDurability.TRANSIENT_LOCAL}


def test_mcap_describes_itself(tmp_path):
    decoder = pytest.importorskip('mcap_ros2.decoder', reason='mcap-ros2-support is missing')
    from mcap.reader import make_reader

    path = record(tmp_path / 'bag.mcap', info(11, 0), depth(1.5, 0), image(9, 0),
                  transform(4, 0))
    with path.open('rb') as file:
        reader = make_reader(file, decoder_factories=[decoder.DecoderFactory()])
        found = {channel.topic: message
                 for _, channel, _, message in reader.iter_decoded_messages()}
    assert found['/rgb/image_raw'].encoding == 'rgb8'
    assert found['/rgb/image_raw'].data[0] == 9
    assert found['/depth_registered/image_rect'].encoding == '32FC1'
    assert found['/rgb/camera_info'].k[0] == 11
    place = found['/tf'].transforms[0]
    assert (place.header.frame_id, place.child_frame_id) == ('map', 'camera')
    assert place.transform.translation.x == 4


@pytest.mark.parametrize('name', [
    'tf2_msgs/msg/TFMessage', 'visualization_msgs/msg/MarkerArray', 'sensor_msgs/msg/PointCloud2',
    'diagnostic_msgs/msg/DiagnosticArray', 'nav_msgs/msg/Odometry'])
def test_types_of_the_node_are_known(name):
    messages.require_type(name)
    assert messages.typestore().generate_msgdef(name)[0]


def test_type_of_an_installed_package(tmp_path, monkeypatch):
    folder = tmp_path / 'share' / 'acme_msgs' / 'msg'
    folder.mkdir(parents=True)
    (folder / 'Bolt.msg').write_text('std_msgs/Header header\nNut[] nuts\n')
    (folder / 'Nut.msg').write_text('float64 size\n')
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path))
    messages.typestore.cache_clear()
    try:
        with BagWriter(tmp_path / 'bag.mcap') as writer:
            types = messages.typestore().types
            messages.require_type('acme_msgs/msg/Bolt')
            bolt = types['acme_msgs/msg/Bolt'](header(5, 'x'), [types['acme_msgs/msg/Nut'](2.5)])
            writer.write('/bolt', bolt, 5)
            with pytest.raises(DiffsegError, match='acme_msgs/msg/Washer.*install its package'):
                writer.write_raw('/washer', 'acme_msgs/msg/Washer', 5, b'')
        with Reader(tmp_path / 'bag.mcap') as reader:
            ((connection, _, data),) = reader.messages()
        assert 'float64 size' in connection.msgdef.data
        assert types['acme_msgs/msg/Bolt'].__msgtype__ == connection.msgtype
        found = messages.deserialise(data, 'acme_msgs/msg/Bolt')
        assert found.nuts[0].size == 2.5
    finally:
        messages.typestore.cache_clear()


def test_one_type_for_each_topic(tmp_path):
    with pytest.raises(DiffsegError, match='began with sensor_msgs/msg/Image'):
        with BagWriter(tmp_path / 'bag.mcap') as writer:
            writer.write('/a', image(0, 0).message, START)
            writer.write('/a', transform(0, 0).message, START)


def test_arrays_and_stamps_that_do_not_fit():
    with pytest.raises(DiffsegError, match='3 x float32'):
        image_message(np.zeros((2, 2, 3), np.float32), 0, 'camera')
    for stamp in (-1, 2**31 * 10**9):
        with pytest.raises(DiffsegError, match='ROS time'):
            header(stamp, 'camera')
