"""Times of the segmentation methods, beside the literal forms of the published algorithms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
import copy
from functools import partial
import os
from typing import Any

from diffseg_ros.backbones.base import Backbone, observe
from diffseg_ros.backbones.loader import load_backbone, model_kind
from diffseg_ros.benchmark.measurement import (
    median,
    milliseconds,
    PeakMemory,
    rounded_percentiles,
    take_turns,
)
from diffseg_ros.config import PipelineConfig
from diffseg_ros.model_defaults import with_model_defaults
from diffseg_ros.pipeline import create_method
from diffseg_ros.segmentation.affinity import token_affinity
from diffseg_ros.segmentation.attention import (
    aggregate_attention,
    anchor_tokens,
    merge_attention,
)
from diffseg_ros.segmentation.base import SegmentationSettings
from diffseg_ros.segmentation.kway_cut import kway_cut, KwayState
from diffseg_ros.segmentation.normalized_cut import CutState, normalized_cut
from diffseg_ros.threads import one_blas_thread
from diffseg_ros.types import Frame
import numpy as np
import numpy.typing as npt
import torch

from studies.agreement import adjusted_rand_index
from studies.reference_cut import reference_cut
from studies.reference_merging import reference_merging

FloatMatrix = npt.NDArray[np.float32]
Method = tuple[Backbone, SegmentationSettings]

CUT_TOKENS, MERGE_TOKENS = 1024, 4096
GROWTH = (256, 1024, 2304, 4096)
SLOWEST_REFERENCE = 2304
"""Tokens beyond which `measure_growth` leaves the references out."""
DIFFCUT: dict[str, Any] = {'alpha': 10.0, 'tau': 0.5, 'colour': 0.0, 'position': 0.0,
                           'geometry': 0.0, 'attention': 0.0}
"""Settings of the cut in the published DiffCut: features alone."""

_HOST = torch.device('cpu')


def measure_segmentation(config: PipelineConfig, frames: Sequence[Frame],
                         images: Sequence[Frame] = (), *, quick: bool = False) -> dict[str, Any]:
    """
    Time all methods on real features and attention of the configured model.

    `frames` are consecutive; `images` are cut besides these.

    - `normalized_cut` cuts DiffCut's affinity of the features alone (centred, which the embedded
      model needs), `normalized_cut_cues` that of the settings; see `measure_cut`.
    - `attention_merging`: see `measure_merging`.
    - `methods` has the whole stage, from features to pixels, by method; 'diffcut_alone' and the
      like cut the features alone.
    """
    tokens, merge_tokens = (96, 96) if quick else (CUT_TOKENS, MERGE_TOKENS)
    rounds, settings = 1 if quick else 2, _settings(config)
    raw, backbone = _backbone(config, tokens, whiten=False), _backbone(config, tokens)
    published = settings.replace(cut=settings.section('cut').replace(**DIFFCUT), centre=True)
    report: dict[str, Any] = {}
    for name, (source, chosen) in {'normalized_cut': (raw, published),
                                   'normalized_cut_cues': (backbone, settings)}.items():
        report[name] = measure_cut(affinities([*frames, *images], source, chosen),
                                   chosen.section('cut').tau, rounds, backbone.device)
    report['attention_merging'] = measure_merging(_attention(config, frames[0], merge_tokens),
                                                  settings.section('diffseg').threshold, rounds)
    methods = {'regions': (backbone, settings.replace(method='regions'))}
    for method in ('diffcut', 'kway'):
        methods[method] = backbone, settings.replace(method=method)
        methods[f'{method}_alone'] = raw, published.replace(method=method)
    methods['kway_alone_pamr'] = raw, published.replace(
        method='kway', refinement=settings.refinement.replace(method='pamr'))
    return {**report, 'methods': measure_methods(frames, methods, rounds)}


def measure_growth(config: PipelineConfig, frame: Frame, *,
                   quick: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Time the cut and the merging of one frame at rising numbers of tokens."""
    settings = _settings(config)
    tau, threshold = settings.section('cut').tau, settings.section('diffseg').threshold
    cut, merging = [], []
    for tokens in (48, 96) if quick else GROWTH:
        backbone, with_reference = _backbone(config, tokens), tokens <= SLOWEST_REFERENCE
        graph = affinities([frame], backbone, settings)[0]
        cut.append(measure_cut_growth(graph, tau, 3, backbone.device,
                                      reference=with_reference))
        merging.append(measure_merging(_attention(config, frame, tokens), threshold, 3,
                                       reference=with_reference))
    return {'normalized_cut': cut, 'attention_merging': merging}


def _settings(config: PipelineConfig) -> SegmentationSettings:
    """Return the settings that suit the model, none of them left open."""
    method = config.segmentation.method
    return with_model_defaults(config.segmentation, model_kind(config.backbone), method,
                               'segmentation.')


def affinities(frames: Sequence[Frame], backbone: Backbone,
               config: SegmentationSettings) -> list[FloatMatrix]:
    """Return the (n, n) affinity that the pipeline would cut, for each frame."""
    found = []
    for frame in frames:
        features = backbone.features(frame.rgb)
        if config.centre:
            features = features - features.mean(dim=(1, 2), keepdim=True)
        found.append(token_affinity(frame, features.cpu(), config.section('cut')).numpy())
    return found


def measure_cut(graphs: Sequence[FloatMatrix], tau: float, rounds: int,
                device: torch.device = _HOST) -> dict[str, Any]:
    """
    Time the cuts of consecutive frames' (n, n) float32 affinities, in turns, on one thread each.

    The K-way cut runs on `device`, the recursions on the host. Returns medians in milliseconds
    and the reference's ratio to each; the lowest adjusted Rand index of ours against the float64
    reference; the median number of segments. 'warm' starts from the result of the frame before,
    'kway' is the cut without recursion, on `kway_device`.
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
            # The reference takes long enough to be timed once per graph.
            times.setdefault('reference', []).append(
                milliseconds(partial(reference_cut, graph, tau, np.float32)))
            ways = {'ours': partial(normalized_cut, graph, tau),
                    'kway': partial(kway_cut, tensor, tau)}
            for name, spent in take_turns(ways, rounds, device).items():
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
        report[f'{prefix}_p95_ms'] = rounded_percentiles(spent)['p95']
        if name != 'reference':
            key = 'ratio' if name == 'ours' else f'ratio_{name}'
            report[key] = round(median(times['reference']) / median(spent), 2)
    return report


def _continued(way: Callable[..., object], before: Any, rounds: int,
               device: torch.device) -> tuple[list[float], Any]:
    """Return the milliseconds of calls that start from one state, and the state afterwards."""
    times, state = [], before
    for _ in range(rounds):
        state = copy.deepcopy(before)  # a call changes its state
        times.append(milliseconds(partial(way, state=state), device))
    return times, state


def measure_cut_growth(graph: FloatMatrix, tau: float, rounds: int,
                       device: torch.device = _HOST, *, reference: bool) -> dict[str, Any]:
    """Time the cut of one graph and measure its extra memory on the host."""
    ways = {'ours': partial(normalized_cut, graph, tau),
            'ours_kway': partial(kway_cut, torch.from_numpy(graph).to(device), tau)}
    report: dict[str, Any] = {'tokens': len(graph)}
    with one_blas_thread():
        for name, way in ways.items():
            with PeakMemory() as memory:
                way()
            report[f'{name}_extra_mb'] = round(memory.above_start_mb, 1)
        for name, spent in take_turns(ways, rounds, device).items():
            report[f'{name}_ms'] = median(spent)
        slow = milliseconds(partial(reference_cut, graph, tau, np.float32)) if reference else None
    return {**report, 'reference_ms': None if slow is None else round(slow, 3)}


def measure_merging(attention: torch.Tensor, threshold: float, rounds: int, *,
                    reference: bool = True) -> dict[str, Any]:
    """
    Time the merging of one frame's (h, w, h, w) attention, on all cores and on one thread.

    The reference runs once, in between, on the CPU and one thread; 4096 tokens take it 10 s or
    more. Returns milliseconds, the ratio of the reference's to ours on all cores ('ratio') and on
    one thread ('ratio_one_thread'), the adjusted Rand index of the tokens' labels, and the number
    of segments.
    """
    run = partial(merge_attention, attention, threshold)
    labels = run().flatten(1).argmax(dim=0).cpu().numpy()
    anchors = anchor_tokens(attention.shape[0], attention.shape[1], 16)
    times: dict[int, list[float]] = {os.cpu_count() or 1: [], 1: []}

    def time_ours(count: int) -> None:
        for threads, spent in times.items():
            with _threads(threads):
                spent.extend(milliseconds(run, attention.device) for _ in range(count))

    time_ours(max(1, rounds // 2))
    slow = agreement = None
    if reference:
        maps = attention.flatten(0, 1).flatten(1).cpu().numpy()
        literal: list[np.ndarray] = []
        with _threads(1):
            slow = milliseconds(
                lambda: literal.append(reference_merging(maps, anchors, threshold)))
        agreement = round(adjusted_rand_index(labels, literal[0].argmax(axis=0)), 4)
    time_ours(max(1, rounds - rounds // 2))
    all_cores, one_thread = next(iter(times.values())), times[1]
    ours, alone = median(all_cores), median(one_thread)
    return {'reference_ms': slow and round(slow, 3), 'ours_ms': ours,
            'ratio': slow and round(slow / ours, 2), 'ours_one_thread_ms': alone,
            'ratio_one_thread': slow and round(slow / alone, 2), 'ari': agreement,
            'segments': len(np.unique(labels)),
            'ours_p95_ms': rounded_percentiles(all_cores)['p95'],
            'tokens': len(labels), 'anchors': len(anchors)}


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let PyTorch and NumPy use that many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with one_blas_thread() if count == 1 else nullcontext():
            yield
    finally:
        torch.set_num_threads(before)


def measure_methods(frames: Sequence[Frame], methods: Mapping[str, Method],
                    rounds: int) -> dict[str, Any]:
    """
    Time the whole stage by method, in turns, each on its backbone's features.

    The frames are consecutive: a cut starts from the result of the frame before. Returns by name
    milliseconds 'p50' and 'p95' from features to labels on the host, and the median number of
    'segments'.
    """
    device = next(iter(methods.values()))[0].device
    features = {name: [backbone.features(frame.rgb) for frame in frames]
                for name, (backbone, _) in methods.items()}
    segmenters = {name: create_method(settings) for name, (_, settings) in methods.items()}
    times: dict[str, list[float]] = {name: [] for name in methods}
    segments: dict[str, list[int]] = {name: [] for name in methods}

    def segment(name: str, number: int) -> None:
        found = segmenters[name].segment(frames[number], features[name][number])
        segments[name].append(len(found.embeddings))

    with one_blas_thread():
        for number in range(len(frames)):
            turns = {name: partial(segment, name, number) for name in methods}
            for name, spent in take_turns(turns, rounds, device).items():
                times[name].extend(spent)
    return {name: {**rounded_percentiles(times[name]), 'segments': median(segments[name])}
            for name in methods}


def _backbone(config: PipelineConfig, tokens: int, *, attention: bool = False,
              whiten: bool = True) -> Backbone:
    settings = config.backbone
    return load_backbone(settings.replace(tokens=tokens, whiten=settings.whiten and whiten),
                         attention=attention)


def _attention(config: PipelineConfig, frame: Frame, tokens: int) -> torch.Tensor:
    """Return the aggregated attention of a square view of about `tokens` tokens."""
    backbone = _backbone(config, tokens, attention=True)
    side = min(frame.rgb.shape[:2])
    maps = observe(backbone, frame.rgb[:side, :side].copy(), attention=True)[1]
    assert maps is not None
    return aggregate_attention(maps)
