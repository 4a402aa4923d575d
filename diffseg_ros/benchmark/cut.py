"""Normalised cut: ours beside the recursion with a dense eigenproblem at every node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import copy
from functools import partial
from typing import Any

from diffseg_ros.backbones.base import Backbone
from diffseg_ros.benchmark.agreement import adjusted_rand_index
from diffseg_ros.benchmark.memory import PeakMemory
from diffseg_ros.benchmark.timing import median, once, percentiles, take_turns
from diffseg_ros.config import SegmentationConfig
from diffseg_ros.segmentation.cues import token_affinity
from diffseg_ros.segmentation.kway_cut import kway_cut, KwayState
from diffseg_ros.segmentation.normalized_cut import CutState, normalized_cut
from diffseg_ros.threads import one_blas_thread
from diffseg_ros.types import Frame
import numpy as np
import numpy.typing as npt
from studies.reference import reference_cut
import torch

FloatMatrix = npt.NDArray[np.float32]

_HOST = torch.device('cpu')


def affinities(frames: Sequence[Frame], backbone: Backbone,
               config: SegmentationConfig) -> list[FloatMatrix]:
    """Return the affinity that the pipeline would cut, for each frame."""
    found = []
    for frame in frames:
        features = backbone.features(frame.rgb)
        if config.centre:
            features = features - features.mean(dim=(1, 2), keepdim=True)
        found.append(token_affinity(frame, features.cpu(), config).numpy())
    return found


def measure_cut(graphs: Sequence[FloatMatrix], tau: float, rounds: int,
                device: torch.device = _HOST) -> dict[str, Any]:
    """
    Time the cuts on consecutive frames' affinities, in turns and on one thread each.

    Parameters
    ----------
    graphs
        (n, n) float32 affinities.
    tau
        As for `normalized_cut`.
    rounds
        How often each of ours is timed on each graph.
    device
        Where the K-way cut finds its affinity; its queue is empty whenever the clock is read.
        The recursions run on the host.

    Returns
    -------
    dict
        Medians in milliseconds and the reference's ratio to each; the least adjusted Rand index
        of ours against the float64 reference; the median number of segments. `warm` begins
        with what the frame before found, `kway` is the cut without recursion, on `kway_device`.

    """
    times: dict[str, list[float]] = {}
    agreement, segments = [], []
    states: dict[str, Any] = {'warm': CutState(), 'kway_warm': KwayState()}
    with one_blas_thread():
        for graph in graphs:
            tensor = torch.from_numpy(graph).to(device)
            exact = reference_cut(graph, tau)
            agreement.append(adjusted_rand_index(exact, normalized_cut(graph, tau)))
            segments.append(int(exact.max()) + 1)
            # Long enough to be timed once a graph, between ours.
            times.setdefault('reference', []).append(
                once(partial(reference_cut, graph, tau, np.float32)))
            ways = {'ours': partial(normalized_cut, graph, tau),
                    'kway': partial(kway_cut, tensor, tau)}
            for name, spent in take_turns(ways, rounds, device=device).items():
                times.setdefault(name, []).extend(spent)
            for name, way in (('warm', ways['ours']), ('kway_warm', ways['kway'])):
                spent_warm, states[name] = _continued(way, states[name], rounds, device)
                if graph is not graphs[0]:
                    times.setdefault(name, []).extend(spent_warm)
    report: dict[str, Any] = {'ari': round(min(agreement), 4), 'segments': median(segments),
                              'tokens': len(graphs[0]), 'graphs': len(graphs),
                              'kway_device': str(device)}
    for name, spent in times.items():
        prefix = name if name in ('reference', 'ours') else f'ours_{name}'
        report[f'{prefix}_ms'] = median(spent)
        report[f'{prefix}_p95_ms'] = percentiles(spent)['p95']
        if name != 'reference':
            key = 'ratio' if name == 'ours' else f'ratio_{name}'
            report[key] = round(median(times['reference']) / median(spent), 2)
    return report


def _continued(way: Callable[..., object], before: Any, rounds: int,
               device: torch.device) -> tuple[list[float], Any]:
    """Return milliseconds of calls that begin with one state, and the state after the last."""
    times, state = [], before
    for _ in range(rounds):
        # A state is used up by the call.
        state = copy.deepcopy(before)
        times.append(once(partial(way, state=state), device))
    return times, state


def measure_growth(graph: FloatMatrix, tau: float, rounds: int, *, reference: bool,
                   device: torch.device = _HOST) -> dict[str, Any]:
    """
    Time one graph; the reference may be left out, whose cost grows with the cube.

    Extra memory is the host's, wherever the K-way cut runs.
    """
    ways = {'ours': partial(normalized_cut, graph, tau),
            'ours_kway': partial(kway_cut, torch.from_numpy(graph).to(device), tau)}
    report: dict[str, Any] = {'tokens': len(graph)}
    with one_blas_thread():
        for name, way in ways.items():
            with PeakMemory() as memory:
                way()
            report[f'{name}_extra_mb'] = round(memory.above_start_mb, 1)
        for name, spent in take_turns(ways, rounds, device=device).items():
            report[f'{name}_ms'] = median(spent)
        slow = once(partial(reference_cut, graph, tau, np.float32)) if reference else None
    return {**report, 'reference_ms': None if slow is None else round(slow, 3)}
