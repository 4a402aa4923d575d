"""All tracks: how they begin, share ids, fall asleep and end."""

from __future__ import annotations

from collections.abc import Iterator

from diffseg_ros.config import TrackingConfig
from diffseg_ros.tracking.track import CAPACITY, TrackRecord
from diffseg_ros.types import Track, TrackState
import numpy as np
import numpy.typing as npt

_IN_VIEW = 0.3
_LONG = 10


class TrackBook:
    """
    All tracks that are alive. Ids rise and are never reused; slots are.

    Tracks found to be one thing share an id; each goes on being followed by itself.
    """

    def __init__(self, first_id: int) -> None:
        """Start without tracks; ids rise from `first_id`."""
        self._by_slot: dict[int, TrackRecord] = {}
        self._free = list(range(CAPACITY - 1, -1, -1))
        self.first_id = self.next_id = first_id
        self.count = 0
        self._travel = 0.0

    def __len__(self) -> int:
        """Return how many tracks are alive."""
        return len(self._by_slot)

    def __iter__(self) -> Iterator[TrackRecord]:
        """Iterate over the tracks, the oldest first."""
        return iter(list(self._by_slot.values()))

    def at(self, slot: int) -> TrackRecord:
        """Return the track that a slot stands for."""
        return self._by_slot[slot]

    def start(self, frame: int, part_of: TrackRecord | None = None) -> TrackRecord | None:
        """
        Start a track, or return None where all slots are taken by tracks in view.

        It gets a new id, or that of the track it is `part_of`.
        """
        if not self._free and not self._evict():
            return None
        identity = self.next_id if part_of is None else part_of.identity
        track = TrackRecord(identity, self._free.pop(), frame, frame, number=self.count)
        self.count += 1
        self._by_slot[track.slot] = track
        self.next_id = max(self.next_id, identity + 1)
        return track

    def remove(self, track: TrackRecord) -> None:
        """End a track; with the last one that has its id, the id is gone for ever."""
        del self._by_slot[track.slot]
        self._free.append(track.slot)

    def join(self, stays: TrackRecord, goes: TrackRecord) -> None:
        """Give one track's id to another and to all that shared the other's."""
        old = goes.identity
        for track in self._by_slot.values():
            if track.identity == old:
                track.identity = stays.identity

    def leave(self, track: TrackRecord) -> None:
        """Give a track that shared its id a new one."""
        track.identity = self.next_id
        self.next_id += 1

    def by_identity(self) -> dict[int, list[TrackRecord]]:
        """Return the tracks that have each id."""
        things: dict[int, list[TrackRecord]] = {}
        for track in self._by_slot.values():
            things.setdefault(track.identity, []).append(track)
        return things

    def clear(self) -> None:
        """End all tracks."""
        for track in self:
            self.remove(track)

    def births(self) -> npt.NDArray[np.int32]:
        """Return the (CAPACITY,) int32 number of each slot's track, -1 where it is free."""
        table = np.full(CAPACITY, -1, np.int32)
        for slot, track in self._by_slot.items():
            table[slot] = track.number
        return table

    def identities(self) -> npt.NDArray[np.int32]:
        """Return the (CAPACITY,) int32 id of each slot, -1 where it is free."""
        table = np.full(CAPACITY, -1, np.int32)
        for slot, track in self._by_slot.items():
            table[slot] = track.identity
        return table

    def slots_of(self, ids: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Return the slot of each of (N,) ids, -1 where there is none; of several the largest."""
        tracks = sorted(self._by_slot.values(), key=lambda track: (track.identity, -track.pixels))
        if not tracks:
            return np.full(ids.shape, -1, np.int32)
        known, first = np.unique([track.identity for track in tracks], return_index=True)
        slots = np.array([track.slot for track in tracks], np.int32)[first]
        place = np.searchsorted(known, ids).clip(0, len(known) - 1)
        return np.where(known[place] == ids, slots[place], -1).astype(np.int32)

    def count_pixels(self, pixels: npt.NDArray[np.integer], expected: npt.NDArray[np.bool_],
                     frame: int) -> None:
        """Note the (CAPACITY,) pixels of every slot in a frame, and who was expected in it."""
        for track in self._by_slot.values():
            track.pixels = int(pixels[track.slot])
            if track.pixels:
                if frame - track.last_seen > _LONG:
                    track.woken = frame
                track.last_seen = frame
                track.overruled = False
                track.misses = 0
            elif expected[track.slot]:
                track.overruled = True
                track.lost_at = self._travel

    def travel(self, shift: float) -> None:
        """Note that the image moved on by a mean `shift`, in its widths."""
        self._travel += shift

    def forget_places(self) -> None:
        """Forget where the tracks are: the world has another origin now."""
        for track in self._by_slot.values():
            track.centre = track.extent = None

    def age(self) -> None:
        """
        Count a segmented frame in which overruled tracks were not found.

        It says nothing of those whose place has left the view since.
        """
        for track in self._by_slot.values():
            track.misses += track.overruled and self._travel - track.lost_at <= _IN_VIEW

    def let_go(self, config: TrackingConfig) -> None:
        """Remove overruled tracks that stayed away, and the longest asleep beyond the bound."""
        asleep = []
        for track in self:
            if track.state is not TrackState.LOST:
                continue
            if track.misses > (config.max_misses if track.confirmed else 0):
                self.remove(track)
            else:
                asleep.append(track)
        asleep.sort(key=lambda track: (track.confirmed, track.last_seen))
        for track in asleep[:max(0, len(asleep) - config.max_sleeping)]:
            self.remove(track)

    def summaries(self, frame: int) -> tuple[Track, ...]:
        """Return what others see of the tracks, by id; those that share one are one."""
        return tuple(_summary(parts, frame) for _, parts in sorted(self.by_identity().items()))

    def _evict(self) -> bool:
        asleep = [track for track in self if track.state is TrackState.LOST]
        if asleep:
            self.remove(min(asleep, key=lambda track: (track.confirmed, track.last_seen)))
        return bool(asleep)


def _summary(parts: list[TrackRecord], frame: int) -> Track:
    """Return what others see of tracks that share an id."""
    state = next(state for state in (TrackState.CONFIRMED, TrackState.TENTATIVE,
                                     TrackState.LOST)
                 if any(part.state is state for part in parts))
    return Track(parts[0].identity, state, frame - min(part.born for part in parts),
                        frame - max(part.last_seen for part in parts),
                        sum(part.pixels for part in parts))
