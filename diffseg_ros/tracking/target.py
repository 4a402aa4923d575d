"""The object that somebody clicked on: where it is in a frame, or why it is not in view."""

from __future__ import annotations

from diffseg_ros.geometry.camera import visible_pixels
from diffseg_ros.tracking.track_manager import LONG_LOSS, TrackManager, TrackRecord
from diffseg_ros.tracking.tracking_frame import TrackingFrame
from diffseg_ros.types import LabelImage, Matrix, Target, TargetState
import numpy as np

_SLACK = 0.1  # metres
_SEEN_EMPTY = 5


class TargetFollower:
    """
    Tells where the target is: the tracks that are `followed`.

    It is in view where they are. Where they are not, a part that stood still has a place in the
    world; the target is hidden as long as the camera cannot see that place. It is lost once the
    place was seen to be empty for several frames, and without a place ten frames after it was in
    view.
    """

    def __init__(self, tracks: TrackManager) -> None:
        self._tracks = tracks
        self._seen_empty = 0

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
