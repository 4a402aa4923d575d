"""What can be said of tracks without any truth: how many there are and how much they cover."""

from __future__ import annotations

from typing import Any

from diffseg_ros.evaluation.contingency import LabelArray
import numpy as np


class LabelStatistics:
    """Counts the ids of label images; they show wins that mean nothing, such as one big track."""

    def __init__(self) -> None:
        """Begin an empty sequence."""
        self._ids: set[int] = set()
        self._per_frame: list[int] = []
        self._largest: list[float] = []
        self._unlabelled: list[float] = []

    def add(self, labels: LabelArray) -> None:
        """Count one frame: (H, W) integer ids, negative ones are unlabelled."""
        ids, pixels = np.unique(labels, return_counts=True)
        tracks = ids >= 0
        self._ids.update(ids[tracks].tolist())
        self._per_frame.append(int(tracks.sum()))
        self._largest.append(pixels[tracks].max(initial=0) / labels.size)
        self._unlabelled.append(pixels[~tracks].sum() / labels.size)

    def report(self) -> dict[str, Any]:
        """
        Return frames, tracks, tracks_per_frame, largest_share and unlabelled_share.

        `tracks` is the number of different ids, `tracks_per_frame` the median over the frames,
        the shares are of a frame's pixels, means over the frames; None without a frame.
        """
        frames = len(self._per_frame)
        return {'frames': frames, 'tracks': len(self._ids),
                'tracks_per_frame': float(np.median(self._per_frame)) if frames else None,
                'largest_share': float(np.mean(self._largest)) if frames else None,
                'unlabelled_share': float(np.mean(self._unlabelled)) if frames else None}
