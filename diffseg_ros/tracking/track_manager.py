"""Tracks and their life: start, confirmation, loss, shared ids, removal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from diffseg_ros.config import TrackingConfig
from diffseg_ros.tracking.label_map import CAPACITY
from diffseg_ros.tracking.world_map import Position
from diffseg_ros.types import Mask, SegmentKind, Track, TrackState
import numpy as np
import numpy.typing as npt

LONG_LOSS = 10
"""Frames out of view after which a track that is seen again has to settle."""

_MOMENTUM = 0.8
_SETTLED_FRAMES = 20
_IN_VIEW_TRAVEL = 0.3

Table = npt.NDArray[np.int32]
"""(CAPACITY,) int32: one value per slot."""


@dataclass
class TrackRecord:
    """
    What is known of a track.

    Tracks found to be one object share an `id`; `number`, the tracks started before, is its own.
    `slot` stands for it in label images. `reactivated_at` is the frame where it was seen again
    after a long loss. `hits` are keyframes in which it was found, `misses` those in which its
    place was in view but went to others. It is `displaced` if its pixels all did, at
    `displaced_at`, the total travel of the image by then. `embedding` is (C,) float32 of length 1,
    `position` the (2, 3) float64 mean and standard deviation of its points in world metres. A
    `dynamic` track was seen to move by itself and may be elsewhere now. It is `moving`, or last
    moved `since_moved` seconds ago, None for never. `velocity` is (3,) metres per second against
    the world, along the axes of the camera, None if unknown. `kinds` is the share of each
    SegmentKind in what was seen of it, `kind` the one that most of it is. A `loaded` track comes
    from a file and was not seen since.
    """

    id: int
    slot: int
    number: int
    started: int
    last_seen: int
    hits: int = 0
    misses: int = 0
    pixels: int = 0
    confirmed: bool = False
    displaced: bool = False
    displaced_at: float = 0.0
    embedding: npt.NDArray[np.float32] | None = None
    position: Position | None = None
    reactivated_at: int | None = None
    dynamic: bool = False
    loaded: bool = False
    moving: bool = False
    since_moved: float | None = None
    velocity: npt.NDArray[np.float64] | None = None
    kinds: npt.NDArray[np.float64] | None = None
    kind: SegmentKind = SegmentKind.UNKNOWN

    @property
    def state(self) -> TrackState:
        if self.pixels == 0:
            return TrackState.LOST
        return TrackState.CONFIRMED if self.confirmed else TrackState.TENTATIVE

    @property
    def settled(self) -> bool:
        """Whether it has been in view for a while since its last long loss."""
        return (self.reactivated_at is None
                or self.last_seen - self.reactivated_at >= _SETTLED_FRAMES)

    def update_position(self, position: Position) -> None:
        """Average in where the track is now."""
        if self.position is not None:
            position = _MOMENTUM * self.position + (1 - _MOMENTUM) * position
        self.position = position

    def update_kinds(self, kinds: npt.NDArray[np.float64]) -> None:
        """Average in the shares of what the track is by its shape now."""
        if self.kinds is not None:
            kinds = _MOMENTUM * self.kinds + (1 - _MOMENTUM) * kinds
        self.kinds, self.kind = kinds, _main_kind(kinds)


def _main_kind(kinds: npt.NDArray[np.float64]) -> SegmentKind:
    """Return the kind with more than half of the shares, UNKNOWN where there is none."""
    most = int(kinds.argmax())
    return tuple(SegmentKind)[most] if 2 * kinds[most] > kinds.sum() else SegmentKind.UNKNOWN


def update_appearance(tracks: Sequence[TrackRecord], embeddings: npt.NDArray[np.float32]) -> None:
    """Average in how (N,) tracks look now: (N, C) of length 1."""
    if not tracks:
        return
    before = [new if track.embedding is None or track.embedding.shape != new.shape
              else track.embedding for track, new in zip(tracks, embeddings, strict=True)]
    mean = _MOMENTUM * np.stack(before) + (1 - _MOMENTUM) * embeddings
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), np.float32(1e-12))
    for track, embedding in zip(tracks, mean, strict=True):
        track.embedding = embedding.copy()


def slots_of(ids: npt.NDArray[np.int32], table: Table,
             pixels: npt.NDArray[np.integer]) -> npt.NDArray[np.int32]:
    """
    Return the slot of each of (N,) ids, -1 where there is none; of several the largest.

    `table` holds the (CAPACITY,) ids of the slots, -1 where one is free, `pixels` their sizes.
    """
    taken = np.flatnonzero(table >= 0)
    if not len(taken):
        return np.full(ids.shape, -1, np.int32)
    ranked = taken[np.lexsort((taken, -pixels[taken], table[taken]))]
    known, first = np.unique(table[ranked], return_index=True)
    place = np.searchsorted(known, ids).clip(0, len(known) - 1)
    return np.where(known[place] == ids, ranked[first][place], -1).astype(np.int32)


class TrackManager:
    """
    All tracks that are alive. Ids rise and are never reused; slots are.

    Tracks found to be one object share an id; each goes on being followed by itself. `next_id` is
    the id of the next track, `started` counts the tracks so far, `frame` the frames, `found_again`
    the loaded tracks that were seen since.
    """

    def __init__(self, next_id: int = 1) -> None:
        self.next_id = next_id
        self.started = self.frame = self.found_again = 0
        self._by_slot: dict[int, TrackRecord] = {}
        self._free = list(range(CAPACITY - 1, -1, -1))
        self._travel = 0.0

    def __len__(self) -> int:
        return len(self._by_slot)

    def __iter__(self) -> Iterator[TrackRecord]:
        """Iterate over the tracks, the oldest first."""
        return iter(list(self._by_slot.values()))

    def __getitem__(self, slot: int) -> TrackRecord:
        return self._by_slot[slot]

    def start(self, part_of: TrackRecord | None = None) -> TrackRecord | None:
        """Start a track with a new or a shared id; None where tracks in view take all slots."""
        if not self._free:
            lost = self._lost()
            if not lost:
                return None
            self.remove(lost[0])
        track_id = self.next_id if part_of is None else part_of.id
        track = TrackRecord(track_id, self._free.pop(), self.started, self.frame, self.frame)
        self.started += 1
        self._by_slot[track.slot] = track
        self.next_id = max(self.next_id, track_id + 1)
        return track

    def remove(self, track: TrackRecord) -> None:
        """End a track; with the last one that has its id, the id is gone for ever."""
        del self._by_slot[track.slot]
        self._free.append(track.slot)

    def join_ids(self, stays: TrackRecord, goes: TrackRecord) -> None:
        """Give one track's id to another and to all that shared the other's."""
        old = goes.id
        for track in self._by_slot.values():
            if track.id == old:
                track.id = stays.id

    def split_id(self, track: TrackRecord) -> None:
        """Give a track that shared its id a new one."""
        track.id = self.next_id
        self.next_id += 1

    def shares_id(self, track: TrackRecord) -> bool:
        return sum(other.id == track.id for other in self._by_slot.values()) > 1

    def by_id(self) -> dict[int, list[TrackRecord]]:
        groups: dict[int, list[TrackRecord]] = {}
        for track in self._by_slot.values():
            groups.setdefault(track.id, []).append(track)
        return groups

    def ids(self) -> Table:
        """Return the id of each slot, -1 where it is free."""
        return self._table('id')

    def track_numbers(self) -> Table:
        """Return the number of each slot's track, -1 where it is free."""
        return self._table('number')

    def have_moved(self) -> Mask:
        """Return which of the (CAPACITY,) slots stand for tracks that moved by themselves."""
        moved = np.zeros(CAPACITY, bool)
        for slot, track in self._by_slot.items():
            moved[slot] = track.since_moved is not None
        return moved

    def _table(self, attribute: str) -> Table:
        table = np.full(CAPACITY, -1, np.int32)
        for slot, track in self._by_slot.items():
            table[slot] = getattr(track, attribute)
        return table

    def slots_of(self, ids: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Return the slot of each of (N,) ids, -1 where there is none; of several the largest."""
        return slots_of(ids, self.ids(), self._table('pixels'))

    def advance(self, shift: float) -> None:
        """Go on to the next frame, in which the image moved by a mean `shift`, in its widths."""
        self.frame += 1
        self._travel += shift

    def observe(self, pixels: npt.NDArray[np.integer], expected: Mask) -> None:
        """Note the (CAPACITY,) pixels of every slot in the frame, and who was expected in it."""
        for track in self._by_slot.values():
            track.pixels = int(pixels[track.slot])
            if track.pixels:
                self.found_again += track.loaded
                track.loaded = False
                if self.frame - track.last_seen > LONG_LOSS:
                    track.reactivated_at = self.frame
                track.last_seen = self.frame
                track.displaced = False
                track.misses = 0
            elif expected[track.slot]:
                track.displaced = True
                track.displaced_at = self._travel

    def count_misses(self) -> None:
        """Count a keyframe without the displaced tracks, while their place is still in view."""
        for track in self._by_slot.values():
            track.misses += (track.displaced
                             and self._travel - track.displaced_at <= _IN_VIEW_TRAVEL)

    def forget_positions(self) -> None:
        """Forget where the tracks are: the world has another origin now."""
        for track in self._by_slot.values():
            track.position = None

    def prune(self, config: TrackingConfig) -> None:
        """Remove displaced tracks that were missed too often, and the longest lost."""
        for track in self:
            allowed = config.max_misses if track.confirmed else 0
            if track.state is TrackState.LOST and track.misses > allowed:
                self.remove(track)
        lost = self._lost()
        for track in lost[:max(0, len(lost) - config.max_lost)]:
            self.remove(track)

    def _lost(self) -> list[TrackRecord]:
        """Return the lost tracks, those first that are missed least."""
        return sorted((track for track in self if track.state is TrackState.LOST),
                      key=lambda track: (track.confirmed, track.last_seen))

    def summaries(self) -> tuple[Track, ...]:
        """Return the public view of the tracks, by id; those that share one are one."""
        order = TrackState.CONFIRMED, TrackState.TENTATIVE, TrackState.LOST
        return tuple(
            Track(track_id, min((part.state for part in parts), key=order.index),
                  self.frame - min(part.started for part in parts),
                  self.frame - max(part.last_seen for part in parts),
                  sum(part.pixels for part in parts), any(part.moving for part in parts),
                  min((part.since_moved for part in parts if part.since_moved is not None),
                      default=None), _velocity(parts), _kind(parts))
            for track_id, parts in sorted(self.by_id().items()))


def _kind(parts: list[TrackRecord]) -> SegmentKind:
    """Return what the parts are by their pixels, UNKNOWN where that is not clear."""
    known = [part for part in parts if part.kinds is not None]
    if len(known) < 2:  # nearly always: this is asked of every track in every frame
        return known[0].kind if known else SegmentKind.UNKNOWN
    return _main_kind(np.sum([max(part.pixels, 1) * part.kinds for part in known
                              if part.kinds is not None], axis=0))


def _velocity(parts: list[TrackRecord]) -> tuple[float, float, float] | None:
    """Return the mean velocity of the parts that move, by their pixels."""
    known = [part for part in parts if part.velocity is not None and part.pixels]
    if not known:
        return None
    x, y, z = np.average([part.velocity for part in known if part.velocity is not None], axis=0,
                         weights=[part.pixels for part in known]).tolist()
    return x, y, z
