"""Which encodings of sensor_msgs/Image and CompressedImage can be read, as colour or as depth."""

from __future__ import annotations

from typing import Any

from diffseg_ros.errors import DiffsegError

COLOUR_LAYOUT: dict[str, tuple[str, int]] = {
    'rgb8': ('u1', 3), 'bgr8': ('u1', 3), 'rgba8': ('u1', 4), 'bgra8': ('u1', 4),
    'mono8': ('u1', 1), '8UC1': ('u1', 1), '8UC3': ('u1', 3), '8UC4': ('u1', 4),
    'rgb16': ('u2', 3), 'bgr16': ('u2', 3), 'rgba16': ('u2', 4), 'bgra16': ('u2', 4),
    'mono16': ('u2', 1),
    'bayer_rggb8': ('u1', 1), 'bayer_bggr8': ('u1', 1), 'bayer_gbrg8': ('u1', 1),
    'bayer_grbg8': ('u1', 1), 'bayer_rggb16': ('u2', 1), 'bayer_bggr16': ('u2', 1),
    'bayer_gbrg16': ('u2', 1), 'bayer_grbg16': ('u2', 1),
    'yuv422': ('u1', 2), 'uyvy': ('u1', 2), 'yuv422_yuy2': ('u1', 2), 'yuyv': ('u1', 2),
}
DEPTH_LAYOUT: dict[str, tuple[str, int]] = {
    '16UC1': ('u2', 1), 'mono16': ('u2', 1), '32FC1': ('f4', 1)}
"""NumPy type and number of channels by encoding."""

COLOUR_ENCODINGS = frozenset(COLOUR_LAYOUT)
DEPTH_ENCODINGS = frozenset(DEPTH_LAYOUT)
_COLOUR_ONLY = COLOUR_ENCODINGS - DEPTH_ENCODINGS | {'jpeg', 'jpg'}
_DEPTH_ONLY = DEPTH_ENCODINGS - COLOUR_ENCODINGS


def check_colour(message: Any) -> None:
    """
    Look at what an Image or CompressedImage says it holds, without decoding it.

    Raises
    ------
    DiffsegError
        That cannot be decoded as a colour image.

    """
    _check(message, 'a colour image', COLOUR_ENCODINGS, _DEPTH_ONLY,
           'this is depth: name the topic of the colour images')


def check_depth(message: Any) -> None:
    """
    Look at what an Image or CompressedImage says it holds, without decoding it.

    Raises
    ------
    DiffsegError
        That cannot be decoded as depth.

    """
    _check(message, 'a depth image', DEPTH_ENCODINGS, _COLOUR_ONLY,
           'this is a colour image: name the topic of the depth')


def _check(message: Any, kind: str, supported: frozenset[str], others: frozenset[str],
           hint: str) -> None:
    """Refuse what is not supported; of a CompressedImage only what `others` names."""
    encoding = _encoding(message)
    if encoding in supported or not (hasattr(message, 'encoding') or encoding in others):
        return
    raise DiffsegError(f'image encoding {encoding!r} is not supported as {kind}; supported are '
                       f'{", ".join(sorted(supported))}'
                       + (f'; {hint}' if encoding in others else ''))


def _encoding(message: Any) -> str:
    """Return the encoding, of a CompressedImage that before compression or its format."""
    if hasattr(message, 'encoding'):
        return str(message.encoding)
    return str(message.format).partition(';')[0].strip()
