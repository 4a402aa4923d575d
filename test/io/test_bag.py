"""Bags: how messages become frames, whatever their order and names."""

from __future__ import annotations

import struct

from bag_recipes import (
    compressed,
    DEPTH,
    depth,
    image,
    INFO,
    info,
    later,
    message,
    MS,
    on,
    pose_at,
    record,
    RGB,
    START,
    text,
    transform,
)
import cv2
from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.transforms import TransformTree
from diffseg_ros.io.bag import MessagePairing
from diffseg_ros.io.bag_reader import BagReader, choose_topics
from diffseg_ros.io.bag_writer import BagWriter
from diffseg_ros.io.base import TopicNames
from diffseg_ros.io.message_stream import open_stream
from diffseg_ros.io.messages import decode_colour, deserialise, IMAGE, image_message, typestore
from diffseg_ros.io.source import open_source
import numpy as np
import pytest

NAMES = ('bag.mcap', 'bag.db3', 'bag')


def frames_of(path, topics=None):
    """Return the frames of a bag in which none is broken."""
    items = list(open_source(path, topics).numbered_frames())
    assert [item.error for item in items] == [None] * len(items)
    assert [item.number for item in items] == list(range(len(items)))
    return [item.frame for item in items]


def numbers(frames):
    """Return the numbers that the pictures tell."""
    return [int(frame.rgb[0, 0, 0]) for frame in frames]


@pytest.mark.parametrize('name', NAMES)
def test_depth_info_and_pose_join_the_image(tmp_path, name):
    items = [item for n in range(5) for item in (
        transform(n, 100 * n), info(10 + n, 100 * n), depth(n + 1, 100 * n), image(n, 100 * n))]
    source = open_source(record(tmp_path / name, *items))
    assert (source.name, source.frame_count, source.warnings) == ('bag', 5, [])
    for _ in range(2):
        frames = list(source)
        assert numbers(frames) == [0, 1, 2, 3, 4]
        for n, frame in enumerate(frames):
            assert (frame.stamp, frame.frame_id) == (START + 100 * n * MS, 'camera')
            assert (frame.depth == n + 1).all()
            assert frame.intrinsics.fx == 10 + n
            np.testing.assert_allclose(frame.pose, pose_at(n))
    assert source.warnings == []


@pytest.mark.parametrize('name', NAMES)
def test_frames_come_in_the_order_of_stamps(tmp_path, name):
    items = []
    for n, delay in enumerate((0, 300, 0, 250, 10)):
        items += [later(image(n, 100 * n), delay), later(depth(n + 1, 100 * n), 310 - delay)]
    frames = frames_of(record(tmp_path / name, *sorted(items, key=lambda item: item.stamp)))
    assert numbers(frames) == [0, 1, 2, 3, 4]
    assert [frame.depth[0, 0] for frame in frames] == [1, 2, 3, 4, 5]


def test_depth_of_another_stamp(tmp_path):
    path = record(tmp_path / 'bag.mcap', depth(1, 0), image(0, 0), depth(2, 15), image(1, 30),
                  depth(3, 79), image(2, 100), depth(4, 121), image(3, 121), image(4, 150))
    source = open_source(path)
    found = [frame.depth for frame in source]
    assert [None if item is None else item[0, 0] for item in found] == [1, 2, None, 4, None]
    assert any('no depth within 20 ms' in note and '2 of 5' in note for note in source.warnings)


def test_camera_info_is_the_last_at_or_before(tmp_path):
    frames = frames_of(record(tmp_path / 'bag.mcap', image(0, 0), info(10, 50), image(1, 60),
                              image(2, 100), info(20, 100), image(3, 3000)))
    assert [frame.intrinsics.fx for frame in frames] == [10, 10, 20, 20]


def test_useless_camera_info_costs_only_the_clouds(tmp_path):
    source = open_source(record(tmp_path / 'bag.mcap', info(0, 0), image(0, 0), image(1, 50)))
    assert [frame.intrinsics for frame in source] == [None, None]
    assert any('uncalibrated' in note and '2 of 2' in note for note in source.warnings)


def test_poses_are_interpolated_along_the_chain(tmp_path):
    source = open_source(record(
        tmp_path / 'bag.mcap',
        transform(100, 0, 'base', 'camera', '/tf_static'), image(0, 0),
        transform(1, 20, 'odom', 'base'), transform(10, 20, 'map', 'odom'),
        image(1, 20), image(2, 70), transform(3, 120, 'odom', 'base'),
        transform(20, 120, 'map', 'odom'), image(3, 200)))
    frames = list(source)
    poses = [frame.pose for frame in frames]
    assert poses[0] is None
    assert frames[0].odom_pose is None and frames[3].odom_pose is None
    np.testing.assert_allclose(frames[1].odom_pose, pose_at(101))
    np.testing.assert_allclose(poses[1], pose_at(111))
    np.testing.assert_allclose(poses[2], pose_at(117))
    assert poses[3] is None
    assert any('no pose' in note and '2 of 4' in note for note in source.warnings)


def test_place_on_the_robot_is_no_pose(tmp_path):
    robot = record(tmp_path / 'robot.mcap',
                   transform(1, 0, 'base_link', 'camera', '/tf_static'), image(0, 0))
    fixed = record(tmp_path / 'fixed.mcap',
                   transform(1, 0, 'map', 'camera', '/tf_static'), image(0, 0))
    frame, = frames_of(robot)
    assert frame.pose is None and frame.up.tolist() == [0, 0, 1]
    np.testing.assert_allclose(frames_of(fixed)[0].pose, pose_at(1))


def test_looped_recording(tmp_path):
    items = []
    for turn in range(2):
        for n in range(4):
            shift = 400 * turn + 1000 * turn
            items += [later(transform(n + 10 * turn, 200 * n), shift),
                      later(depth(n + 10 * turn + 1, 200 * n), shift),
                      later(image(n + 10 * turn, 200 * n), shift)]
    frames = frames_of(record(tmp_path / 'bag.db3', *items))
    assert numbers(frames) == [0, 1, 2, 3, 10, 11, 12, 13]
    assert [frame.depth[0, 0] - 1 for frame in frames] == numbers(frames)
    assert [frame.pose[0, 3] for frame in frames] == numbers(frames)


def test_broken_image_in_the_middle(tmp_path):
    items = [image(0, 0), image(1, 100), image(2, 200), depth(1, 200), image(3, 300)]
    items[1].message.data = items[1].message.data[:20]
    items[3].message.encoding = '32SC3'
    items.insert(0, depth(1, 0))
    source = open_source(record(tmp_path / 'bag.mcap', *items))
    items = list(source.numbered_frames())
    assert [item.frame is None for item in items] == [False, True, False, False]
    assert '20 bytes of data, 144 are needed' in items[1].error
    assert items[2].frame.depth is None
    assert [frame.stamp for frame in source] == [items[n].frame.stamp for n in (0, 2, 3)]
    assert source.warnings[-1].startswith('1 of 4 frames cannot be read and were skipped')
    assert any(note.startswith(f"{DEPTH}: image encoding '32SC3'") and '1 of 4' in note
               for note in source.warnings)


def test_message_cut_short(tmp_path):
    data = bytes(typestore().serialize_cdr(image(1, 0).message, IMAGE))
    with BagWriter(tmp_path / 'bag.mcap') as writer:
        for number, part in enumerate((data, data[:60], data[:7], b'', data)):
            writer.write_raw(RGB, IMAGE, START + number * 10, part)
    items = list(open_source(tmp_path / 'bag.mcap').numbered_frames())
    assert sorted(item.frame is None for item in items) == [False, False, True, True, True]


def test_unregistered_depth_is_refused_by_name(tmp_path):
    source = open_source(record(tmp_path / 'bag.mcap', depth(1, 0, 'infrared'), image(0, 0)))
    assert [frame.depth for frame in source] == [None]
    assert any("'infrared'" in note and 'unregistered' in note for note in source.warnings)


def test_missing_parts_are_noted(tmp_path):
    source = open_source(record(tmp_path / 'bag.mcap', image(0, 0)))
    assert [note.split(':')[0] for note in source.warnings] == [
        'no depth topic', 'no camera_info topic', 'no tf']


@pytest.mark.parametrize('prefix', ['', '/', '/robot/', '/robot/front/'])
def test_names_match_in_any_namespace(tmp_path, prefix):
    items = [on(prefix + item.topic[1:], item) for item in (image(0, 0), depth(2, 0), info(9, 0))]
    (frame,) = frames_of(record(tmp_path / 'bag.mcap', *items, on('/other', image(5, 0))))
    assert numbers([frame]) == [0]
    assert frame.depth[0, 0] == 2
    assert frame.intrinsics.fx == 9


def test_most_sensible_topics_are_chosen(tmp_path):
    mono, colour, raw, aligned = (image(1, 0), image(2, 0), depth(3, 0, 'depth'), depth(4, 0))
    mono.message.encoding, mono.message.step = 'mono8', 8
    items = [on('/camera/infra1/image_rect_raw', mono), on('/camera/color/image_raw', colour),
             on('/camera/depth/image_rect_raw', raw), on('/diffseg/overlay', image(9, 0)),
             on('/camera/aligned_depth_to_color/image_raw', aligned),
             on('/camera/color/camera_info', info(6, 0)),
             on('/camera/depth/camera_info', info(7, 0))]
    path = record(tmp_path / 'bag.mcap', *items)
    (frame,) = frames_of(path)
    assert (numbers([frame]), frame.depth[0, 0], frame.intrinsics.fx) == ([2], 4, 6)
    assert any('/camera/color/image_raw' in note for note in open_source(path).warnings)


def test_named_topics(tmp_path):
    path = record(tmp_path / 'bag.mcap', image(0, 0), on('/other/image', image(5, 0)))
    (frame,) = frames_of(path, TopicNames(rgb='other/image'))
    assert numbers([frame]) == [5]
    with pytest.raises(DiffsegError,
                       match='no topic /none .*nearest are .*/other/image'):
        open_source(path, TopicNames(rgb='/none'))
    with pytest.raises(DiffsegError, match='no topic /none .*CameraInfo'):
        open_source(path, TopicNames(camera_info='/none'))


@pytest.mark.parametrize('kind', ['raw', 'compressed'])
@pytest.mark.parametrize('shift', [0, 7, 300])
def test_depth_topic_that_carries_colour(tmp_path, kind, shift):
    picture = cv2.imencode('.jpg', np.zeros((6, 8, 3), np.uint8))[1].tobytes()
    wrong = {'raw': on(DEPTH, image(5, shift)),
             'compressed': compressed(picture, 'bgr8; jpeg compressed bgr8', shift,
                                      f'{DEPTH}/compressed')}[kind]
    path = record(tmp_path / 'bag.mcap', image(0, 0), image(1, 50), info(9, 0), wrong)
    source = open_source(path)
    assert [frame.depth for frame in source] == [None, None]
    encoding = {'raw': 'rgb8', 'compressed': 'bgr8'}[kind]
    note, = [note for note in source.warnings if 'depth' in note]
    assert note == (f"{wrong.topic}: image encoding '{encoding}' is not supported as a depth "
                    'image; supported are 16SC1, 16UC1, 32FC1, 64FC1, mono16; this is a colour '
                    'image: name the topic of the depth: clouds only with depth.model')
    with pytest.raises(DiffsegError, match=f'{wrong.topic}: image encoding .{encoding}'):
        open_source(path, TopicNames(depth=wrong.topic))


def test_topic_cannot_be_colour_and_depth(tmp_path):
    grey, metres = image(1, 0), depth(2, 0)
    grey.message.encoding, grey.message.step = 'mono16', 16
    grey.message.data = np.zeros(96, np.uint8)
    path = record(tmp_path / 'bag.mcap', grey, metres)
    assert frames_of(path)[0].depth is not None
    with pytest.raises(DiffsegError, match=f'{RGB}: is read as the colour images'):
        open_source(path, TopicNames(depth=RGB))


@pytest.mark.parametrize('encoding', ['16UC1', 'yuv9'])
def test_image_topic_without_colour_is_refused_once(tmp_path, encoding):
    wrong = on('/wrong_depth', depth(1, 0))
    wrong.message.encoding = encoding
    path = record(tmp_path / 'bag.mcap', wrong, on('/cam/color', image(3, 0)))
    with pytest.raises(DiffsegError) as caught:
        open_source(path, TopicNames(rgb='/wrong_depth'))
    line = str(caught.value)
    assert f"/wrong_depth: image encoding '{encoding}' is not supported as a colour image" in line
    assert line.endswith('colour images are on /cam/color')
    assert ('this is depth' in line) == (encoding == '16UC1')


@pytest.mark.parametrize('kind', ['raw', 'compressed'])
def test_thermal_camera_that_says_16uc1(tmp_path, kind):
    units = (29000 + 20 * np.arange(48).reshape(6, 8)).astype(np.uint16)
    topic = '/thermal/image_raw'
    item = message(topic, 0, lambda stamp: image_message(units, stamp, 'thermal'))
    if kind == 'compressed':
        item = compressed(cv2.imencode('.png', units)[1].tobytes(), '16UC1; png compressed ', 0,
                          topic)
    path = record(tmp_path / 'bag.mcap', item)
    with pytest.raises(DiffsegError, match=f'{topic} is 16UC1.* thermal .*--rgb-topic {topic}'):
        open_source(path)
    names = TopicNames(rgb=topic)
    (frame,) = frames_of(path, names)
    assert np.ptp(frame.rgb) > 240
    assert (np.diff(frame.rgb[..., 0].astype(int).reshape(-1)) >= 0).all()
    assert any('16UC1 is read as grey' in note for note in open_source(path, names).warnings)
    played = next(iter(open_stream(path, names)))
    assert np.ptp(decode_colour(deserialise(played.data, item.message.__msgtype__))) > 240


def test_compressed_topics(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    units = np.full((6, 8), 1234, np.uint16)
    png = cv2.imencode('.png', picture[..., ::-1])[1].tobytes()
    packed = struct.pack('<iff', 0, 0, 0) + cv2.imencode('.png', units)[1].tobytes()
    (frame,) = frames_of(record(
        tmp_path / 'bag.mcap', compressed(png, 'rgb8; png', 0, f'{RGB}/compressed'),
        compressed(packed, '16UC1; compressedDepth png', 0, f'{DEPTH}/compressedDepth'),
        info(5, 0)))
    np.testing.assert_array_equal(frame.rgb, picture)
    assert (frame.depth == np.float32(1.234)).all()
    assert frame.intrinsics.fx == 5


def test_split_bag_without_metadata(tmp_path):
    folder = tmp_path / 'split'
    folder.mkdir()
    record(folder / 'b_10.mcap', image(2, 200), image(3, 300))
    record(folder / 'b_9.mcap', image(0, 0), image(1, 100))
    source = open_source(folder)
    assert source.frame_count == 4
    assert numbers(frames_of(folder)) == [0, 1, 2, 3]


def test_bag_without_images_lists_its_topics(tmp_path):
    path = record(tmp_path / 'bag.mcap', text(), info(5, 0), depth(1, 0))
    with pytest.raises(DiffsegError) as caught:
        open_source(path)
    line = str(caught.value)
    assert '/chatter (std_msgs/msg/String, 1)' in line
    assert f'{INFO} (sensor_msgs/msg/CameraInfo, 1)' in line
    assert '\n' not in line


def test_memory_does_not_grow_with_the_bag(tmp_path):
    items = [item for n in range(200) for item in (depth(n + 1, n), image(n, n))]
    path = record(tmp_path / 'bag.mcap', *items)
    with BagReader(path) as storage:
        topics = choose_topics(storage, TopicNames())
        read = 0

        def counted():
            nonlocal read
            for item in storage.messages(topics.streamed):
                read += 1
                yield item

        pairing = MessagePairing(topics, None, TransformTree())
        waiting = [read / 2 - n for n, _ in enumerate(pairing.pair(counted()))]
    assert len(waiting) == 200
    assert max(waiting) < 40


@pytest.mark.parametrize('compression', ['zstd', 'lz4', 'none'])
def test_bag_of_another_writer(tmp_path, compression):
    writer_module = pytest.importorskip('mcap.writer', reason='mcap is missing')
    path = tmp_path / 'bag.mcap'
    kind = {'zstd': 'ZSTD', 'lz4': 'LZ4', 'none': 'NONE'}[compression]
    with path.open('wb') as file:
        writer = writer_module.Writer(
            file, chunk_size=2000, compression=getattr(writer_module.CompressionType, kind))
        writer.start(profile='ros2')
        schema = writer.register_schema(
            IMAGE, 'ros2msg', typestore().generate_msgdef(IMAGE)[0].encode())
        channel = writer.register_channel(RGB, 'cdr', schema)
        for n in range(50):
            item = image(n, 10 * n)
            writer.add_message(channel, item.stamp,
                               bytes(typestore().serialize_cdr(item.message, IMAGE)), item.stamp)
        writer.finish()
    assert numbers(frames_of(path)) == list(range(50))
    with BagReader(path) as storage:
        chunk = storage._readers[0].storage.chunks[1]
    data = bytearray(path.read_bytes())
    data[chunk.chunk_start_offset + chunk.chunk_length - 20] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DiffsegError, match='damaged'):
        list(open_source(path))
