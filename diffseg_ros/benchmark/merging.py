"""DiffSeg's merging: ours beside the form that broadcasts anchors against maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
import os
from typing import Any

from diffseg_ros.benchmark.agreement import adjusted_rand_index
from diffseg_ros.benchmark.timing import median, once, percentiles
from diffseg_ros.segmentation.attention_merging import anchor_tokens, merge_attention, MergeRule
from diffseg_ros.threads import one_blas_thread
import numpy as np
from studies.reference import reference_merging
import torch


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let both PyTorch and what NumPy calls use that many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with one_blas_thread() if count == 1 else nullcontext():
            yield
    finally:
        torch.set_num_threads(before)


def measure_merging(attention: torch.Tensor, threshold: float, rounds: int, *,
                    reference: bool = True) -> dict[str, Any]:
    """
    Time the merging of one frame's aggregated attention, on all cores and on one thread.

    Parameters
    ----------
    attention
        (h, w, h, w) float32 on any device; the reference runs on the CPU, on one thread.
    threshold
        As in `MergeRule`.
    rounds
        How often ours is timed; the reference is timed once, in between.
    reference
        Whether it is run at all: 4096 tokens take it 10 s or more.

    Returns
    -------
    dict
        Milliseconds, the ratio of the reference's to ours on all cores ('ratio') and on one
        thread ('ratio_one_thread'), the adjusted Rand index of the tokens' labels, and the
        number of segments.

    """
    rule = MergeRule(threshold)
    run = partial(merge_attention, attention, rule)
    labels = run().flatten(1).argmax(dim=0).cpu().numpy()
    many, single = _timed(run, max(1, rounds // 2), attention.device)
    slow = agreement = None
    height, width = attention.shape[:2]
    anchors = anchor_tokens(height, width, 16)
    if reference:
        maps = attention.flatten(0, 1).flatten(1).cpu().numpy()
        literal: list[np.ndarray] = []
        with _threads(1):
            slow = once(lambda: literal.append(reference_merging(maps, anchors, rule)))
        agreement = adjusted_rand_index(labels, literal[0].argmax(axis=0))
    more, more_single = _timed(run, max(1, rounds - rounds // 2), attention.device)
    ours, alone = median(many + more), median(single + more_single)
    return {'reference_ms': None if slow is None else round(slow, 3), 'ours_ms': ours,
            'ratio': None if slow is None else round(slow / ours, 2),
            'ours_one_thread_ms': alone,
            'ratio_one_thread': None if slow is None else round(slow / alone, 2),
            'ari': None if agreement is None else round(agreement, 4),
            'segments': len(np.unique(labels)),
            'ours_p95_ms': percentiles(many + more)['p95'],
            'tokens': len(labels), 'anchors': len(anchors)}


def _timed(run: Callable[[], object], rounds: int,
           device: torch.device) -> tuple[list[float], list[float]]:
    """Return milliseconds on all cores and on one thread."""
    found = []
    for count in (os.cpu_count() or 1, 1):
        with _threads(count):
            found.append([once(run, device) for _ in range(rounds)])
    return found[0], found[1]
