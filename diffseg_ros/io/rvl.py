"""RVL, the lossless code of 16-bit depth that compressedDepth and Azure Kinect use."""

from __future__ import annotations

import struct

from diffseg_ros.errors import DiffsegError
import numpy as np
import numpy.typing as npt

_SIZE = struct.Struct('<ii')
_MOST_PIXELS = 1 << 28
_LONGEST = 11  # nibbles of a 32-bit number


def decode_rvl(data: memoryview, name: str) -> npt.NDArray[np.uint16]:
    """
    Return the (H, W) units in an int32 width and height and the code that follows them.

    The code alternates between a run of zeros and a run of differences between neighbours:
    lengths and differences are numbers of nibbles, three bits and a sign that more follow. From
    A. Wilson, "Fast Lossless Depth Image Compression", ISS 2017. Raises DiffsegError, which
    begins with `name`, when the code does not fill the image.
    """
    if len(data) < _SIZE.size:
        raise DiffsegError(f'{name}: {len(data)} bytes of RVL, shorter than its 8-byte size; the '
                           'message is truncated')
    width, height = _SIZE.unpack_from(data)
    if min(width, height) < 1 or width * height > _MOST_PIXELS:
        raise DiffsegError(f'{name}: RVL of {width}x{height}; the message is damaged')
    numbers = _numbers(data[_SIZE.size:])
    lengths = numbers.tolist()
    zeros, runs, at, filled, pixels = [], [], 0, 0, width * height
    while filled < pixels and at + 1 < len(lengths):
        run = lengths[at + 1]
        zeros.append(lengths[at])
        runs.append(run)
        filled += lengths[at] + run
        at += 2 + run
    # The last run of zeros may have no length of differences behind it.
    if filled < pixels and at < len(lengths):
        filled += lengths[at]
    if filled != pixels or at > len(lengths):
        raise DiffsegError(f'{name}: RVL holds {min(filled, pixels)} of {pixels} pixels; the '
                           'message is truncated or damaged')
    # Every run is preceded by its two lengths: the rest are differences, zigzag coded.
    coded = np.ones(at, bool)
    starts = np.cumsum([0, *(run + 2 for run in runs)])[:-1]
    coded[starts] = coded[starts + 1] = False
    differences = numbers[:at][coded]
    differences = (differences >> 1) ^ -(differences & 1)
    units = np.zeros(pixels, np.uint16)
    known = np.repeat(np.tile([False, True], len(runs)), np.stack([zeros, runs], 1).reshape(-1))
    units[np.flatnonzero(known)] = np.cumsum(differences).astype(np.uint16)
    return units.reshape(height, width)


def _numbers(code: memoryview) -> npt.NDArray[np.int64]:
    """Return the numbers in little-endian 32-bit words, whose first nibble is the highest."""
    words = np.frombuffer(code[:len(code) // 4 * 4], '<u4')
    octets = words.astype('>u4').view(np.uint8)
    nibbles = np.stack([octets >> 4, octets & 15], 1).reshape(-1)
    ends = np.flatnonzero(nibbles < 8)
    if not ends.size:
        return np.zeros(0, np.int64)
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(ends[-1] + 1) - np.repeat(starts, ends - starts + 1)
    parts = (nibbles[:ends[-1] + 1] & 7).astype(np.int64) << 3 * np.minimum(place, _LONGEST)
    return np.add.reduceat(parts, starts)
