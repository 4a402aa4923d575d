"""DiffSeg's merging: ours beside the form that broadcasts anchors against maps."""

from __future__ import annotations

from functools import partial
from typing import Any

from diffseg_ros.benchmark.agreement import adjusted_rand_index
from diffseg_ros.benchmark.timing import median, once, percentiles
from diffseg_ros.segmentation.attention_merging import anchor_tokens, merge_attention, MergeRule
from diffseg_ros.segmentation.reference import reference_merging
import numpy as np
import torch


def measure_merging(attention: torch.Tensor, threshold: float, rounds: int, *,
                    reference: bool = True) -> dict[str, Any]:
    """
    Time the merging of one frame's aggregated attention.

    Parameters
    ----------
    attention
        (h, w, h, w) float32 on any device; the reference runs on the CPU.
    threshold
        As in `MergeRule`.
    rounds
        How often ours is timed; the reference is timed once.
    reference
        Whether it is run at all: 4096 tokens take it 10 s or more.

    Returns
    -------
    dict
        Milliseconds, their ratio, the adjusted Rand index of the tokens' labels, and the number
        of segments.

    """
    rule = MergeRule(threshold)
    run = partial(merge_attention, attention, rule)
    labels = run().flatten(1).argmax(dim=0).cpu().numpy()
    times = [once(run, attention.device) for _ in range(max(1, rounds // 2))]
    slow = agreement = None
    height, width = attention.shape[:2]
    anchors = anchor_tokens(height, width, 16)
    if reference:
        maps = attention.flatten(0, 1).flatten(1).cpu().numpy()
        literal: list[np.ndarray] = []
        slow = once(lambda: literal.append(reference_merging(maps, anchors, rule)))
        agreement = adjusted_rand_index(labels, literal[0].argmax(axis=0))
    times += [once(run, attention.device) for _ in range(max(1, rounds - rounds // 2))]
    ours = median(times)
    return {'reference_ms': None if slow is None else round(slow, 3), 'ours_ms': ours,
            'ratio': None if slow is None else round(slow / ours, 2),
            'ari': None if agreement is None else round(agreement, 4),
            'segments': len(np.unique(labels)), 'ours_p95_ms': percentiles(times)['p95'],
            'tokens': len(labels), 'anchors': len(anchors)}
