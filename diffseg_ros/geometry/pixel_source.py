"""Where the pixels of a frame were in an earlier one."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
from diffseg_ros.types import Mask
import numpy as np
import numpy.typing as npt

_SHIFT_STEP = 8

FlatIndex = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Source:
    """The (H, W) intp place of each pixel in the flattened image before, where it is `known`."""

    index: FlatIndex
    known: Mask

    def after(self, earlier: Source) -> Source:
        """Return where pixels were before that, by the source of the frame before."""
        return Source(earlier.index.take(self.index), earlier.known.take(self.index) & self.known)

    @property
    def unknown_share(self) -> float:
        """Share of the pixels without a known source."""
        return 1 - np.count_nonzero(self.known) / self.known.size

    @property
    def mean_shift(self) -> float:
        """How far pixels moved on average, in image widths; 0 where no source is known."""
        index, known = (part[::_SHIFT_STEP, ::_SHIFT_STEP] for part in (self.index, self.known))
        if not known.any():
            return 0.0
        width = self.index.shape[1]
        rows, columns = np.nonzero(known)
        from_rows, from_columns = np.divmod(index[known], width)
        return float(np.hypot(from_rows - rows * _SHIFT_STEP,
                              from_columns - columns * _SHIFT_STEP).mean()) / width

    def filled(self) -> Source:
        """
        Return a source with a place for each pixel, whatever its place was where it is not known.

        Pixels that are not known are taken to move as the nearest known one: walls without texture
        keep their shape, and what comes into view beside a moving thing gets what is beside it.
        """
        index, known = self.index, self.known
        if known.all() or not known.any():
            return self
        height, width = known.shape
        nearest = cv2.distanceTransformWithLabels((~known).view(np.uint8), cv2.DIST_L2, 3,
                                                  labelType=cv2.DIST_LABEL_PIXEL)[1]
        pixels = np.flatnonzero(~known)
        # OpenCV numbers the known pixels from 1 in the order of the image.
        leaders = np.flatnonzero(known).take(nearest.ravel().take(pixels) - 1)
        rows, columns = (
            (place + source - leader).clip(0, size - 1) for place, source, leader, size in zip(
                *(np.divmod(places, width)
                  for places in (pixels, index.ravel().take(leaders), leaders)),
                (height, width), strict=True))
        filled = index.copy()
        filled.ravel()[pixels] = rows * width + columns
        return Source(filled, known)
