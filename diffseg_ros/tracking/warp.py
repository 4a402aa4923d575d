"""Where pixels were in the frame before: by camera motion and depth, or by optical flow."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
from diffseg_ros.geometry.camera import project_depth
from diffseg_ros.geometry.pixel_source import FlatIndex, Source
from diffseg_ros.tracking.tracking_frame import FloatArray, Indices, TrackingFrame
from diffseg_ros.types import Mask, Matrix
import numpy as np
import numpy.typing as npt

DEPTH_TOLERANCE = 0.05
"""Metres by which the depth met may differ; farther away RELATIVE_TOLERANCE of the depth."""
RELATIVE_TOLERANCE = 0.02

_SLACK, _SLACK_SHARE = 1.0, 0.05
_MINIMUM_SIDE = 16
_PATCH, _BRIGHTNESS_CHANGE = 5, 20


def rigid_source(now: TrackingFrame, before: TrackingFrame,
                 motion: Matrix) -> tuple[Source, float]:
    """
    Look up where pixels were if only the camera moved; also how well that explains them.

    Both frames have depth and intrinsics; `motion` is the (4, 4) transform from the camera now to
    before. A source is known where the depth met agrees with the pixel's own. The second is the
    share of the pixels in view before that agree.
    """
    assert now.depth is not None and before.depth is not None
    assert now.intrinsics is not None and before.intrinsics is not None
    columns, rows, z = project_depth(now.depth, now.intrinsics, motion, before.intrinsics)
    index, inside = places_in_view(columns, rows, z, before.shape)
    met = before.depth.take(index)
    total = np.count_nonzero(inside & np.isfinite(met))
    met -= z
    np.abs(met, out=met)
    z *= RELATIVE_TOLERANCE
    np.maximum(z, np.float32(DEPTH_TOLERANCE), out=z)
    inside &= met <= z
    return Source(index, inside), np.count_nonzero(inside) / total if total else 0.0


def places_in_view(columns: FloatArray, rows: FloatArray, z: FloatArray, shape: tuple[int, int],
                   nearest: float = 1e-3) -> tuple[FlatIndex, Mask]:
    """
    Return where in a flattened (H, W) image points are seen, 0 elsewhere, and which are in view.

    `columns` and `rows` are those of `project`, and are overwritten; points of which `z`, in
    metres, is not beyond `nearest` are out of view.
    """
    height, width = shape
    # In place: between keyframes this takes most of the time of tracking.
    with np.errstate(invalid='ignore'):
        index, column = (np.rint(part, out=part).astype(np.int32) for part in (rows, columns))
    # As unsigned numbers what is below 0 is beyond the end.
    inside = (z > nearest) & (index.view(np.uint32) < height)
    inside &= column.view(np.uint32) < width
    index *= width
    index += column
    index *= inside
    return index.astype(np.intp), inside


@dataclass(frozen=True)
class ImageMotion:
    """
    Where the pixels of a small brightness image were in the one before.

    `backward` holds (h, w, 2) float32 steps in pixels, x and y, from now to before. The (h, w)
    bool `consistent` is set where the flow forwards leads back and the pixel was in view.
    """

    backward: FloatArray
    consistent: Mask


class OpticalFlow:
    """Dense inverse search (Kroeger et al., ECCV 2016; OpenCV's) on frames of one size."""

    def __init__(self) -> None:
        self._refined, self._fast = (
            cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST) for _ in range(2))
        self._fast.setVariationalRefinementIterations(0)

    def checked(self, now: TrackingFrame, before: TrackingFrame, *,
                quick: bool = False) -> ImageMotion:
        """
        Return the motion, checked by brightness, forwards and backwards.

        A `quick` one is not refined and is checked at half the size: for what depth checks too.
        """
        image, earlier = now.grey, before.grey
        if min(image.shape) < _MINIMUM_SIDE:
            return ImageMotion(np.zeros((*image.shape, 2), np.float32),
                               np.zeros(image.shape, bool))
        method, step = (self._fast if quick else self._refined), 1
        backward = method.calc(image, earlier, None)
        if quick and min(image.shape) >= 2 * _MINIMUM_SIDE:
            image, earlier, step = cv2.pyrDown(image), cv2.pyrDown(earlier), 2
        steps = backward[::step, ::step] / np.float32(step)
        back = cv2.remap(method.calc(earlier, image, None), *_ends(steps), cv2.INTER_LINEAR,
                         borderMode=cv2.BORDER_CONSTANT, borderValue=(1e6, 1e6))
        consistent = _length(back + steps) <= _SLACK + _SLACK_SHARE * _length(steps)
        consistent &= _same_brightness(image, cv2.remap(earlier, *_ends(steps), cv2.INTER_LINEAR))
        return ImageMotion(backward, cv2.resize(
            consistent.view(np.uint8), now.grey.shape[::-1], interpolation=cv2.INTER_NEAREST
        ).view(bool))


def _length(steps: FloatArray) -> FloatArray:
    return np.abs(steps[..., 0]) + np.abs(steps[..., 1])


def _ends(steps: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the columns and rows that (h, w, 2) steps lead to."""
    height, width = steps.shape[:2]
    return (steps[..., 0] + np.arange(width, dtype=np.float32),
            steps[..., 1] + np.arange(height, dtype=np.float32)[:, None])


def _same_brightness(now: npt.NDArray[np.uint8], seen: npt.NDArray[np.uint8]) -> Mask:
    """Return where brightness agrees, apart from a change of the image as a whole."""
    change = cv2.blur(now, (_PATCH, _PATCH)).astype(np.int16)
    change -= cv2.blur(seen, (_PATCH, _PATCH))
    change -= np.int16(np.median(change[::4, ::4]))
    return np.abs(change) <= _BRIGHTNESS_CHANGE


def flow_source(motion: ImageMotion, shape: tuple[int, int],
                pixels: Indices) -> tuple[FlatIndex, Mask]:
    """Return (N,) intp places before of (N,) flattened pixels, and (N,) bool: which are valid."""
    height, width = shape
    small_height, small_width = motion.consistent.shape
    pixels = pixels.astype(np.int32)
    rows = pixels // np.int32(width)
    columns = pixels - rows * np.int32(width)
    cells = (np.arange(height) * small_height // height * small_width).take(rows)
    cells += (np.arange(width) * small_width // width).take(columns)
    steps = motion.backward.reshape(-1, 2).take(cells, axis=0)
    columns += np.rint(steps[:, 0] * np.float32(width / small_width)).astype(np.int32)
    rows += np.rint(steps[:, 1] * np.float32(height / small_height)).astype(np.int32)
    known = motion.consistent.take(cells)
    known &= (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    return (rows * np.int32(width) + columns) * known.astype(np.intp), known
