"""How many tracks there are and how much they cover, which needs no truth."""

from __future__ import annotations

from typing import Any

from diffseg_ros.evaluation.measure import Measure, Observation
from diffseg_ros.registry import register_measure
import numpy as np


@register_measure('label_statistics', commands=('tracks',))
class LabelStatistics(Measure):
    """Counts ids; exposes degenerate results, such as one track that covers the whole image."""

    def reset(self) -> None:
        self._ids: set[int] = set()
        self._per_frame: list[int] = []
        self._largest: list[float] = []
        self._unlabelled: list[float] = []

    def update(self, observation: Observation) -> None:
        ids, pixels = np.unique(observation.labels, return_counts=True)
        tracks, size = ids >= 0, observation.labels.size
        self._ids.update(ids[tracks].tolist())
        self._per_frame.append(int(tracks.sum()))
        self._largest.append(pixels[tracks].max(initial=0) / size)
        self._unlabelled.append(pixels[~tracks].sum() / size)

    def compute(self) -> dict[str, Any]:
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
