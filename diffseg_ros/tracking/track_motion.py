"""Which tracks move by themselves, how fast, and how long ago they last did."""

from __future__ import annotations

from collections import deque

import cv2
from diffseg_ros.tracking.free_space import MovedPoints
from diffseg_ros.tracking.label_map import CAPACITY, LabelMap, resize_nearest, SlotImage
from diffseg_ros.tracking.track_manager import Table, TrackManager
from diffseg_ros.types import Mask
import numpy as np
import numpy.typing as npt

_STARTS, _GOES_ON = 0.5, 0.15
_SURE, _MOST_VOTES = 2, 4
_LEAST_CELLS, _KNOWN_SHARE = 12, 0.25
_SHARED = 0.2
_AGAIN = 0.3
_SURE_SHARE = 0.5
_CONFIDENCE = np.float32(0.5)
_WINDOW, _LEAST_WINDOW = 600_000_000, 250_000_000

Vector = npt.NDArray[np.float64]


class TrackMotion:
    """
    Notes in every track whether it moves by itself, its velocity, and when it last moved.

    Where depth and the camera's pose are known a track moves if enough of its points lie where
    the camera saw through before, and what moves together becomes one track, though segments or
    earlier labels divide it or join it to what stands still. Elsewhere it moves if its image
    motion differs from the camera's. A track that moves goes on doing so until several frames in
    a row say otherwise.
    """

    def __init__(self, tracks: TrackManager) -> None:
        self._tracks = tracks
        self._numbers: Table = np.full(CAPACITY, -1, np.int32)
        self._votes = np.zeros(CAPACITY, np.int8)
        self._moving = np.zeros(CAPACITY, bool)
        self._moved_before: Mask | None = None
        self._places: dict[int, deque[tuple[int, Vector]]] = {}
        self._stamp: int | None = None

    def update(self, labels: LabelMap, stamp: int, points: MovedPoints | None,
               seen: Mask | None, least: float) -> None:
        """
        Take in a frame of a stamp in nanoseconds, and the labels carried into it.

        `points` are None where it is not known what moved, or too early to tell. Then `seen`, if
        known, marks the (CAPACITY,) slots that move in the image. New tracks have at least the
        share `least` of the image. Changes `labels`.
        """
        self._forget_replaced()
        if points is not None:
            slots = _on_grid(labels, points)
            self._measure(slots, points)
            self._take_what_moved(labels, slots, points, least)
        elif seen is not None:
            self._vote(seen, ~seen)
        self._note(stamp)
        if points is not None and self._moving.any():
            self._note_velocities(_on_grid(labels, points), stamp, points)

    def _forget_replaced(self) -> None:
        numbers = self._tracks.track_numbers()
        changed = numbers != self._numbers
        self._numbers = numbers
        self._votes[changed] = 0
        self._moving[changed] = False
        for slot in np.flatnonzero(changed).tolist():
            self._places.pop(slot, None)

    def _measure(self, slots: SlotImage, points: MovedPoints) -> None:
        moved, stayed = (np.bincount(slots[part], minlength=CAPACITY)
                         for part in (points.sure, points.stayed))
        known = moved + stayed
        share = moved / np.maximum(known, 1)
        cells = np.bincount(slots.ravel(), minlength=CAPACITY)
        least = np.maximum(_LEAST_CELLS, _KNOWN_SHARE * cells)
        self._vote((moved >= least) & (share >= _STARTS),
                   (known >= least) & (share < _GOES_ON) | (cells == 0))

    def _vote(self, moves: Mask, rests: Mask) -> None:
        self._votes += moves
        self._votes -= rests
        np.clip(self._votes, 0, _MOST_VOTES, out=self._votes)
        self._moving |= self._votes >= _SURE
        self._moving &= self._votes > 0

    def _take_what_moved(self, labels: LabelMap, slots: SlotImage, points: MovedPoints,
                         least: float) -> None:
        """Give each connected piece of points that moved to the track that it belongs to."""
        moved, again = points.moved, self._moved_before
        self._moved_before = moved
        if again is None or again.shape != moved.shape or not (again & points.sure).any():
            return
        pieces = cv2.connectedComponents(moved.view(np.uint8), connectivity=8,
                                         ltype=cv2.CV_32S)[1]
        sizes = np.bincount(pieces.ravel())
        sure = np.bincount(pieces[points.sure], minlength=len(sizes))
        sizes *= sure >= _SURE_SHARE * sizes
        sizes[0] = 0
        for piece in np.flatnonzero(sizes >= _LEAST_CELLS).tolist():
            mask = pieces == piece
            if np.count_nonzero(again & mask) < _AGAIN * sizes[piece]:
                continue
            owners = slots[mask]
            movers = owners[self._moving[owners]]
            if movers.size == owners.size:
                continue
            slot = None
            if movers.size >= _SHARED * owners.size:
                slot = int(np.bincount(movers).argmax())
            elif sizes[piece] >= least * moved.size:
                slot = self._start()
            if slot is not None:
                mask &= ~self._moving.take(slots)
                pixels = resize_nearest(mask.view(np.uint8), labels.shape).view(bool)
                labels.slots[pixels] = slot
                labels.confidence[pixels] = _CONFIDENCE

    def _start(self) -> int | None:
        track = self._tracks.start()
        if track is None:
            return None
        self._numbers[track.slot] = track.number
        self._votes[track.slot] = _SURE
        self._moving[track.slot] = True
        return track.slot

    def _note(self, stamp: int) -> None:
        passed = 0.0 if self._stamp is None else max(0, stamp - self._stamp) / 1e9
        self._stamp = stamp
        moving = self._moving.tolist()
        for track in self._tracks:
            track.moving = bool(moving[track.slot])
            if track.moving:
                track.dynamic, track.since_moved = True, 0.0
            elif track.since_moved is not None:
                track.velocity = None
                track.since_moved += passed

    def _note_velocities(self, slots: SlotImage, stamp: int, points: MovedPoints) -> None:
        assert points.frame.depth is not None
        rows, columns = np.nonzero(self._moving.take(slots) & (points.frame.depth > 0))
        owners = slots[rows, columns]
        world = points.frame.points(rows, columns, points.pose)
        for slot in np.unique(owners).tolist():
            place = np.median(world[owners == slot], axis=0).astype(np.float64)
            places = self._places.setdefault(slot, deque())
            places.append((stamp, place))
            while stamp - places[0][0] > _WINDOW:
                places.popleft()
            first, before = places[0]
            if stamp - first >= _LEAST_WINDOW:
                speed = (place - before) * (1e9 / (stamp - first))
                self._tracks[slot].velocity = points.pose[:3, :3].T @ speed


def _on_grid(labels: LabelMap, points: MovedPoints) -> SlotImage:
    step = -(-labels.shape[1] // points.moved.shape[1])
    return np.ascontiguousarray(labels.slots[::step, ::step])
