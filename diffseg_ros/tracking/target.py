"""The object that somebody clicked on: where it is in a frame, or why it is not in view."""

from __future__ import annotations

from diffseg_ros.geometry.camera import visible_pixels
from diffseg_ros.tracking.association import Appearance, likeness
from diffseg_ros.tracking.track_manager import LONG_LOSS, TrackManager, TrackRecord
from diffseg_ros.tracking.tracking_frame import TrackingFrame
from diffseg_ros.types import LabelImage, Matrix, SegmentKind, Target, TargetState
import numpy as np

_SLACK = 0.1  # metres
_SEEN_EMPTY = 5
_LESS_ALIKE = 0.1
_MARGIN = 0.05
_KEYFRAMES = 2
_SURFACES = frozenset(SegmentKind) - {SegmentKind.UNKNOWN, SegmentKind.OBJECT}


class TargetFollower:
    """
    Tells where the target is: the tracks that are `followed`.

    It is in view where they are. Where they are not, a part that stood still has a place in the
    world; the target is hidden as long as the camera cannot see that place. It is lost once the
    place was seen to be empty for several frames, and without a place ten frames after it was in
    view.

    While it is away, every track in view may be it, not only new ones: that which looks most like
    it, by a margin, in two keyframes in a row, with 0.1 less of likeness than tracks need
    elsewhere. As that may be wrong, two keyframes that agree make such a track a part for good,
    and two that do not drop it.
    """

    def __init__(self, tracks: TrackManager) -> None:
        self._tracks = tracks
        self._seen_empty = 0
        self._candidate, self._votes = -1, 0
        self._found: dict[int, int] = {}

    def search(self, least_pixels: float, similarity: float) -> None:
        """
        Look for the target in a keyframe in which it is not, or check what was found.

        What has fewer than `least_pixels` is not in view; `similarity` is the cosine that makes a
        new segment a lost track.
        """
        parts = [part for part in self._tracks.target if part.number not in self._found]
        seen = [part for part in self._tracks.target if part.pixels >= least_pixels]
        known = [part for part in parts if part.embedding is not None]
        alike = self._likest(known, least_pixels, similarity - _LESS_ALIKE)
        for part in seen:
            if part.number in self._found:
                self._check(part, agrees=alike is not None and alike.number == part.number)
        if seen or alike is None:
            self._candidate, self._votes = -1, 0
            return
        self._votes = self._votes + 1 if alike.number == self._candidate else 1
        self._candidate = alike.number
        if self._votes >= _KEYFRAMES:
            self._tracks.follow(alike.id)
            self._found[alike.number] = 0

    def _check(self, part: TrackRecord, *, agrees: bool) -> None:
        """Count a keyframe for or against a track that was found by its looks."""
        self._found[part.number] += 1 if agrees else -1
        if abs(self._found[part.number]) < _KEYFRAMES:
            return
        if self._found.pop(part.number) < 0:
            part.followed = False

    def _likest(self, parts: list[TrackRecord], least_pixels: float,
                similarity: float) -> TrackRecord | None:
        """Return the track in view that looks like the target as no other does, or None."""
        kinds = {part.kind for part in parts}
        others = [track for track in self._tracks
                  if track.pixels >= least_pixels and track.embedding is not None
                  and (not track.followed or track.number in self._found)]
        if not parts or not others:
            return None
        looks = [Appearance(track.embedding, None if track.dynamic else track.position)
                 for track in others if track.embedding is not None]
        scores = likeness(looks, parts).max(axis=1)
        best = int(scores.argmax())
        ids = np.array([track.id for track in others])
        rivals = scores[ids != ids[best]].max(initial=-1)
        if scores[best] < similarity or scores[best] - rivals < _MARGIN:
            return None
        if others[best].kind in _SURFACES - kinds:
            return None
        return others[best]

    def target(self, labels: LabelImage, frame: TrackingFrame | None,
               pose: Matrix | None) -> Target | None:
        """
        Return the target in a frame with (H, W) int32 ids, None without one.

        Call it once for each frame. The (4, 4) `pose`, camera to world, may be unknown.
        """
        parts = self._tracks.target
        if not parts:
            return None
        ids = sorted({part.id for part in parts})
        mask = np.isin(labels, ids)
        unseen = self._tracks.frame - max(part.last_seen for part in parts)
        if mask.any():
            self._seen_empty = 0
            return Target(TargetState.TRACKED, tuple(ids), mask)
        return Target(self._absent(parts, unseen, frame, pose), tuple(ids), mask, unseen)

    def _absent(self, parts: list[TrackRecord], unseen: int, frame: TrackingFrame | None,
                pose: Matrix | None) -> TargetState:
        """Return whether the target, out of view, is hidden or lost."""
        placed = [part for part in parts if part.position is not None and not part.dynamic]
        if not placed or pose is None or frame is None or not frame.has_points:
            return TargetState.HIDDEN if unseen <= LONG_LOSS else TargetState.LOST
        self._seen_empty += all(_is_empty(part, frame, pose) for part in placed)
        return TargetState.LOST if self._seen_empty >= _SEEN_EMPTY else TargetState.HIDDEN


def _is_empty(part: TrackRecord, frame: TrackingFrame, pose: Matrix) -> bool:
    """Return whether the camera sees through the place where a track was."""
    assert part.position is not None and frame.depth is not None
    assert frame.intrinsics is not None
    centre, extent = part.position
    point = np.linalg.inv(pose) @ [*centre, 1.0]
    row, column, seen = visible_pixels(point[None, :3].astype(np.float32), frame.intrinsics)
    if not len(seen):
        return False
    metres = frame.depth[row[0], column[0]]
    return bool(metres > point[2] - _SLACK - np.linalg.norm(extent))
