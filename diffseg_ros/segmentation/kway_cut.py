"""
K-way normalised cut: groups of tokens, a cut of the groups, discrete moves of tokens.

The cost of a partition is the sum over its segments of cut(segment) / volume(segment). Falcon
(ICLR 2026) showed that refining discrete K-way labels replaces most of DiffCut's recursion. Here
tokens gather around seeds that are far from each other (Gonzalez, "Clustering to minimize the
maximum intercluster distance", 1985); the groups, of which there are many fewer than tokens, are
cut like a small graph, which finds K; and moves of single tokens lower the K-way cost (the
weighted kernel k-means of Dhillon, Guan and Kulis, "Weighted Graph Cuts without Eigenvectors: A
Multilevel Approach", PAMI 2007, with Hartigan's exact gains). Cost and memory are quadratic in
the tokens, and hardly depend on the number of segments.
"""

from __future__ import annotations

from diffseg_ros.segmentation.affinity_check import check_affinity, membership, renumber
from diffseg_ros.segmentation.normalized_cut import normalized_cut
import numpy as np
import numpy.typing as npt

_TOKENS_PER_SEED = 12
_LEAST_SEEDS, _MOST_SEEDS = 32, 256
_GROUP_SWEEPS, _LAST_SWEEPS = 2, 1
_HALVINGS = 3
_LEAST_GAIN = 1e-4
_LEAST_KEPT = 0.8
_TINY = 1e-30

FloatArray = npt.NDArray[np.float32]
FloatVector = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int32]


class KwayState:
    """Where the next frame's search begins: the small groups of the last one's tokens."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self.groups: Labels | None = None
        self.cost = 0.0


def kway_cut(affinity: FloatArray, tau: float, max_segments: int | None = None,
             state: KwayState | None = None) -> Labels:
    """
    Partition a graph into as many segments as `tau` asks for.

    Parameters
    ----------
    affinity
        (n, n) float32, symmetric, not negative.
    tau
        A part is split while its best two-way cut costs less; costs lie in [0, 2].
    max_segments
        No further splits beyond this number of segments.
    state
        That of the frame before, which is brought up to date; one of another size is ignored.
        The result depends on it.

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
    affinity = affinity.astype(np.float32, order='C', copy=False)
    groups = None if state is None else state.groups
    if state is None or groups is None or not _fits(affinity, groups, state.cost):
        groups = _around_seeds(affinity)
    groups = refine(affinity, groups, _GROUP_SWEEPS)
    if state is not None:
        state.groups, state.cost = groups, kway_cost(affinity, groups)
    parts = normalized_cut(_between(affinity, groups), tau, max_segments)
    return renumber(refine(affinity, parts[groups], _LAST_SWEEPS))


def _fits(affinity: FloatArray, groups: Labels, cost: float) -> bool:
    """Return whether the last frame's groups hold together in this one about as well."""
    if len(groups) != len(affinity):
        return False
    kept, count = kway_cost(affinity, groups), int(groups.max()) + 1
    return count - kept > _LEAST_KEPT * (count - cost)


def kway_cost(affinity: FloatArray, labels: Labels) -> float:
    """Return the sum of cut(segment) / volume(segment) of (n,) labels from 0 to K - 1."""
    inside = np.bincount(labels, (_sums(affinity, labels)[labels, np.arange(len(labels))]))
    volume = np.bincount(labels, affinity.sum(axis=1, dtype=np.float64))
    return float((1 - inside / np.maximum(volume, _TINY)).sum())


def refine(affinity: FloatArray, labels: Labels, sweeps: int = 8) -> Labels:
    """
    Move tokens of (n,) labels from 0 to K - 1 between segments to lower the K-way cost.

    Every segment keeps a token, and no sweep raises the cost. It ends after `sweeps` over all
    tokens, or when no move gains anything worth the time.
    """
    degree = affinity.sum(axis=1, dtype=np.float64)
    own = affinity.diagonal().astype(np.float64)
    tokens = np.arange(len(labels))
    sums = _sums(affinity, labels)
    score, target, gain = _moves(sums, labels, degree, own)
    for _ in range(sweeps):
        movers = np.flatnonzero(gain > _LEAST_GAIN)
        movers = movers[np.argsort(-gain[movers], kind='stable')]
        for _ in range(_HALVINGS + 1):
            if not len(movers):
                return labels
            moved = labels.copy()
            moved[movers] = target[movers]
            if np.bincount(moved, minlength=len(sums)).all():
                sums = _sums(affinity, moved)
                inside = np.bincount(moved, sums[moved, tokens])
                volume = np.bincount(moved, degree)
                if (inside / np.maximum(volume, _TINY)).sum() > score:
                    break
            movers = movers[:len(movers) // 2]
        else:
            return labels
        labels = moved
        score, target, gain = _moves(sums, labels, degree, own)
    return labels


def _moves(sums: FloatArray, labels: Labels, degree: FloatVector,
           own: FloatVector) -> tuple[float, Labels, FloatVector]:
    """Return the association of the labels, and every token's best move with its gain."""
    tokens = np.arange(len(labels))
    volume = np.maximum(np.bincount(labels, degree), _TINY)
    inside = np.bincount(labels, sums[labels, tokens])
    share = inside / volume
    left = volume[labels] - degree
    sole = np.bincount(labels)[labels] == 1
    with np.errstate(divide='ignore', invalid='ignore'):
        loss = (inside[labels] - 2 * sums[labels, tokens] + own) / left - share[labels]
    loss[sole | (left <= 0)] = -np.inf
    gains = 2 * sums
    gains += np.add.outer(inside, own, dtype=np.float32)
    gains /= np.add.outer(volume, degree, dtype=np.float32)
    gains -= share.astype(np.float32)[:, None]
    gains[labels, tokens] = -np.inf
    target = gains.argmax(axis=0).astype(np.int32)
    return float(share.sum()), target, gains[target, tokens] + loss


def _sums(affinity: FloatArray, labels: Labels) -> FloatArray:
    """Return the (K, n) affinity of every token to every segment."""
    return membership(labels, int(labels.max()) + 1) @ affinity


def _around_seeds(affinity: FloatArray) -> Labels:
    """Return groups around tokens that are as unlike each other as possible."""
    count = min(len(affinity), max(_LEAST_SEEDS, len(affinity) // _TOKENS_PER_SEED), _MOST_SEEDS)
    seeds = [int(affinity.sum(axis=1).argmax())]
    nearest = affinity[seeds[0]].copy()
    for _ in range(count - 1):
        nearest[seeds[-1]] = np.inf
        seeds.append(int(nearest.argmin()))
        np.maximum(nearest, affinity[seeds[-1]], out=nearest)
    labels = affinity[seeds].argmax(axis=0).astype(np.int32)
    labels[seeds] = np.arange(count)
    return labels


def _between(affinity: FloatArray, labels: Labels) -> FloatArray:
    """Return the (K, K) sums of the affinities between segments."""
    sums = _sums(affinity, labels)
    between = np.asarray(membership(labels, len(sums)) @ sums.T)
    return (between + between.T) / 2
