"""Evidence, over several keyframes, that a track is two objects, or that two tracks are one."""

from __future__ import annotations

from dataclasses import dataclass

from diffseg_ros.config import TrackingConfig
from diffseg_ros.tracking.association import count_overlap, Counts, Overlap
from diffseg_ros.tracking.label_map import CAPACITY, LabelMap
from diffseg_ros.tracking.object_motion import MotionGrouper, ObjectMotion
from diffseg_ros.tracking.track_manager import Table, TrackManager, TrackRecord
from diffseg_ros.tracking.world_map import VoxelLabelMap
from diffseg_ros.types import Mask
import numpy as np
import numpy.typing as npt

_SAME_PART_IOU = 0.5
_TOGETHER_SHARE = 0.6
_LEAST_SHARE = 0.1
_MOST_CANDIDATES = 255

CandidateImage = npt.NDArray[np.uint8]


@dataclass
class _Candidate:
    slot: int
    votes: float


class SplitDetector:
    """
    Parts that segments cut from tracks, until enough keyframes agree on them.

    A candidate is carried along with the labels in an image of its own. A keyframe that cuts its
    track along the same line votes for it, one that does not against it.
    """

    def __init__(self) -> None:
        self._candidates: dict[int, _Candidate] = {}

    def update(self, candidates: CandidateImage, overlap: Overlap,
               segments: npt.NDArray[np.integer], *, least: float, after: float,
               weight: float = 1.0, objects: Mask | None = None
               ) -> tuple[CandidateImage, list[Mask]]:
        """
        Return the candidates after a keyframe, and (H, W) masks of parts that are now tracks.

        The (H, W) `candidates` are 0 for none; every pixel of `overlap` is known. A part has at
        least `least` pixels and a tenth of its track, or half of `least` if it lies on one of the
        (S,) segments that are `objects`; `after` votes split it off, and this keyframe's count
        `weight`.
        """
        table = overlap.table[:-1]
        if objects is None:
            objects = np.zeros(table.shape[1], bool)
        share = _LEAST_SHARE * table.sum(axis=1, keepdims=True)
        large = table >= np.where(objects, least / 2, np.maximum(least, share))
        cut = large & (large.sum(axis=1, keepdims=True) > 1)
        candidates = self._on_their_tracks(candidates, overlap)
        numbers = self._vote(candidates, overlap, segments, cut, weight)
        self._open(table, cut, numbers, overlap.slots, objects, weight)
        again = numbers.astype(np.uint8).take(overlap.cells)
        renewed = np.zeros(_MOST_CANDIDATES + 1, bool)
        renewed[numbers[numbers > 0]] = True
        candidates = np.where((again > 0) | renewed.take(candidates), again, candidates)
        parts = []
        for number, candidate in list(self._candidates.items()):
            if candidate.votes >= after:
                del self._candidates[number]
                parts.append(candidates == number)
                candidates[parts[-1]] = 0
        return candidates, [part for part in parts if part.any()]

    def _on_their_tracks(self, candidates: CandidateImage, overlap: Overlap) -> CandidateImage:
        """Return the candidates without what no longer lies on the track they were cut from."""
        row_of = np.full(CAPACITY, -1)
        row_of[overlap.slots] = np.arange(len(overlap.slots))
        owner = np.full(_MOST_CANDIDATES + 1, -2)
        for number, candidate in self._candidates.items():
            owner[number] = row_of[candidate.slot]
        return candidates * (owner.take(candidates) == overlap.rows)

    def _vote(self, candidates: CandidateImage, overlap: Overlap,
              segments: npt.NDArray[np.integer], cut: Mask, weight: float) -> Counts:
        """Return the (T, S) numbers of the candidates that are cut again, after counting votes."""
        table = overlap.table[:-1]
        numbers = np.zeros(table.shape, np.int64)
        marked = candidates > 0
        shared = count_overlap(candidates[marked], None, segments[marked], table.shape[1])
        pixels = dict(zip(shared.slots.tolist(), shared.table, strict=False))
        row_of = {slot: row for row, slot in enumerate(overlap.slots.tolist())}
        for number, candidate in list(self._candidates.items()):
            row = row_of.get(candidate.slot)
            if row is None or number not in pixels:
                del self._candidates[number]
                continue
            common = pixels[number]
            iou = cut[row] * common / np.maximum(common.sum() + table[row] - common, 1)
            best = int(iou.argmax())
            if iou[best] >= _SAME_PART_IOU:
                candidate.votes += weight
                numbers[row, best] = number
            else:
                candidate.votes -= weight
                if candidate.votes <= 0:
                    del self._candidates[number]
        return numbers

    def _open(self, table: Counts, cut: Mask, numbers: Counts, slots: Counts, objects: Mask,
              weight: float) -> None:
        """
        Open candidates for parts of cut tracks; the largest part stays.

        Of a track that has candidates only objects are further ones.
        """
        watched = np.isin(slots, [candidate.slot for candidate in self._candidates.values()])
        new = cut & (numbers == 0) & (objects | ~watched[:, None])
        new[np.arange(len(table)), table.argmax(axis=1)] = False
        free = (number for number in range(1, _MOST_CANDIDATES + 1)
                if number not in self._candidates)
        for (row, part), number in zip(np.argwhere(new).tolist(), list(free), strict=False):
            self._candidates[number] = _Candidate(int(slots[row]), weight)
            numbers[row, part] = number


class MergeDetector:
    """Pairs of tracks that lie in one segment, until enough keyframes agree that they are one."""

    def __init__(self) -> None:
        self._votes: dict[tuple[int, int], float] = {}
        self._numbers: Table = np.full(CAPACITY, -1, np.int32)

    def update(self, overlap: Overlap, numbers: Table, *, after: float,
               weight: float = 1.0) -> list[tuple[int, int]]:
        """
        Return the pairs of slots that `after` votes make one; every pixel of `overlap` is known.

        `numbers` are those of the slots' tracks: a new track inherits no votes.
        """
        replaced, self._numbers = numbers != self._numbers, numbers
        table = overlap.table[:-1]
        inside = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
        home = np.where(inside.max(axis=1) >= _TOGETHER_SHARE, inside.argmax(axis=1), -1)
        homes = dict(zip(overlap.slots.tolist(), home.tolist(), strict=True))
        for pair in list(self._votes):
            first, second = (homes.get(slot, -1) for slot in pair)
            if first >= 0 and second >= 0 and first != second:
                self._votes[pair] -= weight
            if self._votes[pair] <= 0 or replaced[list(pair)].any():
                del self._votes[pair]
        together = (home[:, None] == home) & (home >= 0)
        for rows in np.argwhere(np.triu(together, 1)):
            one, other = overlap.slots[rows].tolist()
            self._votes[one, other] = self._votes.get((one, other), 0.0) + weight
        agreed = [pair for pair, votes in self._votes.items() if votes >= after]
        for pair in agreed:
            del self._votes[pair]
        return agreed


class TrackMerger:
    """
    Merges two tracks that segments see as one, and gives one id to those that move as one.

    Parts of a moving object, such as legs and trunk, stay tracks, so that no segment takes all.
    """

    def __init__(self, config: TrackingConfig, tracks: TrackManager,
                 voxels: VoxelLabelMap) -> None:
        self.config = config
        self._tracks = tracks
        self._voxels = voxels
        self._detector = MergeDetector()
        self._grouper = MotionGrouper()

    @property
    def moving(self) -> Mask:
        """Which of the (CAPACITY,) slots move apart from the camera in the image."""
        return self._grouper.moving

    def observe(self, motion: ObjectMotion | None, labels: LabelMap) -> None:
        """Take in what moves by itself in a frame, and the labels carried into it."""
        if motion is None:
            self._grouper.skip()
            return
        pairs = self._grouper.update(motion, labels.slots, self._tracks.track_numbers())
        for slot in np.flatnonzero(self._grouper.moving).tolist():
            self._tracks[slot].dynamic = True
        for pair in pairs:
            stays, goes = sorted((self._tracks[slot] for slot in pair),
                                 key=self._seniority)
            if stays.id != goes.id:
                self._voxels.rename(goes.id, stays.id)
                self._tracks.join_ids(stays, goes)
        self._split_what_stopped()

    def merge(self, labels: LabelMap, overlap: Overlap, weight: float) -> None:
        """Merge tracks that enough keyframes have seen as one; the larger goes on."""
        numbers = self._tracks.track_numbers()
        self._grouper.forget_replaced(numbers)
        moving, still = self._grouper.moving, self._grouper.still
        sizes = dict(zip(overlap.slots.tolist(), overlap.table[:-1].sum(axis=1).tolist(),
                         strict=True))
        heir = np.arange(CAPACITY, dtype=np.uint16)
        merged = False
        for pair in self._detector.update(overlap, numbers, after=self.config.merge_after,
                                          weight=weight):
            slots = heir[list(pair)].tolist()
            if slots[0] == slots[1] or (moving[slots].any() and still[slots].any()):
                continue
            if len({self._tracks[slot].since_moved is None for slot in slots}) > 1:
                # What moved by itself is no part of what never did.
                continue
            stays, goes = sorted((self._tracks[slot] for slot in slots), key=lambda track: (
                not track.confirmed, -sizes.get(track.slot, 0), track.id))
            if goes.confirmed and not (goes.settled and stays.settled):
                # What comes back into view is segmented poorly at first; its id would be lost.
                continue
            heir[heir == goes.slot] = stays.slot
            merged = True
            if not self._tracks.shares_id(goes):
                self._voxels.rename(goes.id, stays.id)
            self._tracks.merge(stays, goes)
        if merged:
            labels.slots = heir.take(labels.slots)

    def _split_what_stopped(self) -> None:
        """Give a new id to what stands still of an object that moves on."""
        moving, still = self._grouper.moving, self._grouper.still
        if not moving.any():
            return
        for parts in self._tracks.by_id().values():
            onward = sum(part.pixels for part in parts if moving[part.slot])
            for part in parts if onward else ():
                if still[part.slot] and 0 < part.pixels < onward:
                    self._tracks.split_id(part)

    def _seniority(self, track: TrackRecord) -> tuple[bool, int, int]:
        """Return a key that puts the track first whose id has more pixels in all."""
        pixels = sum(other.pixels for other in self._tracks if other.id == track.id)
        return not track.confirmed, -pixels, track.id
