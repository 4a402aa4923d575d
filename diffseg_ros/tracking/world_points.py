"""Where the pixels of a frame are in the world, on a coarse grid."""

from __future__ import annotations

from collections.abc import Iterator

from diffseg_ros.tracking.label_map import THIN
from diffseg_ros.tracking.tracking_frame import View
from diffseg_ros.tracking.warp import grid, world_points
import numpy as np
import numpy.typing as npt

Place = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""Mean and standard deviation of points, (3,) float64 world metres each."""

_STEP = 8
_LEAST_POINTS = 4


class Places:
    """World points of every eighth pixel along each axis that has depth."""

    def __init__(self, view: View, world: npt.NDArray[np.float64]) -> None:
        """Take a view with depth and intrinsics, and its (4, 4) camera-to-world transform."""
        assert view.depth is not None
        self._rows, self._columns = grid(view.depth[::_STEP, ::_STEP] > 0, _STEP)
        points = world_points(view, world, self._rows, self._columns)
        self._points = points.astype(np.float64)

    def of(self, mask: npt.NDArray[np.bool_]) -> Place | None:
        """Return the place of a thinned mask's pixels, None where too few have depth."""
        points = self._points[mask[self._rows // THIN, self._columns // THIN]]
        if len(points) < _LEAST_POINTS:
            return None
        return points.mean(axis=0), points.std(axis=0)

    def by_slot(self, slots: npt.NDArray[np.integer]
                ) -> Iterator[tuple[int, npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
        """Yield (slot, mean, standard deviation) of every (H, W) slot with enough points."""
        owners = slots[self._rows, self._columns].astype(np.int64)
        counts = np.bincount(owners)
        total = np.maximum(counts, 1)[:, None]
        mean, square = (np.stack([np.bincount(owners, axis, len(counts)) for axis in points.T],
                                 axis=1) / total
                        for points in (self._points, np.square(self._points)))
        spread = np.sqrt(np.maximum(square - np.square(mean), 0))
        for slot in np.flatnonzero(counts >= _LEAST_POINTS):
            yield int(slot), mean[slot], spread[slot]
