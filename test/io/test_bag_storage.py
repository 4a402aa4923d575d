"""Every form in which rosbag2 and others store a recording."""

from __future__ import annotations

from itertools import groupby
import struct

from bag_recipes import depth, image, info
from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.bag_reader import BagReader
from diffseg_ros.io.messages import typestore
from diffseg_ros.io.source import is_bag, open_source
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

ITEMS = [item for n in range(3) for item in (info(9.0, 50 * n), image(n, 50 * n),
                                             depth(n + 1, 50 * n))]


@pytest.fixture(scope='module', params=['MCAP', 'SQLITE3'])
def plugin(request):
    return StoragePlugin[request.param]


@pytest.fixture(scope='module', params=['FILE', 'MESSAGE', 'STORAGE'])
def mode(request):
    return CompressionMode[request.param]


@pytest.fixture
def compressed_bag(tmp_path, plugin, mode):
    if mode is CompressionMode.STORAGE and plugin is StoragePlugin.SQLITE3:
        pytest.skip('only mcap compresses its chunks')
    writer = Writer(tmp_path / 'bag', version=9, storage_plugin=plugin)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        for topic, items in groupby(sorted(ITEMS, key=lambda item: item.topic),
                                    key=lambda item: item.topic):
            connection = None
            for item in items:
                kind = item.message.__msgtype__
                connection = connection or writer.add_connection(topic, kind,
                                                                 typestore=typestore())
                writer.write(connection, item.stamp, typestore().serialize_cdr(item.message, kind))
    return tmp_path / 'bag'


def frames_with_depth(path):
    assert is_bag(path)
    return sum(frame.depth is not None for frame in open_source(path))


def test_zstd(compressed_bag):
    assert frames_with_depth(compressed_bag) == 3
    file, = (path for path in compressed_bag.iterdir() if path.name != 'metadata.yaml')
    assert frames_with_depth(file) == 3
    (compressed_bag / 'metadata.yaml').unlink()
    assert frames_with_depth(compressed_bag) == 3


def test_damaged_zstd(tmp_path):
    path = tmp_path / 'bag.mcap.zstd'
    path.write_bytes(b'\x28\xb5\x2f\xfd nonsense')
    with pytest.raises(DiffsegError, match=r'bag.mcap.zstd: cannot be decompressed'):
        open_source(path)


def mcap(path, profile, encoding, schema, form='ros2msg'):
    """Write an mcap file of one message, record by record as its specification says."""
    def text(content):
        return struct.pack('<I', len(content)) + content.encode()

    def entry(opcode, content):
        return struct.pack('<BQ', opcode, len(content)) + content

    magic = b'\x89MCAP0\r\n'
    path.write_bytes(
        magic + entry(1, text(profile) + text('test'))
        + entry(3, struct.pack('<H', 1) + text(schema) + text(form) + text(''))
        + entry(4, struct.pack('<HH', 0, 1) + text('/camera') + text(encoding) + text(''))
        + entry(5, struct.pack('<HIQQ', 0, 0, 5, 5) + b'{}') + entry(15, bytes(4))
        + entry(2, bytes(20)) + magic)
    return path


@pytest.mark.parametrize(('profile', 'encoding', 'words'), [
    ('', 'protobuf', 'Foxglove'), ('', 'json', 'Foxglove'), ('ros1', 'ros1', 'rosbags-convert'),
    ('', 'cdr', 'those of ROS 2 .*ros2 bag record')])
def test_mcap_that_is_not_of_ros_2(tmp_path, profile, encoding, words):
    path = mcap(tmp_path / 'other.mcap', profile, encoding, 'foxglove.CompressedImage',
                'omgidl')
    with pytest.raises(DiffsegError, match=f'messages in {encoding};.*{words}') as caught:
        open_source(path)
    assert 'damaged' not in str(caught.value)


@pytest.mark.parametrize('compression', ['zstd', 'none'])
@pytest.mark.parametrize('library', ['', 'any'])
def test_mcap_of_ros_2_without_a_profile(tmp_path, compression, library):
    writer_module = pytest.importorskip('mcap.writer', reason='mcap is missing')
    path = tmp_path / 'bag.mcap'
    with path.open('wb') as file:
        writer = writer_module.Writer(file, chunk_size=500, compression=getattr(
            writer_module.CompressionType, compression.upper()))
        writer.start('', library)
        channels = {}
        for item in ITEMS:
            kind = item.message.__msgtype__
            if item.topic not in channels:
                definition = typestore().generate_msgdef(kind)[0].encode()
                channels[item.topic] = writer.register_channel(
                    item.topic, 'cdr', writer.register_schema(kind, 'ros2msg', definition))
            writer.add_message(channels[item.topic], item.stamp, bytes(
                typestore().serialize_cdr(item.message, kind)), item.stamp)
        writer.finish()
    assert frames_with_depth(path) == 3
    assert frames_with_depth(path.rename(tmp_path / 'other.mcap').parent) == 3


def test_types_without_msg(tmp_path):
    path = mcap(tmp_path / 'other.mcap', 'ros2', 'cdr', 'sensor_msgs/Image')
    with BagReader(path) as reader:
        assert reader.topics == {'/camera': 'sensor_msgs/msg/Image'}


def test_a_topic_of_video_that_is_not_read_says_what_to_do(tmp_path):
    path = mcap(tmp_path / 'other.mcap', 'ros2', 'cdr', 'theora_image_transport/msg/Packet')
    with pytest.raises(DiffsegError, match='/camera: Theora .* republish'):
        open_source(path)
