"""Motion of the things in view, apart from what the camera's own motion does to the image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
from diffseg_ros.tracking.flow import ImageMotion
from diffseg_ros.tracking.tracking_frame import FloatArray, View
from diffseg_ros.tracking.warp import Source
import numpy as np
import numpy.typing as npt

_GRID_WIDTH = 107
_REFERENCE_WIDTH = 320
_STEP, _STEP_SHARE = 0.5, 0.1
_ROUNDING = 0.5
_SAMPLES, _MINIMUM_SAMPLES = 800, 60
_TRIALS = 300
_WINDOW = 3
_BETTER, _GREY_LEVELS = 1.5, 2.0
_MARGIN = 0.1
_AROUND, _JUMP = 3, 0.1

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class OwnMotion:
    """
    What moves by itself between two frames, on a grid of about 107 columns.

    A pixel that is neither still nor moving is undecided: both motions explain it, as on a
    surface without texture, or none does.

    Attributes
    ----------
    steps
        (h, w, 2) float32: by how much the image motion differs from what the camera's motion
        alone would give, x and y, now minus before, in widths of the image.
    moving
        (h, w) bool: it differs, and explains the brightness clearly better.
    still
        (h, w) bool: it does not differ.
    errors
        (2, h, w) float32: difference in brightness, grey levels, of what is seen to what the
        image motion and to what the camera's motion alone would bring there.
    measured
        Whether the camera's motion is known by depth; what is near seems to move where it is
        not.

    """

    steps: FloatArray
    moving: Mask
    still: Mask
    errors: FloatArray
    measured: bool = False


def own_motion(now: View, before: View, moved: ImageMotion,
               rigid: Source | None = None) -> OwnMotion | None:
    """
    Tell what moves by itself from what only the camera moves.

    Parameters
    ----------
    now, before
        Both frames, of one size.
    moved
        Image motion between them.
    rigid
        Where each pixel was if nothing but the camera moved. None: the camera's motion is taken
        to be the homography that most of the image follows (RANSAC, Fischler and Bolles 1981).

    Returns
    -------
    OwnMotion or None
        None where a homography is not what most of the image, and most of its margin, follows:
        then what moves and what stands still cannot be told apart.

    """
    height, width = moved.consistent.shape
    stride = max(1, round(width / _GRID_WIDTH))
    here = _positions(height, width, stride)
    backward = moved.backward[::stride, ::stride]
    sure = moved.consistent[::stride, ::stride]
    known = sure
    if rigid is None:
        camera = _homography_steps(here, backward, sure, width)
    else:
        camera, seen = _rigid_steps(here, rigid, now, width)
        known = sure & seen
    if camera is None:
        return None
    steps = backward - camera
    # Sources are whole pixels of the label image.
    rounding = 0.0 if rigid is None else _ROUNDING * width / now.shape[1]
    slack = np.float32(_STEP * width / _REFERENCE_WIDTH + rounding)
    differs = _length(steps) > slack + np.float32(_STEP_SHARE) * _length(camera)
    scale = now.grey.shape[1] / width
    seen_now = _sample(now.grey, here * scale)
    error, camera_error = (cv2.blur(np.abs(seen_now - _sample(before.grey, (here + way) * scale)),
                                    (_WINDOW, _WINDOW)) for way in (backward, camera))
    better = camera_error > _BETTER * error + _GREY_LEVELS
    still, moving = known & ~differs, known & differs & better
    if rigid is None and not _mostly(still, moving):
        return None
    return OwnMotion(-steps / np.float32(width), moving, still,
                     np.stack([error, camera_error]), rigid is not None)


def _mostly(still: Mask, moving: Mask) -> bool:
    """Return whether more stands still than moves, in the image and along its margin."""
    inner = tuple(slice(round(side * _MARGIN), side - round(side * _MARGIN))
                  for side in still.shape)
    margin = np.ones(still.shape, bool)
    margin[inner] = False
    return all(np.count_nonzero(still & part) > np.count_nonzero(moving & part)
               for part in (np.ones_like(margin), margin))


def _homography_steps(here: FloatArray, backward: FloatArray, sure: Mask,
                      width: int) -> FloatArray | None:
    """Return the steps that the homography most pixels agree on gives each position."""
    thin = max(1, int(np.sqrt(sure.size / _SAMPLES)))
    even = sure[::thin, ::thin]
    if np.count_nonzero(even) < _MINIMUM_SAMPLES:
        return None
    places = here[::thin, ::thin][even]
    homography, _ = cv2.findHomography(
        places, places + backward[::thin, ::thin][even], cv2.RANSAC,
        _STEP * width / _REFERENCE_WIDTH, maxIters=_TRIALS)
    if homography is None:
        return None
    moved = cv2.perspectiveTransform(here.reshape(-1, 1, 2), homography)
    steps: FloatArray = moved.reshape(here.shape) - here
    return steps


def _rigid_steps(here: FloatArray, rigid: Source, now: View,
                 width: int) -> tuple[FloatArray, Mask]:
    """Return the steps that the camera's motion gives each position, and where it is known."""
    assert now.depth is not None
    scale = now.shape[1] / width
    columns, rows = (np.rint(here[..., axis] * scale).astype(np.int32).clip(0, side - 1)
                     for axis, side in ((0, now.shape[1]), (1, now.shape[0])))
    index = rigid.index[rows, columns]
    from_rows, from_columns = np.divmod(index, np.int32(now.shape[1]))
    steps = np.stack([from_columns - columns, from_rows - rows], axis=-1).astype(np.float32)
    steps /= np.float32(scale)
    # What has no depth or was out of view comes from place 0.
    return steps, (index > 0) & _smooth(now.depth[rows, columns])


def _smooth(depth: FloatArray) -> Mask:
    """Return where depth is known and does not jump; at a jump motion is that of either side."""
    metres = np.where(np.isfinite(depth), depth, np.float32(0))
    around = np.ones((_AROUND, _AROUND), np.uint8)
    smooth: Mask = cv2.dilate(metres, around) - cv2.erode(metres, around) < _JUMP * metres
    return smooth


def _positions(height: int, width: int, stride: int) -> FloatArray:
    columns, rows = np.meshgrid(np.arange(0, width, stride, dtype=np.float32),
                                np.arange(0, height, stride, dtype=np.float32))
    return np.stack([columns, rows], axis=-1)


def _sample(image: npt.NDArray[np.uint8], positions: FloatArray) -> FloatArray:
    sampled = cv2.remap(image, positions, None, cv2.INTER_LINEAR,
                        borderMode=cv2.BORDER_REPLICATE)
    return sampled.astype(np.float32)


def _length(steps: FloatArray) -> FloatArray:
    length: FloatArray = np.hypot(steps[..., 0], steps[..., 1])
    return length
