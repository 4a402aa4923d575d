"""
Host-device synchronisations of the cut: more segments need no more of them.

Every value that Python reads from a tensor is one on a GPU. They are counted on the CPU, where
they cost nothing, so that no GPU is needed. Whole arrays that are copied to the
host cannot be counted so: the affinities between groups, two of labels, and what comes out.
"""

from collections import Counter

from diffseg_ros.pipeline import create_method
from diffseg_ros.segmentation.kway_cut import kway_cut, KwayState
from diffseg_ros.types import Frame
import numpy as np
import pytest
from scenes import config
from test_normalized_cut import block_affinity
import torch
from torch.utils._python_dispatch import TorchDispatchMode

WAITING = {'_local_scalar_dense', 'nonzero', 'masked_select', 'equal', '_unique2', 'unique_dim'}


class Waits(TorchDispatchMode):
    """Counts the operations whose result the host needs before it can go on."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        name = operation.overloadpacket.__name__
        by_mask = name == 'index' and any(
            index is not None and index.dtype == torch.bool for index in arguments[1])
        if name in WAITING or by_mask:
            self.counts[name] += 1
        return operation(*arguments, **(keywords or {}))


@pytest.mark.parametrize('read', [
    lambda values: values.sum().item(), lambda values: values[values > 0],
    lambda values: values.nonzero(), lambda values: bool(values.any())])
def test_waits_are_seen(read):
    with Waits() as waits:
        read(torch.arange(4))
    assert waits.counts.total() >= 1


def waits_of_a_cut(count, *, warm=False):
    affinity, truth = block_affinity((12,) * count, between=0.001)
    graph, state = torch.from_numpy(affinity), KwayState()
    if warm:
        kway_cut(graph, 0.4, state=state)
    with Waits() as waits:
        labels = kway_cut(graph, 0.4, state=state)
    assert len(np.unique(labels)) == len(np.unique(truth)) == count
    return waits.counts.total()


@pytest.mark.parametrize('warm', [False, True])
def test_more_segments_are_no_more_waits(warm):
    few, many = (waits_of_a_cut(count, warm=warm) for count in (2, 40))
    assert many <= few + 3
    assert many <= 12


def test_a_whole_frame_waits_a_fixed_number_of_times():
    rng = np.random.default_rng(5)
    frame = Frame(rng.integers(0, 255, (120, 160, 3), np.uint8))
    features = torch.from_numpy(rng.standard_normal((8, 18, 24)).astype(np.float32))
    counts = {}
    for granularity in (0.2, 0.9):
        method = create_method(config('kway', refinement__method='pamr',
                                      granularity=granularity))
        method.segment(frame, features)
        with Waits() as waits:
            segments = method.segment(frame, features)
        counts[len(segments.embeddings)] = waits.counts.total()
    assert len(counts) == 2
    assert max(counts.values()) <= 13
