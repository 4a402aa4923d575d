"""Image motion between two frames: dense optical flow, checked forwards and backwards."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
from diffseg_ros.tracking.tracking_frame import FloatArray, View
import numpy as np
import numpy.typing as npt

_SLACK = 1.0
_SLACK_SHARE = 0.05
_MINIMUM_SIDE = 16
_PATCH, _CHANGE = 5, 20


@dataclass(frozen=True)
class ImageMotion:
    """
    Where the pixels of a small brightness image were in the one before.

    Attributes
    ----------
    backward
        (h, w, 2) float32 steps in pixels, x and y, from now to before.
    consistent
        (h, w) bool: the way forwards leads back, and the pixel was in view.

    """

    backward: FloatArray
    consistent: npt.NDArray[np.bool_]


class Flow:
    """Dense inverse search (Kroeger et al., ECCV 2016), as OpenCV has it."""

    def __init__(self) -> None:
        """Make the estimator; it has no state from frame to frame."""
        self._search, self._plain = (
            cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST) for _ in range(2))
        self._plain.setVariationalRefinementIterations(0)

    def towards(self, now: View, before: View) -> ImageMotion:
        """Return the motion between two views of one size, neither refined nor checked."""
        image, earlier = np.ascontiguousarray(now.grey), np.ascontiguousarray(before.grey)
        if min(image.shape) < _MINIMUM_SIDE:
            return _unknown_motion(image.shape)
        return ImageMotion(self._plain.calc(image, earlier, None), np.ones(image.shape, bool))

    def between(self, now: View, before: View, *, coarse: bool = False) -> ImageMotion:
        """Return the motion between two views of one size; coarse is four times as fast."""
        image, earlier = np.ascontiguousarray(now.grey), np.ascontiguousarray(before.grey)
        if coarse and min(image.shape) >= 2 * _MINIMUM_SIDE:
            image, earlier = cv2.pyrDown(image), cv2.pyrDown(earlier)
        if min(image.shape) < _MINIMUM_SIDE:
            return _unknown_motion(image.shape)
        backward = self._search.calc(image, earlier, None)
        forward = self._search.calc(earlier, image, None)
        height, width = image.shape
        columns = backward[..., 0] + np.arange(width, dtype=np.float32)
        rows = backward[..., 1] + np.arange(height, dtype=np.float32)[:, None]
        back = cv2.remap(forward, columns, rows, cv2.INTER_LINEAR,
                         borderMode=cv2.BORDER_CONSTANT, borderValue=(1e6, 1e6))
        error = np.abs(back + backward).sum(axis=-1)
        slack = _SLACK + _SLACK_SHARE * np.abs(backward).sum(axis=-1)
        seen = cv2.remap(earlier, columns, rows, cv2.INTER_LINEAR)
        return ImageMotion(backward, (error <= slack) & _alike(image, seen))


def _unknown_motion(shape: tuple[int, ...]) -> ImageMotion:
    return ImageMotion(np.zeros((*shape, 2), np.float32), np.zeros(shape, bool))


def _alike(now: npt.NDArray[np.uint8], seen: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Return where brightness agrees, after what changed in the image as a whole."""
    change = cv2.blur(now, (_PATCH, _PATCH)).astype(np.int16)
    change -= cv2.blur(seen, (_PATCH, _PATCH))
    change -= np.int16(np.median(change[::4, ::4]))
    return np.abs(change) <= _CHANGE


def flow_source(motion: ImageMotion, shape: tuple[int, int], places: npt.NDArray[np.int64]
                ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """
    Return where pixels of an image come from.

    Parameters
    ----------
    motion
        From the image before to this one.
    shape
        (H, W) of both.
    places
        (N,) pixels, as places in the flattened image.

    Returns
    -------
    tuple
        (N,) int32 places in the flattened image before, and (N,) bool where the flow is sure;
        a place is meaningless where it is not.

    """
    height, width = shape
    small_height, small_width = motion.consistent.shape
    steps = cv2.resize(motion.backward, (width, height), interpolation=cv2.INTER_LINEAR)
    sure = cv2.resize(motion.consistent.view(np.uint8), (width, height),
                      interpolation=cv2.INTER_NEAREST).view(bool)
    steps = steps.reshape(-1, 2).take(places, axis=0)
    places = places.astype(np.int32)
    rows = places // np.int32(width)
    columns = places - rows * np.int32(width)
    columns += np.rint(steps[:, 0] * np.float32(width / small_width)).astype(np.int32)
    rows += np.rint(steps[:, 1] * np.float32(height / small_height)).astype(np.int32)
    known = sure.take(places)
    known &= (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    rows *= width
    rows += columns
    rows *= known
    return rows, known
