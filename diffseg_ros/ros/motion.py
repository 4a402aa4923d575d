"""Where the camera is: from TF, or from odometry where TF does not have it."""

from __future__ import annotations

from collections.abc import Sequence
import threading
import time
from typing import Any

from diffseg_ros.geometry.transforms import Matrix, TransformTree
from diffseg_ros.ros.synchronizer import EPOCH_JUMP, stamp_of

_PATIENCE = 3
_HOLD = 0.02


class CameraMotion:
    """
    Keeps what /tf, /tf_static and `odom` said, and gives the camera's pose at a stamp.

    TF is asked first. Odometry moves the frame that it names as its child: that is the camera
    itself, or a frame that static transforms or `base_to_camera` lead to the camera from.
    Poses are interpolated, never extrapolated; for a transform that is still on its way `pose`
    waits, until three images in a row waited in vain.
    """

    def __init__(self, *, tf: bool = True, odometry: bool = True,
                 base_to_camera: Sequence[float] = (0.0,) * 7) -> None:
        """Start without any transform; `base_to_camera` is x y z qx qy qz qw, 0 if unknown."""
        self.source = ''
        self.trouble = ''
        self._base_to_camera = tuple(base_to_camera) if any(base_to_camera) else None
        self._use_tf, self._use_odometry = tf, odometry
        self._changed = threading.Condition()
        self._tf = TransformTree()
        self._odometry = TransformTree()
        self._base = ''
        self._latest: dict[TransformTree, dict[str, int]] = {self._tf: {}, self._odometry: {}}
        self._misses = 0

    def add_transforms(self, message: Any, *, static: bool) -> None:
        """Take a tf2_msgs/TFMessage."""
        with self._changed:
            for item in message.transforms:
                stamp = None if static else stamp_of(item)
                place, turn = item.transform.translation, item.transform.rotation
                values = (place.x, place.y, place.z), (turn.x, turn.y, turn.z, turn.w)
                self._add(self._tf, item.header.frame_id, item.child_frame_id, stamp, *values)
                if static:
                    self._odometry.add(item.header.frame_id, item.child_frame_id, None, *values)
            self._changed.notify_all()

    def add_odometry(self, message: Any) -> None:
        """Take a nav_msgs/Odometry."""
        with self._changed:
            place, turn = message.pose.pose.position, message.pose.pose.orientation
            self._base = message.child_frame_id.lstrip('/') or 'base_link'
            self._add(self._odometry, message.header.frame_id or 'odom', self._base,
                      stamp_of(message), (place.x, place.y, place.z),
                      (turn.x, turn.y, turn.z, turn.w))
            self._changed.notify_all()

    def pose(self, frame_id: str, stamp: int, patience: float = 0.0) -> Matrix | None:
        """Return the (4, 4) camera-to-world pose, or None; wait up to `patience` seconds."""
        end = time.monotonic() + patience
        with self._changed:
            while True:
                pose = self._find(frame_id, stamp)
                left = end - time.monotonic()
                if pose is not None or left <= 0 or self._misses >= _PATIENCE or not (
                        self._coming(stamp)):
                    break
                self._changed.wait(min(left, _HOLD))
            self._misses = 0 if pose is not None else self._misses + 1
            return pose

    def _add(self, tree: TransformTree, parent: str, child: str, stamp: int | None,
             place: Sequence[float], turn: Sequence[float]) -> None:
        if stamp is not None:
            latest = self._latest[tree]
            if latest.get(child, stamp) - stamp > EPOCH_JUMP:
                tree.forget_moving()
                latest.clear()
            latest[child] = stamp
        tree.add(parent, child, stamp, place, turn)

    def _find(self, frame_id: str, stamp: int) -> Matrix | None:
        """Return the pose and note its source, or why there is none."""
        pose = self._tf.pose(frame_id, stamp) if self._use_tf else None
        if pose is not None:
            self.source, self.trouble = 'tf', ''
            return pose
        pose = self._from_odometry(frame_id, stamp)
        self.source = '' if pose is None else 'odometry'
        self.trouble = self._why_none(frame_id, stamp) if pose is None else ''
        return pose

    def _from_odometry(self, frame_id: str, stamp: int) -> Matrix | None:
        if not self._use_odometry or not self._base:
            return None
        if self._base_to_camera is not None and frame_id.lstrip('/') != self._base:
            self._odometry.add(self._base, frame_id, None, self._base_to_camera[:3],
                               self._base_to_camera[3:])
        return self._odometry.pose(frame_id, stamp)

    def _coming(self, stamp: int) -> bool:
        """Return whether a moving transform is known that has not reached `stamp` yet."""
        return any(last < stamp for latest in self._latest.values() for last in latest.values())

    def _why_none(self, frame_id: str, stamp: int) -> str:
        if not self._base:
            if self._latest[self._tf]:
                return f'no moving transform leads to {frame_id!r} around the image'
            return 'neither TF nor odometry came'
        last = self._odometry.last_stamp(self._base)
        if self._odometry.pose(frame_id, last or 0) is None:
            return (f'odometry moves {self._base!r}, and where the camera {frame_id!r} is on it '
                    'is not known: publish that transform, or set base_to_camera')
        return (f'odometry does not reach the image: its last stamp is '
                f'{((last or 0) - stamp) / 1e6:+.0f} ms from it')
