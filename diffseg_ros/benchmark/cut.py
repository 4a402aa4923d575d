"""Normalised cut: ours beside the recursion with a dense eigenproblem at every node."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from diffseg_ros.benchmark.agreement import adjusted_rand_index
from diffseg_ros.benchmark.memory import PeakMemory
from diffseg_ros.benchmark.timing import median, once, percentiles, take_turns
from diffseg_ros.config import SegmentationConfig
from diffseg_ros.diffusion.backbone import Backbone
from diffseg_ros.frame import Frame
from diffseg_ros.segmentation.cues import token_affinity
from diffseg_ros.segmentation.normalized_cut import normalized_cut
from diffseg_ros.segmentation.reference import reference_cut
from diffseg_ros.threads import one_blas_thread
import numpy as np
import numpy.typing as npt

FloatMatrix = npt.NDArray[np.float32]


def affinities(frames: Sequence[Frame], backbone: Backbone,
               config: SegmentationConfig) -> list[FloatMatrix]:
    """Return the affinity that the pipeline would cut, for each frame."""
    found = []
    for frame in frames:
        features = backbone.features(frame.rgb)
        if config.centre:
            features = features - features.mean(dim=(1, 2), keepdim=True)
        found.append(token_affinity(frame, features.cpu().numpy(), config))
    return found


def measure_cut(graphs: Sequence[FloatMatrix], tau: float, rounds: int) -> dict[str, Any]:
    """
    Time both on consecutive frames' affinities, in turns and on one thread each.

    Parameters
    ----------
    graphs
        (n, n) float32 affinities.
    tau
        As for `normalized_cut`.
    rounds
        How often ours is timed on each graph; the reference is timed once after a first call.

    Returns
    -------
    dict
        Medians in milliseconds and their ratio; the least adjusted Rand index of ours against
        the float64 reference; the median number of segments.

    """
    reference: list[float] = []
    ours: list[float] = []
    agreement, segments = [], []
    with one_blas_thread():
        for graph in graphs:
            exact = reference_cut(graph, tau)
            agreement.append(adjusted_rand_index(exact, normalized_cut(graph, tau)))
            segments.append(int(exact.max()) + 1)
            for number in range(rounds):
                if number == 0:
                    reference.append(once(partial(reference_cut, graph, tau, np.float32)))
                ours.append(once(partial(normalized_cut, graph, tau)))
    return {'reference_ms': median(reference), 'ours_ms': median(ours),
            'ratio': round(median(reference) / median(ours), 2),
            'ari': round(min(agreement), 4), 'segments': median(segments),
            'ours_p95_ms': percentiles(ours)['p95'], 'tokens': len(graphs[0]),
            'graphs': len(graphs)}


def measure_growth(graph: FloatMatrix, tau: float, rounds: int, *,
                   reference: bool) -> dict[str, Any]:
    """Time one graph; the reference may be left out, whose cost grows with the cube."""
    with one_blas_thread():
        with PeakMemory() as memory:
            normalized_cut(graph, tau)
        times = take_turns({'ours': partial(normalized_cut, graph, tau)}, rounds)['ours']
        slow = once(partial(reference_cut, graph, tau, np.float32)) if reference else None
    return {'tokens': len(graph), 'ours_ms': median(times),
            'reference_ms': None if slow is None else round(slow, 3),
            'ours_extra_mb': round(memory.above_start_mb, 1)}
