"""Percentiles of how long things take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return the median and the 95th percentile of at least one value as 'p50' and 'p95'."""
    p50, p95 = np.percentile(values, [50, 95])
    return {'p50': float(p50), 'p95': float(p95)}


class Latencies:
    """Milliseconds by stage; stages stand in the order in which they first came."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = defaultdict(list)

    def add(self, latency_ms: Mapping[str, float]) -> None:
        """Add one frame's milliseconds; a stage that it left out is not counted for it."""
        for stage, milliseconds in latency_ms.items():
            self._values[stage].append(milliseconds)

    def report(self) -> dict[str, dict[str, float]]:
        """Return 'p50', 'p95' and 'mean' of every stage in milliseconds."""
        return {stage: {**percentiles(values), 'mean': float(np.mean(values))}
                for stage, values in self._values.items()}
