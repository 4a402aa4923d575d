"""
K-way normalised cut: groups of tokens, a cut of the groups, discrete moves of tokens.

Falcon (ICLR 2026) showed that refining discrete K-way labels replaces most of DiffCut's recursion.
Here tokens gather around seeds that are far from each other (Gonzalez, "Clustering to minimize the
maximum intercluster distance", 1985); the groups are cut like a small graph on the host, which
finds K; and moves of single tokens lower the K-way cost, the sum of cut(segment) / volume(segment)
(the weighted kernel k-means of Dhillon, Guan and Kulis, "Weighted Graph Cuts without Eigenvectors:
A Multilevel Approach", PAMI 2007, with Hartigan's exact gains). Cost and memory are quadratic in
the tokens; what is quadratic stays on the affinity's device.
"""

from __future__ import annotations

from typing import NamedTuple

from diffseg_ros.geometry.label_images import renumber
from diffseg_ros.segmentation.graph_utils import check_affinity, membership
from diffseg_ros.segmentation.normalized_cut import normalized_cut
import numpy as np
import numpy.typing as npt
import torch

_TOKENS_PER_SEED = 12
_LEAST_SEEDS, _MOST_SEEDS = 32, 256
_GROUP_SWEEPS, _LAST_SWEEPS = 2, 1
_HALVINGS = 3
_LEAST_GAIN = 1e-4
_LEAST_KEPT = 0.8
_TINY = 1e-30


class KwayState:
    """
    The small groups of the last frame's tokens: the search of the next frame begins with them.

    (n,) int64 `groups` from 0 to `count` - 1, or None, and their `cost` when last made afresh.
    """

    def __init__(self) -> None:
        self.groups: torch.Tensor | None = None
        self.count = 0
        self.cost = 0.0


def kway_cut(affinity: torch.Tensor, tau: float, max_segments: int | None = None,
             state: KwayState | None = None) -> npt.NDArray[np.int32]:
    """
    Partition a graph into as many segments as `tau` asks for.

    Parameters
    ----------
    affinity
        (n, n) float32, symmetric, not negative, on any device.
    tau, max_segments
        As for `normalized_cut`.
    state
        That of the last frame, which is updated; one of another size is ignored. The result
        depends on it.

    Returns
    -------
    numpy.ndarray
        (n,) int32 labels from 0, numbered by first occurrence.

    Raises
    ------
    DiffsegError
        The affinity is not square or holds NaN, infinity or negative values.

    """
    check_affinity(affinity)
    near = _last_groups(affinity, state)
    found = _refined(near or _around_seeds(affinity), _GROUP_SWEEPS)
    if state is not None:
        state.groups, state.count = found.labels, len(found.share)
        state.cost = state.cost if near else found.cost
    parts = normalized_cut(found.between().cpu().numpy(), tau, max_segments)
    merged = found.merged(torch.from_numpy(parts).to(found.labels), int(parts.max()) + 1)
    return renumber(_refined(merged, _LAST_SWEEPS).labels.to(torch.int32).cpu().numpy())


def _last_groups(affinity: torch.Tensor, state: KwayState | None) -> _Segments | None:
    """Return the last frame's groups if they hold together about as well as when made."""
    if (state is None or state.groups is None or len(state.groups) != len(affinity)
            or state.groups.device != affinity.device):
        return None
    near = _segments(affinity, state.groups, state.count)
    good = state.count - near.cost > _LEAST_KEPT * (state.count - state.cost)
    return near if good else None


def _refined(segments: _Segments, sweeps: int) -> _Segments:
    for _ in range(sweeps):
        target, gain = segments.best_moves()
        order = gain.argsort(descending=True, stable=True)
        movers = order[:int((gain > _LEAST_GAIN).sum())]
        for _ in range(_HALVINGS + 1):
            if not len(movers):
                return segments
            proposed = segments.moved(movers, target)
            if proposed.better_than(segments):
                break
            movers = movers[:len(movers) // 2]
        else:
            return segments
        segments = proposed
    return segments


def _segments(affinity: torch.Tensor, labels: torch.Tensor, count: int) -> _Segments:
    # A count that is known need not be fetched from the device.
    graph = _Graph(affinity, affinity.sum(dim=1).double(), affinity.diagonal().double())
    return _Segments(graph, labels, grouped_sums(affinity, labels, count))


class _Graph(NamedTuple):
    """The (n, n) affinity, its (n,) row sums and its (n,) diagonal."""

    affinity: torch.Tensor
    degree: torch.Tensor
    loops: torch.Tensor


class _Segments:
    """
    A partition: (K, n) `sums` of affinity to every token, and what its K-way cost needs.

    (K,) float64 affinity `inside`, `volume` (of all its tokens), and `share`, their quotient.
    """

    def __init__(self, graph: _Graph, labels: torch.Tensor, sums: torch.Tensor) -> None:
        self.labels = labels
        self.sums = sums
        self._graph = graph
        self._own = sums.gather(0, labels[None])[0].double()
        columns = torch.stack([self._own, graph.degree, torch.ones_like(graph.degree)], dim=1)
        self.inside, volume, self._size = grouped_sums(columns, labels, len(sums)).T
        self.volume = volume.clamp_min(_TINY)
        self.share = self.inside / self.volume

    @property
    def cost(self) -> float:
        """The sum of cut(segment) / volume(segment)."""
        return len(self.share) - float(self.share.sum())

    def moved(self, movers: torch.Tensor, target: torch.Tensor) -> _Segments:
        labels = self.labels.index_copy(0, movers, target[movers])
        return _Segments(self._graph, labels,
                         grouped_sums(self._graph.affinity, labels, len(self.sums)))

    def merged(self, parts: torch.Tensor, count: int) -> _Segments:
        """Return the partition into `count` parts of the (K,) segments."""
        sums = grouped_sums(self.sums, parts, count)
        return _Segments(self._graph, parts[self.labels], sums)

    def between(self) -> torch.Tensor:
        """Return the (K, K) sums of the affinities between segments."""
        between = grouped_sums(self.sums.T, self.labels, len(self.sums))
        return (between + between.T) / 2

    def better_than(self, other: _Segments) -> bool:
        """Return whether no segment is empty and the cost is lower than the other's."""
        return bool((self.share.sum() > other.share.sum()) & (self._size > 0).all())

    def best_moves(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return every token's best other segment, and what the cost gains by the move."""
        labels, degree, loops = self.labels, self._graph.degree, self._graph.loops
        left = self.volume[labels] - degree
        loss = (self.inside[labels] - 2 * self._own + loops) / left - self.share[labels]
        loss[(self._size[labels] == 1) | (left <= 0)] = -torch.inf
        gains = 2 * self.sums
        gains += self.inside.float()[:, None] + loops.float()
        gains /= self.volume.float()[:, None] + degree.float()
        gains -= self.share.float()[:, None]
        gains.scatter_(0, labels[None], -torch.inf)
        gain, target = gains.max(dim=0)
        return target, gain + loss


def grouped_sums(rows: torch.Tensor, labels: torch.Tensor, count: int) -> torch.Tensor:
    """Return the (count, m) sums of the (n, m) rows of each label, the same in every run."""
    if rows.device.type == 'cpu':
        return torch.from_numpy(membership(labels.numpy(), count) @ rows.numpy())
    # There, a sparse product adds in another order each time.
    return (labels == torch.arange(count, device=labels.device)[:, None]).to(rows.dtype) @ rows


def _around_seeds(affinity: torch.Tensor) -> _Segments:
    """Return groups around tokens that are as unlike each other as possible."""
    size = len(affinity)
    count = min(size, max(_LEAST_SEEDS, size // _TOKENS_PER_SEED), _MOST_SEEDS)
    seeds = [affinity.sum(dim=1).argmax(dim=0, keepdim=True)]
    likeness = affinity.index_select(0, seeds[0])[0]
    while len(seeds) < count:
        likeness.index_fill_(0, seeds[-1], torch.inf)
        seeds.append(likeness.argmin(dim=0, keepdim=True))
        torch.maximum(likeness, affinity.index_select(0, seeds[-1])[0], out=likeness)
    places = torch.cat(seeds)
    labels = affinity.index_select(0, places).argmax(dim=0)
    labels[places] = torch.arange(count, device=affinity.device)
    return _segments(affinity, labels, count)
