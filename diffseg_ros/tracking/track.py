"""What is known of a track, and where it is in its life."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diffseg_ros.types import TrackState
import numpy as np
import numpy.typing as npt

CAPACITY = 1024
"""Tracks that can be known at a time, the lost ones included."""

_EMBEDDING_MOMENTUM = 0.8
_POSITION_MOMENTUM = 0.8
_SETTLES = 20


@dataclass
class TrackRecord:
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
    lost_at
        How far the image had moved in all when it was.
    embedding
        (C,) float32 of length 1, or None.
    centre, extent
        (3,) float64 world metres: mean and standard deviation of its points, or None.
    woken
        Frame in which it was last seen again after it had slept for long; None for never.
    mobile
        Whether it was seen to move by itself, so that it may be elsewhere by now.
    number
        How many tracks were started before it: no two have the same.

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
    lost_at: float = 0.0
    embedding: npt.NDArray[np.float32] | None = None
    centre: npt.NDArray[np.float64] | None = None
    extent: npt.NDArray[np.float64] | None = None
    woken: int | None = None
    mobile: bool = False
    number: int = 0

    @property
    def state(self) -> TrackState:
        """Return where in its life the track is."""
        if self.pixels == 0:
            return TrackState.LOST
        return TrackState.CONFIRMED if self.confirmed else TrackState.TENTATIVE

    @property
    def settled(self) -> bool:
        """Return whether it has been in view for a while since it last slept."""
        return self.woken is None or self.last_seen - self.woken >= _SETTLES

    def be_at(self, centre: npt.NDArray[np.float64], extent: npt.NDArray[np.float64]) -> None:
        """Mix in where the track is now."""
        if self.centre is None or self.extent is None:
            self.centre, self.extent = centre, extent
            return
        keep = _POSITION_MOMENTUM
        self.centre = keep * self.centre + (1 - keep) * centre
        self.extent = keep * self.extent + (1 - keep) * extent


def look_like(tracks: Sequence[TrackRecord], looks: npt.NDArray[np.float32]) -> None:
    """Mix in how (N,) tracks look now: (N, C) of length 1."""
    before = [look if track.embedding is None or track.embedding.shape != look.shape
              else track.embedding for track, look in zip(tracks, looks, strict=True)]
    if not before:
        return
    mixed = _EMBEDDING_MOMENTUM * np.stack(before) + (1 - _EMBEDDING_MOMENTUM) * looks
    mixed /= np.maximum(np.linalg.norm(mixed, axis=1, keepdims=True), np.float32(1e-12))
    for track, embedding in zip(tracks, mixed, strict=True):
        track.embedding = embedding.copy()
