"""What tracking keeps of a frame: depth and brightness at its working size."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
from diffseg_ros.types import Frame, Intrinsics
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

_FLOW_WIDTH = 320


@dataclass(frozen=True)
class View:
    """
    One frame at the size that labels are tracked at.

    Attributes
    ----------
    shape
        (H, W) of the tracked label image.
    grey
        (h, w) uint8 brightness, smaller, for image motion.
    depth
        (H, W) float32 metres with NaN, or None.
    intrinsics
        Of an H by W image, or None.
    pose
        (4, 4) float64 camera-to-world, or None.

    """

    shape: tuple[int, int]
    grey: npt.NDArray[np.uint8]
    depth: FloatArray | None = None
    intrinsics: Intrinsics | None = None
    pose: npt.NDArray[np.float64] | None = None

    @property
    def measured(self) -> bool:
        """Whether pixels have places in space."""
        return self.depth is not None and self.intrinsics is not None

    def resized(self, shape: tuple[int, int]) -> View:
        """Return the same view for another label size."""
        if shape == self.shape:
            return self
        small = _flow_size(shape)
        return replace(self, shape=shape,
                       grey=cv2.resize(self.grey, small, interpolation=cv2.INTER_AREA),
                       depth=None if self.depth is None else _nearest(self.depth, shape),
                       intrinsics=self.intrinsics and self.intrinsics.resized(*shape[::-1]))


def view_of(frame: Frame, width: int, *, depth: bool = True, pose: bool = True) -> View:
    """
    Return what tracking keeps of a frame.

    Parameters
    ----------
    frame
        The frame; its depth may have another size than its photo.
    width
        Largest width in pixels of the tracked label image.
    depth, pose
        Whether they are used where the frame has them.

    """
    rows, columns = frame.rgb.shape[:2]
    if columns > width:
        rows, columns = max(2, round(rows * width / columns)), width
    shape = rows, columns
    small = cv2.resize(frame.rgb, _flow_size(shape), interpolation=cv2.INTER_AREA)
    metres = None
    if depth and frame.depth is not None and frame.intrinsics is not None:
        metres = frame.depth if frame.depth.shape == shape else _nearest(frame.depth, shape)
    known = pose and frame.pose is not None and bool(np.isfinite(frame.pose).all())
    return View(shape, cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), metres,
                frame.intrinsics and frame.intrinsics.resized(columns, rows),
                frame.pose if known else None)


def _flow_size(shape: tuple[int, int]) -> tuple[int, int]:
    """Return (width, height) of the brightness image; whole fractions are the fastest."""
    factor = max(1, -(-shape[1] // _FLOW_WIDTH))
    return max(1, shape[1] // factor), max(1, shape[0] // factor)


def _nearest(image: FloatArray, shape: tuple[int, int]) -> FloatArray:
    resized: FloatArray = cv2.resize(image, shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return resized
