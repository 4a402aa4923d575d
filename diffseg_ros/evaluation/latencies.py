"""Time per stage over many frames."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np


class Latencies:
    """Collects milliseconds by stage; stages stand in the order in which they first came."""

    def __init__(self) -> None:
        """Begin without a frame."""
        self._values: dict[str, list[float]] = defaultdict(list)

    def add(self, latency_ms: Mapping[str, float]) -> None:
        """Add one frame's milliseconds; a stage that it left out is not counted for it."""
        for stage, milliseconds in latency_ms.items():
            self._values[stage].append(milliseconds)

    def report(self) -> dict[str, dict[str, float]]:
        """Return p50, p95 and mean of every stage, in milliseconds."""
        return {stage: {'p50': float(np.percentile(values, 50)),
                        'p95': float(np.percentile(values, 95)),
                        'mean': float(np.mean(values))}
                for stage, values in self._values.items()}
