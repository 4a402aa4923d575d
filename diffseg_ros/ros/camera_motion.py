"""Where the camera is: from TF, or from odometry where TF does not have it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import threading
import time
from typing import Any

from diffseg_ros.geometry.transforms import frame_name, pose_from_quaternion, TransformTree
from diffseg_ros.ros.messages import stamp_of
from diffseg_ros.time_rules import clock_jumped_back
from diffseg_ros.types import Matrix
import numpy as np
import numpy.typing as npt

_TIMEOUTS_IN_A_ROW = 3
_POLL_SECONDS = 0.02


class CameraMotion:
    """
    Keeps the messages of /tf, /tf_static and `odom`, and returns the camera's pose at a stamp.

    TF is asked first. Odometry moves the frame that it names as its child: the camera itself, or
    a frame from which static transforms or `base_to_camera` (x y z qx qy qz qw, 0 is unknown)
    lead to the camera. Poses are interpolated, never extrapolated. After three timeouts in a row
    `pose` no longer waits for a late transform, until one arrives in time again.

    After each `pose`, `source` is 'tf', 'odometry' or '', and then `no_pose_reason` says why;
    `fixed_frame` is the world of the pose: the root of the TF tree, or 'odom'.
    """

    def __init__(self, *, tf: bool = True, odometry: bool = True,
                 base_to_camera: Sequence[float] = (0.0,) * 7) -> None:
        self.source = self.no_pose_reason = ''
        self.fixed_frame = 'odom'
        self._base_to_camera = tuple(base_to_camera) if any(base_to_camera) else None
        self._use_tf, self._use_odometry = tf, odometry
        self._changed = threading.Condition()
        self._tf = TransformTree()
        self._odometry = TransformTree()
        self._base = ''
        self._latest: dict[TransformTree, dict[str, int]] = {self._tf: {}, self._odometry: {}}
        self._timeouts = 0

    def add_transforms(self, message: Any, *, static: bool) -> None:
        """Add a tf2_msgs/TFMessage."""
        with self._changed:
            for item in message.transforms:
                stamp = None if static else stamp_of(item)
                place, turn = item.transform.translation, item.transform.rotation
                for tree in (self._tf, self._odometry) if static else (self._tf,):
                    self._add(tree, item.header.frame_id, item.child_frame_id, stamp, place, turn)
            self._changed.notify_all()

    def add_odometry(self, message: Any) -> None:
        """Add a nav_msgs/Odometry."""
        with self._changed:
            pose = message.pose.pose
            self._base = frame_name(message.child_frame_id) or 'base_link'
            self._add(self._odometry, message.header.frame_id or 'odom', self._base,
                      stamp_of(message), pose.position, pose.orientation)
            self._changed.notify_all()

    def pose(self, frame_id: str, stamp: int, timeout: float = 0.0) -> Matrix | None:
        """Return the camera-to-world pose, or None; wait `timeout` seconds for late messages."""
        end = time.monotonic() + timeout
        with self._changed:
            while True:
                pose = self._find(frame_id, stamp)
                left = end - time.monotonic()
                if (pose is not None or left <= 0 or self._timeouts >= _TIMEOUTS_IN_A_ROW
                        or not self._may_still_come(stamp)):
                    break
                self._changed.wait(min(left, _POLL_SECONDS))
            self._timeouts = 0 if pose is not None else self._timeouts + 1
            return pose

    def odom_pose(self, frame_id: str, stamp: int) -> Matrix | None:
        """Return the (4, 4) camera-to-odom transform of TF, which does not jump, or None."""
        with self._changed:
            return self._tf.odom_pose(frame_id, stamp) if self._use_tf else None

    def between(self, source: str, target: str, stamp: int) -> Matrix | None:
        """Return the (4, 4) pose of a frame in another at a stamp, by TF or odometry, or None."""
        if frame_name(source) == frame_name(target) != '':
            return np.eye(4)
        with self._changed:
            return self._first(target, lambda tree: tree.between(source, target, stamp))

    def moved(self, source: str, source_stamp: int, target: str, stamp: int) -> Matrix | None:
        """
        Return the (4, 4) pose of a frame at its stamp in another frame at another.

        By TF or odometry; None where these do not tell the motion between the two stamps.
        """
        with self._changed:
            return self._first(target,
                               lambda tree: tree.moved(source, source_stamp, target, stamp))

    def up(self, frame_id: str, stamp: int) -> npt.NDArray[np.float64] | None:
        """Return (3,) up in the camera's frame by its place on the robot alone, or None."""
        with self._changed:
            up = self._tf.up(frame_id, stamp)
        if up is None and self._base_to_camera is not None:
            return pose_from_quaternion(self._base_to_camera[:3], self._base_to_camera[3:])[2, :3]
        return up

    def _first(self, target: str,
               find: Callable[[TransformTree], Matrix | None]) -> Matrix | None:
        """Return what is found in the tree of TF, or else in that of odometry."""
        found = find(self._tf) if self._use_tf else None
        if found is None and self._use_odometry and self._base:
            self._add_base_to_camera(target)
            found = find(self._odometry)
        return found

    def _add(self, tree: TransformTree, parent: str, child: str, stamp: int | None, place: Any,
             turn: Any) -> None:
        if stamp is not None:
            latest = self._latest[tree]
            if clock_jumped_back(latest.get(child), stamp):
                tree.forget_moving()
                latest.clear()
            latest[child] = stamp
        tree.add(parent, child, stamp, (place.x, place.y, place.z),
                 (turn.x, turn.y, turn.z, turn.w))

    def _find(self, frame_id: str, stamp: int) -> Matrix | None:
        """Return the pose; set its source, or the reason why there is none."""
        self.source, self.no_pose_reason = 'tf', ''
        pose = self._tf.pose(frame_id, stamp) if self._use_tf else None
        self.fixed_frame = 'odom' if pose is None else self._tf.root(frame_id)
        if pose is None:
            self.source = 'odometry'
            pose = self._from_odometry(frame_id, stamp)
        if pose is None:
            self.source, self.no_pose_reason = '', self._why_no_pose(frame_id, stamp)
        return pose

    def _from_odometry(self, frame_id: str, stamp: int) -> Matrix | None:
        if not self._use_odometry or not self._base:
            return None
        self._add_base_to_camera(frame_id)
        return self._odometry.pose(frame_id, stamp)

    def _add_base_to_camera(self, frame_id: str) -> None:
        if self._base_to_camera is not None and frame_name(frame_id) != self._base:
            self._odometry.add(self._base, frame_id, None, self._base_to_camera[:3],
                               self._base_to_camera[3:])

    def _may_still_come(self, stamp: int) -> bool:
        return any(last < stamp for latest in self._latest.values() for last in latest.values())

    def _why_no_pose(self, frame_id: str, stamp: int) -> str:
        if not self._base:
            if self._latest[self._tf]:
                return f'no moving transform leads to {frame_id!r} around the image'
            return 'neither TF nor odometry came'
        last = self._odometry.last_stamp(self._base) or 0
        if self._odometry.pose(frame_id, last) is None:
            return (f'odometry moves {self._base!r}, and where the camera {frame_id!r} is on it '
                    'is not known: publish that transform, or set base_to_camera')
        return (f'odometry does not reach the image: its last stamp is '
                f'{(last - stamp) / 1e6:+.0f} ms from it')
