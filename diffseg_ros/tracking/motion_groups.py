"""Evidence, over several frames, that tracks beside each other move as one thing."""

from __future__ import annotations

import cv2
from diffseg_ros.tracking.object_motion import Mask, OwnMotion
from diffseg_ros.tracking.track import CAPACITY
import numpy as np
import numpy.typing as npt
from scipy.sparse.csgraph import connected_components

_MEMORY = 12
_LEAST_FRAMES = 4
_LEAST_CELLS = 8
_MOVING_SHARE, _STILL_SHARE = 0.3, 0.15
_UNDECIDED_WEIGHT = 0.5
_EXPLAINED = 0.4
_ELSEWHERE = 0.05
_LAYER_COSINE = 0.9
_ALIKE_SHARE = 0.2
_ALIKE_STEP = 0.0005
_BORDER_SHARE = 0.5
_TOGETHER_FRAMES = 5

Pairs = list[tuple[int, int]]


class MotionWatch:
    """
    How the tracks in view move by themselves, and which of them move as one.

    A track moves if, over the last frames, enough of its pixels did, and if that explains how
    its brightness changed: waves, flicker and shadows do not move. Two tracks are one thing
    if both move, by the same mean step, and lie beside each other along a border that is long
    for their size, for several frames more than not.
    """

    def __init__(self) -> None:
        """Start without evidence."""
        self._births: npt.NDArray[np.int32] = np.full(CAPACITY, -1, np.int32)
        self._frames, self._stepped = np.zeros((2, CAPACITY), np.int32)
        # Of each slot: share of its pixels that move, stand still, are undecided; the mean step;
        # the mean difference in brightness left by image motion and by the camera's motion.
        self._shares = np.zeros((CAPACITY, 3))
        self._steps, self._errors = np.zeros((2, CAPACITY, 2))
        self._votes: dict[tuple[int, int], int] = {}

    def clear(self) -> None:
        """Forget all evidence."""
        self._births[:] = -1
        self._votes.clear()

    @property
    def moving(self) -> Mask:
        """Return which of the (CAPACITY,) slots move."""
        explains = self._errors[:, 0] <= (1 - _EXPLAINED) * self._errors[:, 1]
        moving: Mask = ((self._frames >= _LEAST_FRAMES) & explains
                        & (self._moving_share() >= _MOVING_SHARE))
        return moving

    @property
    def still(self) -> Mask:
        """Return which of the (CAPACITY,) slots stand still; some do neither."""
        most = self._shares[:, 1] >= self._shares.sum(axis=1) / 2
        still: Mask = ((self._frames >= _LEAST_FRAMES) & most
                       & (self._moving_share() < _STILL_SHARE))
        return still

    def pass_over(self) -> None:
        """Take in a frame that says nothing of motion: what is known gets old."""
        np.maximum(self._frames - 1, 0, out=self._frames)

    def update(self, own: OwnMotion, slots: npt.NDArray[np.uint16],
               births: npt.NDArray[np.int32]) -> Pairs:
        """
        Take in a frame.

        Parameters
        ----------
        own
            What moves in it.
        slots
            (H, W) slot of each pixel's track.
        births
            (CAPACITY,) number of the track that each slot stands for.

        Returns
        -------
        list of tuple
            Pairs of slots that move as one; a pair is given once.

        """
        self.forget(births)
        small = cv2.resize(slots, own.moving.shape[::-1], interpolation=cv2.INTER_NEAREST)
        sizes = np.bincount(small.ravel(), minlength=CAPACITY)
        self._measure(own, small, sizes)
        pairs = _beside(small, sizes)
        pairs = pairs[self.moving[pairs].all(axis=1)]
        if self._scattered(own, small) or (not own.measured and self._layered(pairs, sizes)):
            return []
        agree = set(map(tuple, pairs[self._alike(pairs)].tolist()))
        ripe = []
        for pair in agree | {pair for pair in self._votes if sizes[list(pair)].all()}:
            votes = self._votes.pop(pair, 0) + (1 if pair in agree else -1)
            if votes >= _TOGETHER_FRAMES:
                ripe.append(pair)
            elif votes > 0:
                self._votes[pair] = votes
        return sorted(ripe)

    def forget(self, births: npt.NDArray[np.int32]) -> None:
        """Drop what is known of slots that stand for another track now."""
        changed = births != self._births
        self._births = births.copy()
        self._frames[changed] = self._stepped[changed] = 0
        self._shares[changed] = self._steps[changed] = self._errors[changed] = 0
        self._votes = {pair: votes for pair, votes in self._votes.items()
                       if not changed[list(pair)].any()}

    def _measure(self, own: OwnMotion, slots: npt.NDArray[np.uint16],
                 sizes: npt.NDArray[np.integer]) -> None:
        """Mix in how much of each track moves, and how far."""
        flat, where = slots.ravel(), own.moving
        movers = slots[where]
        moving = np.bincount(movers, minlength=CAPACITY)
        still = np.bincount(slots[own.still], minlength=CAPACITY)
        seen = sizes >= _LEAST_CELLS
        shares = np.stack([moving, still, sizes - moving - still], axis=1)[seen]
        shares = shares / sizes[seen, None]
        self._frames[seen] = np.minimum(self._frames[seen] + 1, _MEMORY)
        # A mean over all frames at first, over about the last ones later.
        new = 1 / self._frames[seen, None]
        self._shares[seen] += new * (shares - self._shares[seen])
        errors = np.stack([np.bincount(flat, part.ravel(), CAPACITY) for part in own.errors],
                          axis=1)[seen] / sizes[seen, None]
        self._errors[seen] += new * (errors - self._errors[seen])
        goes = seen & (moving > 0)
        self._stepped[goes] += 1
        new = 1 / np.minimum(self._stepped[goes], _MEMORY)[:, None]
        mean = np.stack([np.bincount(movers, own.steps[where, axis], CAPACITY)[goes]
                         for axis in (0, 1)], axis=1) / moving[goes, None]
        self._steps[goes] += new * (mean - self._steps[goes])

    def _moving_share(self) -> npt.NDArray[np.float64]:
        """Return the share of each slot that moves; what is undecided counts half."""
        weight = self._shares @ np.array([1, 1, _UNDECIDED_WEIGHT])
        share: npt.NDArray[np.float64] = self._shares[:, 0] / np.maximum(weight, 1e-9)
        return share

    def _scattered(self, own: OwnMotion, slots: npt.NDArray[np.uint16]) -> bool:
        """Return whether too much moves on tracks that do not: then it is the camera's motion."""
        rest = ~self.moving.take(slots)
        moving, still = (np.count_nonzero(part & rest) for part in (own.moving, own.still))
        return moving > _ELSEWHERE * (moving + still)

    def _layered(self, pairs: npt.NDArray[np.int64], sizes: npt.NDArray[np.integer]) -> bool:
        """Return whether things apart from each other move one way, as what is near seems to."""
        slots = np.flatnonzero(self.moving & (sizes >= _LEAST_CELLS))
        if len(slots) < 2:
            return False
        beside = np.zeros((CAPACITY, CAPACITY), bool)
        beside[pairs[:, 0], pairs[:, 1]] = True
        count, group = connected_components(beside[np.ix_(slots, slots)], directed=False)
        weight = np.bincount(group, sizes[slots])
        steps = np.stack([np.bincount(group, sizes[slots] * self._steps[slots, axis])
                          for axis in (0, 1)], axis=1) / weight[:, None]
        speeds = np.hypot(*steps.T)
        alike = steps @ steps.T > _LAYER_COSINE * np.outer(speeds, speeds)
        return bool(alike[~np.eye(count, dtype=bool)].any())

    def _alike(self, pairs: npt.NDArray[np.int64]) -> Mask:
        """Return which of (N, 2) pairs of slots move by the same step."""
        steps = self._steps[pairs]
        apart = np.hypot(*(steps[:, 0] - steps[:, 1]).T)
        slower = np.hypot(steps[..., 0], steps[..., 1]).min(axis=1)
        alike: Mask = apart <= _ALIKE_STEP + _ALIKE_SHARE * slower
        return alike


def _beside(slots: npt.NDArray[np.uint16],
            sizes: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Return (N, 2) slots, the lower first, with a border that is long for the smaller."""
    keys = []
    for one, other in ((slots[:, :-1], slots[:, 1:]), (slots[:-1], slots[1:])):
        edge = one != other
        low, high = np.minimum(one[edge], other[edge]), np.maximum(one[edge], other[edge])
        keys.append(low.astype(np.int64) * CAPACITY + high)
    keys, lengths = np.unique(np.concatenate(keys), return_counts=True)
    pairs = np.stack(np.divmod(keys, CAPACITY), axis=1)
    smaller = sizes[pairs].min(axis=1)
    return pairs[(lengths >= _BORDER_SHARE * np.sqrt(smaller)) & (smaller >= _LEAST_CELLS)]
