"""The yardstick that tracking is compared with: ids follow the overlap of two frames' masks."""

from __future__ import annotations

from diffseg_ros.evaluation.contingency import contingency
import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

MIN_IOU = 0.3
"""IoU from which on a segment can continue a track."""


class OverlapTracker:
    """
    Joins each frame's segments to those of the frame before by the IoU of their masks.

    Pairs with an IoU of at least 0.3 are assigned one to one so that its sum is largest
    (Hungarian method); other segments get new ids. Nothing older is remembered. It stays as it
    is, so that figures measured against it can be compared.
    """

    def __init__(self, first_id: int = 1) -> None:
        """Start without a frame; ids rise from `first_id`."""
        self._next_id = first_id
        self._last: npt.NDArray[np.int32] | None = None

    def reset(self) -> None:
        """Forget the last frame; ids go on rising."""
        self._last = None

    def update(self, labels: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """
        Return the (H, W) int32 segments of a frame with ids in place of their numbers.

        Negative segments are unlabelled and stay so. A frame of another size continues nothing.
        """
        segments = np.unique(labels[labels >= 0])
        identities = np.zeros(len(segments), np.int32)
        if self._last is not None and self._last.shape == labels.shape:
            self._join(labels, segments, identities)
        new = np.flatnonzero(identities == 0)
        identities[new] = self._next_id + np.arange(len(new))
        self._next_id += len(new)
        result = np.full(labels.shape, -1, np.int32)
        if len(segments):
            known = labels >= 0
            result[known] = identities[np.searchsorted(segments, labels[known])]
        self._last = result
        return result

    def _join(self, labels: npt.NDArray[np.int32], segments: npt.NDArray[np.int32],
              identities: npt.NDArray[np.int32]) -> None:
        """Write the ids of the tracks that continue into `identities`."""
        assert self._last is not None
        table = contingency(labels, self._last, ignore=-1)
        # The table's IoU leaves ignored pixels out; here unlabelled ones are part of a mask.
        union = ((table.segment_pixels + table.ignored)[:, None] + table.region_pixels
                 - table.overlap)
        iou = table.overlap / np.maximum(union, 1)
        iou[iou < MIN_IOU] = 0
        rows, columns = linear_sum_assignment(iou, maximize=True)
        joined = iou[rows, columns] > 0
        places = np.searchsorted(segments, table.segments[rows[joined]])
        identities[places] = table.regions[columns[joined]]
