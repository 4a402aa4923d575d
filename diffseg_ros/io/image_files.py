"""Encoded images (JPEG, PNG and what else Pillow reads) from files and messages."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from diffseg_ros.errors import DiffsegError
import numpy as np
import numpy.typing as npt
from PIL import Image


def decode_rgb(data: bytes | memoryview, name: str) -> npt.NDArray[np.uint8]:
    """
    Return (H, W, 3) uint8 RGB; 16-bit grey is scaled to 8 bits, transparency is ignored.

    Parameters
    ----------
    data
        The encoded image.
    name
        What the error calls it.

    Raises
    ------
    DiffsegError
        The data is truncated or no image.

    """
    pixels = _decode(data, name, colour=True)
    if pixels.dtype != np.uint8:
        grey = np.round(pixels.astype(np.float32) / 257).clip(0, 255).astype(np.uint8)
        pixels = np.repeat(grey[..., None], 3, axis=2)
    return pixels


def decode_units(data: bytes | memoryview, name: str) -> npt.NDArray[np.uint16]:
    """
    Return the (H, W) uint16 values of a 16-bit image with one channel.

    Raises
    ------
    DiffsegError
        The data is truncated, no image, or of another kind.

    """
    pixels = _decode(data, name, colour=False)
    if pixels.ndim != 2 or pixels.dtype not in (np.uint16, np.int32):
        raise DiffsegError(f'{name}: {pixels.dtype} {pixels.shape}; a 16-bit image with one '
                           'channel is needed')
    return pixels.astype(np.uint16, copy=False)


def decode_floats(data: bytes | memoryview, name: str) -> npt.NDArray[np.float32]:
    """
    Return the (H, W) float32 values of a floating-point TIFF.

    Raises
    ------
    DiffsegError
        The data is truncated, no image, or of another kind.

    """
    pixels = _decode(data, name, colour=False)
    if pixels.ndim != 2 or pixels.dtype != np.float32:
        raise DiffsegError(f'{name}: {pixels.dtype} {pixels.shape}; a float32 image with one '
                           'channel is needed')
    return pixels


def read_bytes(path: Path) -> bytes:
    """
    Return the content of a file.

    Raises
    ------
    DiffsegError
        It cannot be read.

    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DiffsegError(f'{path}: cannot be read ({error.strerror})') from error


def _decode(data: bytes | memoryview, name: str, *, colour: bool) -> npt.NDArray:
    # Pillow, because OpenCV returns a truncated JPEG half grey without an error.
    try:
        with Image.open(BytesIO(data)) as image:
            if colour and image.mode != 'RGB' and not image.mode.startswith(('I', 'F')):
                return np.asarray(image.convert('RGB'))
            return np.asarray(image)
    except Exception as error:  # Pillow's plugins raise many kinds for damaged data
        reason = ' '.join(str(error).split()) or type(error).__name__
        if 'BytesIO' in reason:
            reason = 'unknown format'
        raise DiffsegError(f'{name}: no readable image ({len(data)} bytes: {reason}); JPEG and '
                           'PNG are supported') from error
