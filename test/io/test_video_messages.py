"""Video in the messages of recordings: one image for each message, whatever befalls the code."""

from __future__ import annotations

from fractions import Fraction
import sys

from bag_recipes import compressed, depth, info, later, message, record, RGB, START
from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.bag_reader import BagReader
from diffseg_ros.io.bag_writer import BagWriter
from diffseg_ros.io.base import TopicNames
from diffseg_ros.io.message_stream import open_stream
from diffseg_ros.io.messages import decode_colour, deserialise, header, typestore
from diffseg_ros.io.source import open_source
from diffseg_ros.io.video_messages import decoded_video
from diffseg_ros.training.images import TrainingImages
import numpy as np
import pytest

av = pytest.importorskip('av')
FOXGLOVE = 'foxglove_msgs/msg/CompressedVideo'
FFMPEG = 'ffmpeg_image_transport_msgs/msg/FFMPEGPacket'
PERIOD = 100  # ms
ENCODERS = {'h264': 'libx264', 'hevc': 'libx265', 'vp9': 'libvpx-vp9'}
OPTIONS = {'libx265': {'x265-params': 'log-level=none:bframes=0:keyint=10:min-keyint=10'},
           'libvpx-vp9': {'lag-in-frames': '0'}}


def encoded(count, codec='h264', keyframes=10, b_frames=0):
    """Return (number of the picture, code) by packet, in the order of coding."""
    name = ENCODERS[codec]
    context = av.CodecContext.create(name, 'w')
    context.width, context.height, context.pix_fmt = 64, 48, 'yuv420p'
    context.time_base, context.framerate = Fraction(1, 10), 10
    context.gop_size, context.max_b_frames = keyframes, b_frames
    context.options = OPTIONS.get(name, {'sc_threshold': '0', 'bf': str(b_frames)})
    packets = []
    for number in range(count):
        picture = av.VideoFrame.from_ndarray(pixels(number), format='rgb24')
        picture.pts = number
        packets += context.encode(picture)
    return [(packet.pts, bytes(packet)) for packet in [*packets, *context.encode(None)]]


def pixels(number):
    return np.full((48, 64, 3), 20 + 5 * number, np.uint8)


def told(frame):
    """Return the number of the picture that a frame shows."""
    return round((frame.rgb.mean() - 20) / 5)


def video(number, code, kind=FOXGLOVE, format_='h264', topic=RGB):
    """Return a message of a picture `number` periods after the start."""
    data = np.frombuffer(code, np.uint8)
    create = typestore().types[kind]

    def build(stamp):
        top = header(stamp, 'camera')
        return (create(top, data, format_) if kind == FOXGLOVE else
                create(top, 64, 48, format_, number, 0, False, data))
    return message(topic, PERIOD * number, build)


def with_depth(items):
    return [part for n, item in enumerate(items) for part in (
        info(9.0, PERIOD * n), depth(n + 1, PERIOD * n), item)]


def numbered(path):
    return [(item.number, None if item.frame is None else told(item.frame))
            for item in open_source(path).numbered_frames()]


@pytest.mark.parametrize(('kind', 'format_', 'codec'), [
    (FOXGLOVE, 'h264', 'h264'), (FOXGLOVE, 'h265', 'hevc'), (FOXGLOVE, 'vp9', 'vp9'),
    (FFMPEG, 'libx264', 'h264'), (FFMPEG, 'hevc_nvenc', 'hevc'),
    (FFMPEG, 'h264;yuv420p;bgr8;bgr8', 'h264')])
def test_pictures_keep_the_stamps_of_their_messages(tmp_path, kind, format_, codec):
    items = [video(n, code, kind, format_) for n, code in encoded(25, codec)]
    source = open_source(record(tmp_path / 'bag.mcap', *with_depth(items)))
    assert source.frame_count == 25
    for _ in range(2):
        frames = list(source)
        assert [told(frame) for frame in frames] == list(range(25))
        assert [frame.stamp for frame in frames] == [item.stamp for item in items]
        assert [frame.depth[0, 0] for frame in frames] == list(range(1, 26))
        assert {frame.frame_id for frame in frames} == {'camera'}
        assert frames[0].rgb.shape == (48, 64, 3)
    assert not [note for note in source.warnings if 'video' in note]


def test_compressed_image_that_holds_video(tmp_path):
    items = [compressed(code, 'h264', PERIOD * n, f'{RGB}/compressed') for n, code in encoded(5)]
    assert numbered(record(tmp_path / 'bag.mcap', *items)) == [(n, n) for n in range(5)]


@pytest.mark.parametrize('codec', ['h264', 'hevc'])
def test_pictures_before_the_first_keyframe_are_counted(tmp_path, codec):
    items = [video(n, code, format_=codec) for n, code in encoded(25, codec)][4:]
    source = open_source(record(tmp_path / 'bag.mcap', *items))
    found = list(source.numbered_frames())
    assert [None if item.frame is None else told(item.frame) for item in found] == (
        [None] * 6 + list(range(10, 25)))
    assert all('no picture in the video: no keyframe before it' in item.error
               for item in found[:6])
    assert any('no keyframe before it (6 of 21 frames)' in note for note in source.warnings)


def test_no_keyframe_at_all(tmp_path):
    items = [video(n, code) for n, code in encoded(40, keyframes=100)][1:]
    source = open_source(record(tmp_path / 'bag.mcap', *items))
    assert [item.frame for item in source.numbered_frames()] == [None] * 39


@pytest.mark.parametrize('damage', ['bytes', 'empty', 'cut'])
def test_damaged_packet_costs_its_picture(tmp_path, damage):
    items = [video(n, code) for n, code in encoded(25)]
    data = items[13].message.data
    items[13].message.data = {
        'bytes': np.random.default_rng(0).integers(0, 256, data.size, np.uint8),
        'empty': data[:0], 'cut': data[:7]}[damage]
    source = open_source(record(tmp_path / 'bag.mcap', *with_depth(items)))
    found = list(source.numbered_frames())
    assert [item.number for item in found] == list(range(25))
    assert [item.number for item in found if item.frame is None] == [13]
    assert 'no picture in the video: ' in found[13].error
    assert [told(item.frame) for item in found[:13]] == list(range(13))
    assert [told(item.frame) for item in found[20:]] == list(range(20, 25))
    assert [item.frame.depth[0, 0] for item in found[14:]] == list(range(15, 26))
    assert any('traces' in note and '6 of 25 frames' in note for note in source.warnings)


@pytest.mark.parametrize(('codec', 'b_frames'), [('h264', 0), ('h264', 2), ('hevc', 0),
                                                 ('vp9', 0)])
@pytest.mark.parametrize('seed', range(4))
def test_whatever_is_damaged_each_message_gives_one_image(codec, b_frames, seed):
    random = np.random.default_rng(seed)
    messages = []
    for number, code in encoded(40, codec, b_frames=b_frames):
        data = np.frombuffer(code, np.uint8).copy()
        if random.random() < 0.3:
            data[random.integers(0, data.size, 5)] = random.integers(0, 256, 5)
        if random.random() < 0.1:
            data = data[:random.integers(data.size)]
        item = video(number, data.tobytes(), format_=codec)
        serialised = bytes(typestore().serialize_cdr(item.message, FOXGLOVE))
        messages.append((RGB, item.stamp,
                         serialised[:None if random.random() < 0.95 else len(serialised) // 2]))
    notes = []
    images = list(decoded_video(iter(messages), RGB, FOXGLOVE, notes.append))
    assert sorted(time for _, time, _ in images) == sorted(time for _, time, _ in messages)
    decoded = [deserialise(data, 'sensor_msgs/msg/Image') for _, _, data in images]
    assert {image.encoding for image in decoded if image.width} == {'rgb8'}
    assert notes


def test_damaged_h265_is_shown_again_from_the_next_keyframe(tmp_path):
    items = [video(n, code, format_='h265') for n, code in encoded(25, 'hevc')]
    items[13].message.data = items[13].message.data[:5]
    found = numbered(record(tmp_path / 'bag.mcap', *items))
    assert [number for number, _ in found] == list(range(25))
    shown = [None if n in range(13, 20) else n for n in range(25)]
    assert [picture for _, picture in found] == shown


def test_message_cut_short(tmp_path):
    items = [video(n, code) for n, code in encoded(10, keyframes=1)]
    codes = [(item, bytes(typestore().serialize_cdr(item.message, FOXGLOVE))) for item in items]
    messages = [(RGB, item.stamp, code[:40] if n == 4 else code)
                for n, (item, code) in enumerate(codes)]
    images = [deserialise(data, 'sensor_msgs/msg/Image')
              for _, _, data in decoded_video(iter(messages), RGB, FOXGLOVE)]
    assert [image.width for image in images] == [64] * 4 + [0] + [64] * 5
    with pytest.raises(DiffsegError, match='40 bytes cannot be decoded'):
        decode_colour(images[4])


def test_b_frames_keep_their_stamps(tmp_path):
    packets = encoded(30, b_frames=2)
    assert [number for number, _ in packets] != sorted(number for number, _ in packets)
    # Packets are sent in the order of coding, each with the stamp of its picture.
    items = [later(video(number, code), PERIOD * (place - number + 3))
             for place, (number, code) in enumerate(packets)]
    source = open_source(record(tmp_path / 'bag.mcap', *items))
    frames = list(source)
    assert [told(frame) for frame in frames] == list(range(30))
    assert [frame.stamp for frame in frames] == [
        START + PERIOD * 1_000_000 * n for n in range(30)]
    assert not any('B-frames' in note for note in source.warnings)


def test_b_frames_with_rising_stamps_are_told(tmp_path):
    items = [video(place, code) for place, (_, code) in enumerate(encoded(30, b_frames=2))]
    source = open_source(record(tmp_path / 'bag.mcap', *items))
    assert len(list(source)) == 30
    assert any('B-frames' in note for note in source.warnings)


def test_looped_recording_starts_again_at_a_keyframe(tmp_path):
    once = [video(n, code) for n, code in encoded(25)][4:]
    items = [later(item, 3000 * turn) for turn in range(2) for item in once]
    found = numbered(record(tmp_path / 'bag.mcap', *items))
    assert found == list(enumerate(([None] * 6 + list(range(10, 25))) * 2))


def test_colour_images_are_preferred_and_video_can_be_named(tmp_path):
    picture = np.zeros((48, 64, 3), np.uint8)
    raw = compressed(av_png(picture), 'png', 0, '/a/image/compressed')
    path = record(tmp_path / 'bag.mcap', raw,
                  *(video(n, code, topic='/a/image/foxglove') for n, code in encoded(5)))
    assert open_source(path).frame_count == 1
    assert open_source(path, TopicNames(rgb='/a/image/foxglove')).frame_count == 5


def av_png(picture):
    import cv2
    return cv2.imencode('.png', picture)[1].tobytes()


@pytest.mark.parametrize('first', ['cut short', 'of another codec'])
def test_first_message_is_unusable(tmp_path, first):
    path = tmp_path / 'bag.mcap'
    with BagWriter(path) as writer:
        for number, code in encoded(6, keyframes=1):
            wrong = '' if number else first
            item = video(number, code, format_='av1' if wrong == 'of another codec' else 'h264')
            data = bytes(typestore().serialize_cdr(item.message, FOXGLOVE))
            writer.write_raw(RGB, FOXGLOVE, item.stamp,
                             data[:30] if wrong == 'cut short' else data)
    assert numbered(path) == [(0, None), *((n, n) for n in range(1, 6))]


def test_training_reads_video(tmp_path):
    path = record(tmp_path / 'bag.mcap', *(video(n, code) for n, code in encoded(12)))
    images = list(TrainingImages([path]))
    assert [round((image.mean() - 20) / 5) for image in images] == list(range(12))


def test_played_video_is_images(tmp_path):
    path = record(tmp_path / 'bag.mcap', *with_depth([video(n, c) for n, c in encoded(12)]))
    stream = open_stream(path, TopicNames())
    assert stream.topics['rgb/image_raw'] == 'sensor_msgs/msg/Image'
    images = [deserialise(item.data, 'sensor_msgs/msg/Image') for item in stream
              if item.topic == 'rgb/image_raw']
    assert [image.encoding for image in images] == ['rgb8'] * 12


def test_few_pictures_wait():
    packets = encoded(45, keyframes=100)
    read = 0

    def messages():
        nonlocal read
        for number, code in packets[1:]:
            read += 1
            item = video(number, code, format_='hevc' if number > 25 else 'h264')
            yield RGB, item.stamp, bytes(typestore().serialize_cdr(item.message, FOXGLOVE))

    waiting = [read - n for n, _ in enumerate(decoded_video(messages(), RGB, FOXGLOVE), 1)]
    assert len(waiting) == 44
    assert max(waiting) <= 17


def test_without_pyav_the_line_names_the_extra(tmp_path, monkeypatch):
    path = record(tmp_path / 'bag.mcap', *(video(n, code) for n, code in encoded(2)))
    monkeypatch.setitem(sys.modules, 'av', None)
    with pytest.raises(DiffsegError, match=r'/rgb/image_raw: .*pip install av .*\[video\]'):
        open_source(path)


def test_recorded_types_are_kept(tmp_path):
    path = record(tmp_path / 'bag.mcap', *(video(n, code) for n, code in encoded(2)))
    with BagReader(path) as reader:
        assert reader.topics == {RGB: FOXGLOVE}
