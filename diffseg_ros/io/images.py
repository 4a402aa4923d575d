"""Images as files and encoded bytes: RGB, label images, depth."""

from __future__ import annotations

from io import BytesIO
import os
from pathlib import Path

import cv2
from diffseg_ros.errors import DiffsegError, WriteError
from diffseg_ros.types import DepthImage, LabelImage, RgbImage, UNLABELLED
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp', '.ppm', '.tif', '.tiff')
_ORIENTATION = 0x0112
# Whether the columns are reversed, and quarter turns counterclockwise after that.
_TURNS = {2: (True, 0), 3: (False, 2), 4: (True, 2), 5: (True, 1), 6: (False, 3), 7: (True, 3),
          8: (False, 1)}
_NEUTRAL = (128, 128, 128, 255)
_KNOWN_BY_NAME = {b'ftyphe': 'HEIC; convert it, for example with heif-convert IN.heic OUT.jpg',
                  b'ftypmif1': 'HEIF; convert it, for example with heif-convert IN.heif OUT.jpg',
                  b'ftypcrx': 'a raw photo; develop it into JPEG or TIFF first',
                  b'ftypavif': 'AVIF; convert it, for example with ffmpeg -i IN.avif OUT.png',
                  b'ftypisom': 'a video: give it to diffseg_replay',
                  b'ftypmp4': 'a video: give it to diffseg_replay',
                  b'%PDF': 'a PDF document; export its images first'}
# Photos of 200 megapixels are no attack.
Image.MAX_IMAGE_PIXELS = 1 << 28
_NEAREST, _FARTHEST = 1e-4, 1e3
_SATURATED = 65535
UNLABELLED_16BIT = 65535
"""Value of pixels without a segment in 16-bit label files."""


def read_image(path: str | Path) -> RgbImage:
    """
    Return an image file as (H, W, 3) uint8 RGB, upright by its EXIF orientation.

    Raises
    ------
    DiffsegError
        The file cannot be read, is truncated or is no image.

    """
    return decode_rgb(read_bytes(Path(path)), str(path))


def write_image(path: str | Path, image: npt.NDArray[np.generic]) -> None:
    """
    Write (H, W, 3) uint8 RGB, or (H, W) uint8 or uint16; the suffix chooses the format.

    Missing folders are made, and the file appears whole or not at all.

    Raises
    ------
    DiffsegError
        The suffix is not supported, or the file cannot be written.

    """
    path = Path(path)
    try:
        # In memory: OpenCV itself cannot write to names that are not UTF-8.
        encoded = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
                               if image.ndim == 3 else image)[1]
    except cv2.error as error:
        raise DiffsegError(f'{path}: {image.dtype} {image.shape} cannot be written with the '
                           f'suffix {path.suffix!r}; use .png or .jpg') from error
    write_bytes(path, encoded.tobytes())


def read_labels(path: str | Path) -> LabelImage:
    """
    Return a 16-bit label image as (H, W) int32 ids, UNLABELLED (-1) where it is 65535.

    Raises
    ------
    DiffsegError
        The file cannot be read or is no 16-bit image with one channel.

    """
    labels = read_units(Path(path)).astype(np.int32)
    labels[labels == UNLABELLED_16BIT] = UNLABELLED
    return labels


def write_labels(path: str | Path, labels: LabelImage) -> None:
    """
    Write (H, W) ids as a 16-bit PNG, UNLABELLED (-1) as 65535.

    Raises
    ------
    DiffsegError
        An id does not fit into 16 bits, or the file cannot be written.

    """
    if labels.size and not -1 <= labels.min() <= labels.max() < UNLABELLED_16BIT:
        raise DiffsegError(f'{path}: ids from {labels.min()} to {labels.max()}; a 16-bit label '
                           f'image holds 0 to {UNLABELLED_16BIT - 1} and -1')
    write_image(path, labels.astype(np.uint16))


def read_units(path: Path) -> npt.NDArray[np.uint16]:
    """Return the (H, W) uint16 values of a 16-bit image file, or raise DiffsegError."""
    return decode_units(read_bytes(path), str(path))


def sorted_images(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> list[Path]:
    """Return the images in a folder by name, numbers by their value; [] without a folder."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if path.suffix.lower() in suffixes),
                  key=lambda path: (path.stem.zfill(20), path.name))


def decode_rgb(data: bytes | memoryview, name: str) -> RgbImage:
    """
    Return encoded bytes as (H, W, 3) uint8 RGB, upright by the EXIF orientation.

    More than 8 bits are reduced by `to_8_bits`; what is transparent becomes grey. Raises
    DiffsegError, which begins with `name`, when the data is truncated or no image.
    """
    pixels = to_8_bits(_decode(data, name, colour=True))
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


def to_8_bits(pixels: npt.NDArray) -> npt.NDArray[np.uint8]:
    """
    Return an (H, W) or (H, W, C) image in 8 bits.

    The full range is 0 to 65535, for floats 0 to 1. Contrast is stretched where an image fills
    less than a quarter of it or leaves it: thermal and 12-bit cameras.
    """
    if pixels.dtype == np.uint8:
        return pixels
    full = 1 if pixels.dtype.kind == 'f' else 65535
    values = pixels.astype(np.float32)
    sample = values[::max(1, len(values) // 512), ::max(1, values.shape[1] // 512)]
    sample = sample[np.isfinite(sample)]
    low, high = np.percentile(sample, (0.5, 99.5)) if sample.size else (0, full)
    if 0 <= low <= high <= full and (low == high or high - low >= full / 4):
        low, high = 0, full
    scaled = (np.nan_to_num(values, nan=low) - low) * (255 / max(high - low, 1e-12))
    return np.round(scaled).clip(0, 255).astype(np.uint8)


def decode_units(data: bytes | memoryview, name: str) -> npt.NDArray[np.uint16]:
    """Return the (H, W) uint16 values of an encoded 16-bit image, or raise DiffsegError."""
    return _decode_channel(data, name, '16-bit', np.uint16, np.int32).astype(np.uint16, copy=False)


def decode_floats(data: bytes | memoryview, name: str) -> npt.NDArray[np.float32]:
    """Return the (H, W) float32 values of an encoded TIFF, or raise DiffsegError."""
    return _decode_channel(data, name, 'float32', np.float32)


def _decode_channel(data: bytes | memoryview, name: str, kind: str,
                    *dtypes: npt.DTypeLike) -> npt.NDArray:
    pixels = _decode(data, name, colour=False)
    if pixels.ndim != 2 or pixels.dtype not in dtypes:
        raise DiffsegError(f'{name}: {pixels.dtype} {pixels.shape}; a {kind} image with one '
                           'channel is needed')
    return pixels


def _decode(data: bytes | memoryview, name: str, *, colour: bool) -> npt.NDArray:
    # Pillow, because OpenCV returns a truncated JPEG half grey without an error.
    try:
        with Image.open(BytesIO(data)) as image:
            if not colour:
                return np.asarray(image)
            return _turned(_colours(image, data), image.getexif().get(_ORIENTATION))
    except Exception as error:  # Pillow's plugins raise many kinds for damaged data
        if isinstance(error, UnidentifiedImageError) and (
                pixels := _by_opencv(data)) is not None:
            return pixels
        reason = ' '.join(str(error).split()) or type(error).__name__
        if 'BytesIO' in reason:
            reason = 'unknown format'
        kind = next((kind for mark, kind in _KNOWN_BY_NAME.items() if mark in bytes(data[:16])),
                    '')
        raise DiffsegError(f'{name}: no readable image ({len(data)} bytes: {kind or reason}); '
                           'JPEG and PNG are supported') from error


def _colours(image: Image.Image, data: bytes | memoryview) -> npt.NDArray:
    """Return (H, W, 3) RGB, or (H, W) of more than 8 bits."""
    if image.mode.startswith(('I', 'F')):
        return np.asarray(image)
    if ';16' in str(getattr(image, 'tile', '')):
        image.load()  # finds what is truncated
        if (pixels := _by_opencv(data)) is not None:
            return pixels
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new('RGBA', image.size, _NEUTRAL),
                                      image.convert('RGBA'))
    return np.asarray(image.convert('RGB'))


def _by_opencv(data: bytes | memoryview) -> npt.NDArray | None:
    """Return the (H, W[, 3]) pixels of files that Pillow reads not, or by 8 bits only."""
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYDEPTH
                              | cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    return pixels if pixels is None or pixels.dtype != np.float64 else pixels.astype(np.float32)


def _turned(pixels: npt.NDArray, orientation: int | None) -> npt.NDArray:
    """Return an image upright, by the EXIF tag that says how the camera was held."""
    flipped, quarters = _TURNS.get(orientation or 1, (False, 0))
    return np.ascontiguousarray(np.rot90(pixels[:, ::-1] if flipped else pixels, quarters))


def metres_from_units(units: npt.NDArray[np.uint16], per_metre: float) -> DepthImage:
    """Return depth in metres from (H, W) integers, NaN where they are 0, negative or 65535."""
    metres = np.divide(units, per_metre, dtype=np.float32)
    metres[(units <= 0) | (units == _SATURATED)] = np.nan
    return metres


def valid_metres(metres: DepthImage) -> DepthImage:
    """Return depth with NaN for what is not 0.1 mm to 1000 m away; a copy only if needed."""
    # NaN compares false, so depth that already marks holes by NaN costs no copy.
    invalid = (metres < _NEAREST) | (metres > _FARTHEST)
    return np.where(invalid, np.float32(np.nan), metres) if invalid.any() else metres


def read_bytes(path: Path) -> bytes:
    """Return the content of a file, or raise DiffsegError when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DiffsegError(f'{path}: cannot be read ({error.strerror})') from error


def write_bytes(path: Path, *parts: bytes | memoryview) -> None:
    """Write a file that appears whole or not at all; raise WriteError when that fails."""
    partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open('wb') as file:
                file.writelines(parts)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise WriteError(f'{path}: cannot be written ({error.strerror or error}); check the '
                         'permissions and the space on the disk') from error
