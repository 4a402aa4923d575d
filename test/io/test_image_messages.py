"""Decoding of image messages: every layout, and every way in which they go wrong."""

from __future__ import annotations

import array
import itertools
import struct
from types import SimpleNamespace

import cv2
from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.calibration import intrinsics_from_camera_info
from diffseg_ros.io.messages import decode_colour, decode_depth
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

SIZES = st.integers(1, 24)


def message(encoding, pixels, *, padding=0, data=None):
    """Return a sensor_msgs/Image look-alike of an array with padded rows."""
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1).view(np.uint8)
    padded = np.full((height, rows.shape[1] + padding), 0xA5, np.uint8)
    padded[:, :rows.shape[1]] = rows
    return SimpleNamespace(encoding=encoding, width=width, height=height,
                           step=padded.shape[1], is_bigendian=0,
                           data=padded.tobytes() if data is None else data)


def random_pixels(seed, height, width, channels, dtype):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, True)


def scaled(pixels):
    return np.round(pixels / 257).astype(np.uint8)


def test_invalid_depth_is_nan():
    metres = np.array([[0, -1, np.inf, -np.inf, np.nan, 2.5]], np.float32)
    depth = decode_depth(message('32FC1', metres))
    np.testing.assert_array_equal(depth, np.array([[np.nan] * 5 + [2.5]], np.float32))


def test_fast_paths_do_not_copy():
    rgb = array.array('B', range(24))
    view = decode_colour(message('rgb8', np.zeros((2, 4, 3), np.uint8), data=rgb))
    rgb[0] = 99
    assert view[0, 0, 0] == 99
    metres = np.array([[1, np.nan], [3, 4]], np.float32)
    buffer = metres.tobytes()
    depth = decode_depth(message('32FC1', metres, data=buffer))
    assert np.shares_memory(depth, np.frombuffer(buffer, np.float32))


@pytest.mark.parametrize(('decode', 'encoding', 'names'), [
    (decode_colour, 'yuv442', 'rgb8, .*nearest yuv422,'),
    (decode_colour, 'bayer_rggb12', 'rgb8, .*nearest bayer_rggb16,'),
    (decode_depth, '32UC1', '16SC1, 16UC1, 32FC1')])
def test_unknown_encoding_names_the_nearest_and_what_to_do(decode, encoding, names):
    with pytest.raises(DiffsegError, match=f"'{encoding}'.*supported are {names}.*set the driver"):
        decode(message(encoding, np.zeros((2, 2), np.uint8)))


@pytest.mark.parametrize(('change', 'reason'), [
    ({'data': b'\0' * 35}, '35 bytes of data, 36 are needed'),
    ({'data': b''}, 'truncated'),
    ({'step': 11}, 'a row takes 12 bytes'),
    ({'width': 0}, 'above 0'),
    ({'height': 0}, 'above 0')])
def test_sizes_that_contradict_the_data(change, reason):
    broken = message('rgb8', np.zeros((3, 4, 3), np.uint8))
    for name, value in change.items():
        setattr(broken, name, value)
    with pytest.raises(DiffsegError, match=f'rgb8.*{reason}'):
        decode_colour(broken)


def test_last_row_without_padding():
    pixels = random_pixels(1, 3, 4, 3, np.uint8)
    padded = message('rgb8', pixels, padding=5)
    padded.data = padded.data[:-5]
    np.testing.assert_array_equal(decode_colour(padded), pixels)


@pytest.mark.parametrize(('encoding', 'halves', 'chroma'), [
    ('nv12', 3, 'uv'), ('nv21', 3, 'vu'), ('nv24', 6, 'uv'), ('NV12', 3, 'uv')])
@pytest.mark.parametrize('step', [8, 11, None])
def test_planar_colour(encoding, halves, chroma, step):
    planes = {'y': 93, 'u': 112, 'v': 179}  # (180, 60, 40) in studio range is (94, 104, 186)
    step_of_plane = step or 8
    data = np.full((6 * halves // 2, step_of_plane), 0xA5, np.uint8)
    data[:6, :8] = planes['y']
    pairs = data[6:] if encoding != 'nv24' else data[6:].reshape(6, 2 * step_of_plane)
    pairs[:, 0::2] = planes[chroma[0]]
    pairs[:, 1::2] = planes[chroma[1]]
    image = SimpleNamespace(encoding=encoding, width=8, height=6, is_bigendian=0,
                            step=step or 8 * halves // 2, data=data.tobytes())
    rgb = decode_colour(image)
    assert rgb.shape == (6, 8, 3)
    assert np.abs(rgb.astype(int) - [171, 54, 57]).max() < 4
    image.data = image.data[:-9]
    with pytest.raises(DiffsegError, match='truncated'):
        decode_colour(image)


@pytest.mark.parametrize(('alias', 'encoding'), [
    ('RGB8', 'rgb8'), ('Bgr8', 'bgr8'), ('rgb24', 'rgb8'), ('BGR24', 'bgr8'), ('gray8', 'mono8'),
    ('MONO8', 'mono8'), ('YUYV', 'yuyv'), ('yuy2', 'yuyv'), ('BAYER_RGGB8', 'bayer_rggb8')])
def test_other_spellings(alias, encoding):
    channels = {'rgb': 3, 'bgr': 3, 'yuy': 2}.get(encoding[:3], 1)
    pixels = random_pixels(5, 6, 8, channels, np.uint8)
    np.testing.assert_array_equal(decode_colour(message(alias, pixels)),
                                  decode_colour(message(encoding, pixels)))


def test_other_spellings_of_depth():
    units = random_pixels(4, 6, 7, 1, np.uint16)
    for alias in ('16uc1', 'Z16', 'MONO16'):
        np.testing.assert_array_equal(decode_depth(message(alias, units)),
                                      decode_depth(message('16UC1', units)))


def test_files_in_raw_images():
    rgb = random_pixels(3, 8, 10, 3, np.uint8)
    image = message('png', rgb, data=png(rgb[..., ::-1]))
    np.testing.assert_array_equal(decode_colour(image), rgb)


@pytest.mark.parametrize('format_', ['', 'webp', 'png', 'yuv422_yuy2; png compressed mono8'])
def test_the_data_says_what_a_compressed_image_is(format_):
    rgb = random_pixels(3, 8, 10, 3, np.uint8)
    np.testing.assert_array_equal(decode_colour(compressed(format_, png(rgb[..., ::-1]))), rgb)


@pytest.mark.parametrize('format_', ['h264', 'H265', 'hevc'])
def test_video_is_named(format_):
    with pytest.raises(DiffsegError, match=f'{format_}: video .*republish'):
        decode_colour(compressed(format_, b'nonsense'))


def test_contrast_of_dim_and_thermal_images():
    ramp = np.tile(np.arange(64, dtype=np.uint16), (48, 1))
    for pixels in (ramp * 64, ramp * 10 + 29000):
        rgb = decode_colour(message('mono16', pixels))
        assert rgb.min() < 5 and rgb.max() > 250
        assert (np.diff(rgb[..., 0].astype(int), axis=1) >= 0).all()


def test_odd_size_of_subsampled_colour():
    with pytest.raises(DiffsegError, match='yuv422 3x3'):
        decode_colour(message('yuv422', np.zeros((3, 3, 2), np.uint8)))


def compressed(format_, data):
    return SimpleNamespace(format=format_, data=array.array('B', data))


def png(pixels):
    return cv2.imencode('.png', pixels)[1].tobytes()


def test_compressed_colour():
    rgb = random_pixels(3, 8, 10, 3, np.uint8)
    data = png(rgb[..., ::-1])
    np.testing.assert_array_equal(decode_colour(compressed('rgb8; png', data)), rgb)
    grey = random_pixels(3, 8, 10, 1, np.uint16)
    np.testing.assert_array_equal(decode_colour(compressed('png', png(grey))),
                                  np.repeat(scaled(grey)[..., None], 3, axis=2))
    jpeg = cv2.imencode('.jpg', np.repeat(rgb, 8, axis=0))[1].tobytes()
    for broken in (jpeg[:len(jpeg) // 2], jpeg[:-1], b'', b'nonsense'):
        with pytest.raises(DiffsegError, match=f'jpeg.*{len(broken)} bytes'):
            decode_colour(compressed('rgb8; jpeg compressed bgr8', broken))


def test_compressed_depth():
    units = random_pixels(4, 6, 7, 1, np.uint16)
    units[0] = 0
    expected = np.where(units == 0, np.nan, units.astype(np.float32) / np.float32(1000))
    header = struct.pack('<iff', 0, 0, 0)
    for name, data in (('16UC1; compressedDepth png', header + png(units)),
                       ('16UC1; compressedDepth', header + png(units)),
                       ('16UC1; png compressed ', png(units))):
        np.testing.assert_array_equal(decode_depth(compressed(name, data)), expected)


@pytest.mark.parametrize(('decode', 'name', 'words'), [
    (decode_depth, 'rgb8; jpeg compressed bgr8', "'rgb8' .* depth .* colour image"),
    (decode_depth, 'jpeg', "'jpeg' .* depth .* 16UC1, 32FC1, 64FC1, mono16; .* colour image"),
    (decode_colour, '16UC1; compressedDepth png', "'16UC1' .* colour .* is depth"),
    (decode_colour, '16UC1; png compressed ', "'16UC1' .* colour .* is depth"),
    (decode_colour, '32FC1; compressedDepth png', "'32FC1' .* colour .* is depth")])
def test_compressed_image_of_the_other_kind_is_not_taken_for_it(decode, name, words):
    data = png(random_pixels(3, 8, 10, 1, np.uint16))
    with pytest.raises(DiffsegError, match=f'^image encoding {words}'):
        decode(compressed(name, data))


def rvl(units):
    """Return the RVL code of (H, W) uint16, nibble by nibble as its paper says."""
    nibbles, last = [], 0

    def add(number):
        while number > 7:
            nibbles.append(number & 7 | 8)
            number >>= 3
        nibbles.append(number)

    for zero, group in itertools.groupby(units.reshape(-1).tolist(),
                                         lambda unit: unit == 0):
        run = list(group)
        if zero:
            add(len(run))
            continue
        if not nibbles:
            add(0)
        add(len(run))
        for unit in run:
            add((unit - last) * 2 if unit >= last else (last - unit) * 2 - 1)
            last = unit
    if units.reshape(-1)[-1] == 0:
        add(0)
    nibbles += [0] * (-len(nibbles) % 8)
    words = np.array(nibbles).reshape(-1, 8) @ (16 ** np.arange(7, -1, -1))
    return struct.pack('<ii', *units.shape[::-1]) + words.astype('<u4').tobytes()


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=SIZES, width=SIZES,
       holes=st.sampled_from([0, 0.1, 0.5, 0.9, 1]), most=st.sampled_from([3, 900, 65535]))
def test_rvl_depth(seed, height, width, holes, most):
    random = np.random.default_rng(seed)
    units = random.integers(0, most, (height, width), np.uint16, endpoint=True)
    units[random.random(units.shape) < holes] = 0
    data = bytes(12) + rvl(units)
    depth = decode_depth(compressed('16UC1; compressedDepth rvl', data))
    np.testing.assert_array_equal(np.nan_to_num(depth), units / np.float32(1000))
    for cut in (14, 24):
        with pytest.raises(DiffsegError, match='RVL.*truncated'):
            decode_depth(compressed('16UC1; compressedDepth rvl', data[:cut][:len(data) - 4]))


def test_quantised_compressed_depth():
    metres = np.random.default_rng(0).uniform(0.4, 6, (6, 7)).astype(np.float32)
    scale = 100.0 * 101.0
    offset = 1 - scale / 10.0
    values = np.round(scale / metres + offset).astype(np.uint16)
    values[0, 0] = 0
    data = struct.pack('<iff', 0, scale, offset) + png(values)
    depth = decode_depth(compressed('32FC1; compressedDepth png', data))
    assert np.isnan(depth[0, 0])
    metres[0, 0] = depth[0, 0] = 1
    np.testing.assert_allclose(depth, metres, atol=0.5 * 6**2 / scale * 1.01)


@pytest.mark.parametrize(('name', 'data', 'reason'), [
    ('16UC1; compressedDepth rvl', b'\0' * 40, 'RVL of 0x0'),
    ('16UC1; compressedDepth png', b'\0' * 5, 'truncated'),
    ('16UC1; compressedDepth png', b'\0' * 40, 'no readable image'),
    ('16UC1; png', png(np.zeros((4, 4), np.uint8)), '16-bit image with one channel'),
    ('16UC1; png', png(np.zeros((4, 4, 3), np.uint8)), '16-bit image with one channel')])
def test_broken_compressed_depth(name, data, reason):
    with pytest.raises(DiffsegError, match=reason):
        decode_depth(compressed(name, data))


def camera_info(**changes):
    roi = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)
    info = {'width': 640, 'height': 480, 'k': [500.0, 0, 320, 0, 510.0, 240, 0, 0, 1],
            'p': [0.0] * 12,
            'd': [0.1, -0.2, 0, 0, 0.3], 'distortion_model': 'plumb_bob', 'binning_x': 0,
            'binning_y': 0, 'roi': roi}
    return SimpleNamespace(**{**info, **changes})


def test_intrinsics_of_a_binned_region():
    roi = SimpleNamespace(x_offset=100, y_offset=40, width=400, height=200)
    found = intrinsics_from_camera_info(camera_info(roi=roi, binning_x=2, binning_y=4))
    assert (found.width, found.height) == (200, 50)
    assert (found.fx, found.fy) == (250, 127.5)
    assert (found.cx, found.cy) == (220.5 / 2 - 0.5, 200.5 / 4 - 0.5)


def test_uncalibrated_camera_is_refused():
    with pytest.raises(DiffsegError, match='uncalibrated'):
        intrinsics_from_camera_info(camera_info(k=[0.0] * 9))


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_damaged_rvl_is_refused_or_read(seed):
    random = np.random.default_rng(seed)
    data = bytearray(bytes(12) + rvl(random.integers(0, 900, (9, 7), np.uint16)))
    for _ in range(3):
        data[random.integers(12, len(data))] = random.integers(256)
    data = bytes(data[:random.integers(len(data) - 9, len(data) + 1)])
    try:
        depth = decode_depth(compressed('16UC1; compressedDepth rvl', data))
    except DiffsegError as error:
        assert 'RVL' in str(error)
    else:
        assert depth.dtype == np.float32 and depth.size
