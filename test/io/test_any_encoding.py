"""Every encoding that is read, in any layout, against its definition byte by byte."""

from __future__ import annotations

from math import isfinite
import struct
from types import SimpleNamespace

from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.messages import decode_colour, decode_depth, supported_encodings
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

# Letters of the channels of a pixel, in the order of the data.
PACKED = {'rgb8': 'rgb', 'bgr8': 'bgr', 'rgba8': 'rgba', 'bgra8': 'bgra', 'mono8': 'y',
          '8UC1': 'y', '8UC3': 'bgr', '8UC4': 'bgra', 'rgb16': 'rgb', 'bgr16': 'bgr',
          'rgba16': 'rgba', 'bgra16': 'bgra', 'mono16': 'y'}
PAIRS = {'yuv422': 'uyvy', 'uyvy': 'uyvy', 'yuv422_yuy2': 'yuyv', 'yuyv': 'yuyv'}
PLANES = {'nv12': (2, 'uv'), 'nv21': (2, 'vu'), 'nv24': (1, 'uv')}
BAYER = [f'bayer_{pattern}{bits}' for pattern in ('rggb', 'bggr', 'gbrg', 'grbg')
         for bits in (8, 16)]
DEPTH = {'16UC1': 'H', '16SC1': 'h', 'mono16': 'H', '32FC1': 'f', '64FC1': 'd'}
FILES = {'jpeg', 'png', 'webp', 'bmp', 'tiff'}
COLOUR = [*PACKED, *PAIRS, *PLANES, *BAYER]
LAYOUTS = {'seed': st.integers(0, 2**32 - 1), 'height': st.integers(1, 9),
           'width': st.integers(1, 9), 'padding': st.integers(0, 5), 'big': st.booleans(),
           'narrow': st.booleans()}


def bytes_of_row(encoding, width):
    if encoding in DEPTH and encoding not in PACKED:
        return width * struct.calcsize(DEPTH[encoding])
    return (width * len(PACKED.get(encoding, 'yy' if encoding in PAIRS else 'y'))
            * (2 if encoding.endswith('16') else 1))


def rows_of_data(encoding, height):
    return {'nv12': height * 3 // 2, 'nv21': height * 3 // 2, 'nv24': height * 3}.get(
        encoding, height)


def message(encoding, layout):
    """Return an Image of random bytes; `narrow` 16-bit values lie close together."""
    random = np.random.default_rng(layout['seed'])
    row = bytes_of_row(encoding, layout['width'])
    rows = rows_of_data(encoding, layout['height'])
    least = 16 if encoding in PAIRS | PLANES else 0  # of luma in studio range
    data = random.integers(least, 256, (rows, row + layout['padding']), np.uint8)
    if layout['narrow'] and encoding.endswith('16'):
        data[:, (0 if layout['big'] else 1):row:2] = 0x71
    return SimpleNamespace(encoding=encoding, width=layout['width'], height=layout['height'],
                           step=row + layout['padding'], is_bigendian=int(layout['big']),
                           data=data.tobytes())


def value(image, row, column, channel=0, channels=1, kind=None):
    """Return one number of an image."""
    kind = kind or ('H' if image.encoding.endswith('16') else 'B')
    place = row * image.step + (column * channels + channel) * struct.calcsize(kind)
    return struct.unpack_from(('>' if image.is_bigendian else '<') + kind, image.data, place)[0]


def percentile(numbers, share):
    """Return where a share of the numbers lies below, between the two nearest."""
    numbers = sorted(numbers)
    place = share * (len(numbers) - 1)
    low = numbers[int(place)]
    return low + (place - int(place)) * (numbers[min(int(place) + 1, len(numbers) - 1)] - low)


def in_8_bits(numbers):
    """Return the function that takes 16-bit values to 8 bits, by all values of the image."""
    low, high = percentile(numbers, 0.005), percentile(numbers, 0.995)
    if low == high or high - low >= 65535 / 4:
        low, high = 0, 65535
    return lambda number: min(max((number - low) * 255 / (high - low), 0), 255)


def colour_of_yuv(y, u, v):
    """Return RGB of BT.601 in studio range."""
    luma = 1.164 * (y - 16)
    return [min(max(number, 0), 255) for number in (
        luma + 1.596 * (v - 128), luma - 0.813 * (v - 128) - 0.391 * (u - 128),
        luma + 2.018 * (u - 128))]


def packed(image):
    letters = PACKED[image.encoding]
    found = [[[value(image, y, x, letters.index(letter if letter in letters else 'y'),
                     len(letters)) for letter in 'rgb']
              for x in range(image.width)] for y in range(image.height)]
    if not image.encoding.endswith('16'):
        return found
    reduced = in_8_bits([value(image, y, x, channel, len(letters)) for y in range(image.height)
                         for x in range(image.width) for channel in range(len(letters))])
    return [[[reduced(number) for number in pixel] for pixel in row] for row in found]


def pairs(image):
    order = PAIRS[image.encoding]

    def number(y, x, letter):
        if letter == 'y':
            return value(image, y, 2 * x + order.index('y'))
        return value(image, y, 4 * (x // 2) + order.index(letter))

    return [[colour_of_yuv(*(number(y, x, letter) for letter in 'yuv'))
             for x in range(image.width)] for y in range(image.height)]


def planes(image):
    half, order = PLANES[image.encoding]

    def chroma(y, x, letter):
        pair = 2 * (x // half) + order.index(letter)
        # A row of full chroma takes two rows of the data.
        start = image.height * image.step + (y // half) * image.step * (1 if half == 2 else 2)
        return image.data[start + pair]

    return [[colour_of_yuv(value(image, y, x), chroma(y, x, 'u'), chroma(y, x, 'v'))
             for x in range(image.width)] for y in range(image.height)]


def bayer(image):
    """Return what a pixel measured, else the mean of its neighbours that measured the colour."""
    pattern = image.encoding.removeprefix('bayer_')
    numbers = {(y, x): value(image, y, x) for y in range(image.height)
               for x in range(image.width)}
    reduced = in_8_bits(numbers.values()) if image.encoding.endswith('16') else lambda n: n

    def mean(y, x, letter):
        places = [(y, x)] if pattern[y % 2 * 2 + x % 2] == letter else [
            (row, column) for row in (y - 1, y, y + 1) for column in (x - 1, x, x + 1)
            if pattern[row % 2 * 2 + column % 2] == letter]
        return sum(reduced(numbers[place]) for place in places) / len(places)

    return [[[mean(y, x, letter) for letter in 'rgb'] for x in range(1, image.width - 1)]
            for y in range(1, image.height - 1)]


def test_all_encodings_are_here():
    assert {*COLOUR, *DEPTH} == supported_encodings().keys() - FILES


@pytest.mark.parametrize('encoding', COLOUR)
@settings(max_examples=40, deadline=None)
@given(layout=st.fixed_dictionaries(LAYOUTS))
def test_colour(encoding, layout):
    if encoding in BAYER:
        layout |= {'height': layout['height'] + 2, 'width': layout['width'] + 2}
    image = message(encoding, layout)
    odd = encoding in PAIRS and image.width % 2 or encoding in ('nv12', 'nv21') and (
        image.width % 2 or image.height % 2)
    if odd:
        with pytest.raises(DiffsegError, match='even size|truncated|step must not'):
            decode_colour(image)
        return
    rgb = decode_colour(image)
    assert (rgb.shape, rgb.dtype) == ((image.height, image.width, 3), np.uint8)
    define, tolerance = next((define, tolerance) for names, define, tolerance in (
        (PACKED, packed, 0.51), (PAIRS, pairs, 2), (PLANES, planes, 2), (BAYER, bayer, 1.51))
        if encoding in names)
    inner = rgb[1:-1, 1:-1] if encoding in BAYER else rgb
    np.testing.assert_allclose(inner, define(image), atol=tolerance)


@pytest.mark.parametrize('encoding', DEPTH)
@pytest.mark.parametrize('unit', [0.001, 0.0001, 0.0002])
@settings(max_examples=30, deadline=None)
@given(layout=st.fixed_dictionaries(LAYOUTS), special=st.sampled_from([
    0, -1, 1, 65535, 32767, 1e-5, 1e9, float('nan'), float('inf')]))
def test_depth(encoding, unit, layout, special):
    image = message(encoding, layout)
    kind, order = DEPTH[encoding], '>' if image.is_bigendian else '<'
    with_special = bytearray(image.data)
    try:
        struct.pack_into(order + kind, with_special, 0, special if kind in 'fd' else int(special))
    except (struct.error, OverflowError, ValueError):
        pass  # the type cannot hold it
    image.data = bytes(with_special)
    depth = decode_depth(image, unit)
    assert (depth.shape, depth.dtype) == ((image.height, image.width), np.float32)
    for y, x in np.ndindex(depth.shape):
        number = value(image, y, x, kind=kind)
        if kind in 'fd':
            valid, metres = isfinite(number) and 1e-4 <= number <= 1e3, number
        else:
            valid, metres = 0 < number < 65535, number * unit
        np.testing.assert_allclose(depth[y, x], metres if valid else np.nan, rtol=1e-6)


@pytest.mark.parametrize('encoding', [*COLOUR, *DEPTH])
@settings(max_examples=15, deadline=None)
@given(layout=st.fixed_dictionaries(LAYOUTS), change=st.sampled_from(
    ['empty', 'cut', 'width', 'height', 'step']), share=st.floats(0, 1, exclude_max=True))
def test_sizes_that_contradict_the_data(encoding, layout, change, share):
    image = message(encoding, layout | {'height': 2 * layout['height'],
                                        'width': 2 * layout['width']})
    needed = len(image.data) - layout['padding']
    if change in ('empty', 'cut'):
        image.data = image.data[:0 if change == 'empty' else int(share * needed)]
    elif change == 'step':
        image.step = 1 + int(share * (bytes_of_row(encoding, image.width) - 1))  # 0 is tight
    else:
        setattr(image, change, 0)
    decode = decode_colour if encoding in COLOUR else decode_depth
    with pytest.raises(DiffsegError, match=f'^image {encoding} ') as refused:
        decode(image)
    assert '\n' not in str(refused.value)


@pytest.mark.parametrize('decode', [decode_colour, decode_depth])
@settings(max_examples=300, deadline=None)
@given(encoding=st.one_of(st.sampled_from([*supported_encodings()]), st.text(max_size=12)),
       sizes=st.tuples(*[st.one_of(st.integers(0, 40), st.integers(0, 2**32 - 1))] * 3),
       big=st.integers(0, 255), data=st.binary(max_size=3000))
def test_any_message_gives_an_image_or_one_line(decode, encoding, sizes, big, data):
    height, width, step = sizes
    image = SimpleNamespace(encoding=encoding, height=height, width=width, step=step,
                            is_bigendian=big, data=data)
    try:
        assert decode(image).shape[:2] == (height, width)
    except DiffsegError as error:
        assert '\n' not in str(error)
