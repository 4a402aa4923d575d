"""The life of tracks: tentative, confirmed, sleeping, removed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from diffseg_ros.config import TrackingConfig
import numpy as np
import numpy.typing as npt

CAPACITY = 1024
"""Tracks that can be known at a time, the sleeping ones included."""

_EMBEDDING_MOMENTUM = 0.8
_POSITION_MOMENTUM = 0.8


class TrackState(str, Enum):
    """Where a track is in its life."""

    TENTATIVE = 'tentative'
    CONFIRMED = 'confirmed'
    SLEEPING = 'sleeping'


@dataclass(frozen=True)
class TrackSummary:
    """
    What others see of a track.

    Attributes
    ----------
    id
        Persistent id, as in the labels.
    state
        Tentative until it was segmented often enough, sleeping while it is not in view.
    age
        Frames since it was started.
    unseen
        Frames since it was last in view.
    pixels
        Its size in the tracked label image, 0 while it sleeps.

    """

    id: int
    state: TrackState
    age: int
    unseen: int
    pixels: int


@dataclass
class Track:
    """
    One thing that is followed.

    Attributes
    ----------
    slot
        Number that stands for the track in label images of the tracker.
    hits
        Segmented frames in which it was found.
    misses
        Segmented frames in which its place was in view but went to others.
    overruled
        Whether it vanished because its pixels were given to others.
    embedding
        (C,) float32 of length 1, or None.
    centre, extent
        (3,) float64 world metres: mean and standard deviation of its points, or None.

    """

    identity: int
    slot: int
    born: int
    last_seen: int
    hits: int = 0
    misses: int = 0
    pixels: int = 0
    confirmed: bool = False
    overruled: bool = False
    embedding: npt.NDArray[np.float32] | None = None
    centre: npt.NDArray[np.float64] | None = None
    extent: npt.NDArray[np.float64] | None = None

    @property
    def state(self) -> TrackState:
        """Return where in its life the track is."""
        if self.pixels == 0:
            return TrackState.SLEEPING
        return TrackState.CONFIRMED if self.confirmed else TrackState.TENTATIVE

    def be_at(self, centre: npt.NDArray[np.float64], extent: npt.NDArray[np.float64]) -> None:
        """Mix in where the track is now."""
        if self.centre is None or self.extent is None:
            self.centre, self.extent = centre, extent
            return
        keep = _POSITION_MOMENTUM
        self.centre = keep * self.centre + (1 - keep) * centre
        self.extent = keep * self.extent + (1 - keep) * extent


def look_like(tracks: Sequence[Track], looks: npt.NDArray[np.float32]) -> None:
    """Mix in how (N,) tracks look now: (N, C) of length 1."""
    before = [look if track.embedding is None or track.embedding.shape != look.shape
              else track.embedding for track, look in zip(tracks, looks, strict=True)]
    if not before:
        return
    mixed = _EMBEDDING_MOMENTUM * np.stack(before) + (1 - _EMBEDDING_MOMENTUM) * looks
    mixed /= np.maximum(np.linalg.norm(mixed, axis=1, keepdims=True), np.float32(1e-12))
    for track, embedding in zip(tracks, mixed, strict=True):
        track.embedding = embedding.copy()


class TrackBook:
    """All tracks that are alive. Ids rise and are never reused; slots are."""

    def __init__(self, first_id: int) -> None:
        """Start without tracks; ids rise from `first_id`."""
        self._by_slot: dict[int, Track] = {}
        self._slots: dict[int, int] = {}
        self._free = list(range(CAPACITY - 1, -1, -1))
        self.first_id = self.next_id = first_id

    def __len__(self) -> int:
        """Return how many tracks are alive."""
        return len(self._by_slot)

    def __iter__(self) -> Iterator[Track]:
        """Iterate over the tracks, the oldest first."""
        return iter(list(self._by_slot.values()))

    def at(self, slot: int) -> Track:
        """Return the track that a slot stands for."""
        return self._by_slot[slot]

    def start(self, frame: int) -> Track | None:
        """Start a track, or return None where all slots are taken by tracks in view."""
        if not self._free and not self._evict():
            return None
        track = Track(self.next_id, self._free.pop(), frame, frame)
        self._by_slot[track.slot] = track
        self._slots[track.identity] = track.slot
        self.next_id += 1
        return track

    def remove(self, track: Track) -> None:
        """End a track; its id is gone for ever."""
        del self._by_slot[track.slot]
        del self._slots[track.identity]
        self._free.append(track.slot)

    def clear(self) -> None:
        """End all tracks."""
        for track in self:
            self.remove(track)

    def owners(self) -> dict[int, int]:
        """Return the id that each slot in use stands for."""
        return {slot: track.identity for slot, track in self._by_slot.items()}

    def identities(self) -> npt.NDArray[np.int32]:
        """Return the (CAPACITY,) int32 id of each slot, -1 where it is free."""
        table = np.full(CAPACITY, -1, np.int32)
        for slot, track in self._by_slot.items():
            table[slot] = track.identity
        return table

    def slots_of(self, ids: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Return the slot of each of (N,) ids, -1 where the track is no more."""
        known = np.array(sorted(self._slots), np.int32)
        if not len(known):
            return np.full(ids.shape, -1, np.int32)
        slots = np.array([self._slots[int(identity)] for identity in known], np.int32)
        place = np.searchsorted(known, ids).clip(0, len(known) - 1)
        return np.where(known[place] == ids, slots[place], -1).astype(np.int32)

    def count_pixels(self, pixels: npt.NDArray[np.integer], expected: npt.NDArray[np.bool_],
                     frame: int) -> None:
        """Note the (CAPACITY,) pixels of every slot in a frame, and who was expected in it."""
        for track in self._by_slot.values():
            track.pixels = int(pixels[track.slot])
            if track.pixels:
                track.last_seen = frame
                track.overruled = False
                track.misses = 0
            elif expected[track.slot]:
                track.overruled = True

    def forget_places(self) -> None:
        """Forget where the tracks are: the world has another origin now."""
        for track in self._by_slot.values():
            track.centre = track.extent = None

    def age(self) -> None:
        """Count a segmented frame in which overruled tracks were not found."""
        for track in self._by_slot.values():
            track.misses += track.overruled

    def let_go(self, config: TrackingConfig) -> None:
        """Remove overruled tracks that stayed away, and the longest asleep beyond the bound."""
        asleep = []
        for track in self:
            if track.state is not TrackState.SLEEPING:
                continue
            if track.misses > (config.max_misses if track.confirmed else 0):
                self.remove(track)
            else:
                asleep.append(track)
        asleep.sort(key=lambda track: (track.confirmed, track.last_seen))
        for track in asleep[:max(0, len(asleep) - config.max_sleeping)]:
            self.remove(track)

    def summaries(self, frame: int) -> tuple[TrackSummary, ...]:
        """Return what others see of the tracks, by id."""
        return tuple(TrackSummary(track.identity, track.state, frame - track.born,
                                  frame - track.last_seen, track.pixels)
                     for track in sorted(self._by_slot.values(), key=lambda one: one.identity))

    def _evict(self) -> bool:
        asleep = [track for track in self if track.state is TrackState.SLEEPING]
        if asleep:
            self.remove(min(asleep, key=lambda track: (track.confirmed, track.last_seen)))
        return bool(asleep)
