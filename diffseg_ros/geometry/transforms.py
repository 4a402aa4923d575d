"""Rigid transforms: quaternions (x y z w), and the tree that /tf and /tf_static describe."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from diffseg_ros.errors import DiffsegError
from diffseg_ros.types import Matrix
import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation, Slerp

_FIXED_FRAMES = frozenset({'map', 'odom', 'world', 'earth'})
_BASES = frozenset({'base_link', 'base_footprint'})
_KEPT_NS = 10_000_000_000
_PRUNE_ABOVE = 4096
_CACHED = 256


def frame_name(name: str) -> str:
    """Return a frame_id as frames are compared: ROS 1 begins it with a slash, ROS 2 does not."""
    return name.lstrip('/')


def pose_from_quaternion(translation: Sequence[float], quaternion: Sequence[float]) -> Matrix:
    """
    Return the (4, 4) transform of a translation and a quaternion (x y z w) of any length.

    Raises DiffsegError when a value is not finite or the quaternion is 0.
    """
    if not np.isfinite([*translation, *quaternion]).all() or np.linalg.norm(quaternion) < 1e-9:
        raise DiffsegError(f'transform: translation {tuple(translation)}, quaternion '
                           f'{tuple(quaternion)}; finite values and a quaternion of length 1 '
                           'are needed')
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_quat(quaternion).as_matrix()
    pose[:3, 3] = translation
    return pose


def quaternion_from_pose(pose: Matrix) -> tuple[float, float, float, float]:
    """Return the unit quaternion (x y z w) of a (4, 4) or (3, 3) transform."""
    x, y, z, w = Rotation.from_matrix(pose[:3, :3]).as_quat().tolist()
    return x, y, z, w


class _Transform(NamedTuple):
    translation: tuple[float, ...]
    quaternion: tuple[float, ...]


@lru_cache(_CACHED)  # those of /tf_static are asked for many times a frame
def _matrix(transform: _Transform) -> Matrix:
    return pose_from_quaternion(*transform)


def _interpolated(first: _Transform, second: _Transform, share: float) -> Matrix:
    """Return the transform between two: linear in translation, slerp in rotation."""
    before, after = _matrix(first), _matrix(second)
    pose = before + share * (after - before)
    turns = Rotation.from_quat([first.quaternion, second.quaternion])
    pose[:3, :3] = Slerp([0, 1], turns)(share).as_matrix()
    return pose


@dataclass
class _Edge:
    """Transforms of a frame in its parent: one for always, or a history by stamp."""

    parent: str
    static: _Transform | None = None
    stamps: list[int] = field(default_factory=list)
    history: list[_Transform] = field(default_factory=list)

    def at(self, stamp: int) -> Matrix | None:
        if self.static is not None:
            return _matrix(self.static)
        index = bisect_left(self.stamps, stamp)
        if index < len(self.stamps) and self.stamps[index] == stamp:
            return _matrix(self.history[index])
        if not 0 < index < len(self.stamps):
            return None
        before, after = self.stamps[index - 1:index + 1]
        return _interpolated(self.history[index - 1], self.history[index],
                             (stamp - before) / (after - before))

    def add(self, stamp: int, transform: _Transform) -> None:
        index = bisect_left(self.stamps, stamp)
        if index < len(self.stamps) and self.stamps[index] == stamp:
            self.history[index] = transform
            return
        self.stamps.insert(index, stamp)
        self.history.insert(index, transform)
        if len(self.stamps) > _PRUNE_ABOVE:
            old = min(bisect_left(self.stamps, self.stamps[-1] - _KEPT_NS), _PRUNE_ABOVE)
            del self.stamps[:old], self.history[:old]


class _Way(NamedTuple):
    """The (4, 4) pose of a frame in one above it, and whether anything between moves."""

    pose: Matrix
    end: str
    moving: bool


class TransformTree:
    """
    Transforms of /tf and /tf_static: the pose of each frame in its parent frame.

    It remembers at least ten seconds of moving transforms and interpolates between them, but
    never extrapolates.
    """

    def __init__(self) -> None:
        self._edges: dict[str, _Edge] = {}

    def add(self, parent: str, child: str, stamp: int | None, translation: Sequence[float],
            quaternion: Sequence[float]) -> None:
        """Add the pose of `child` in `parent` at a stamp in ns; None means always."""
        parent, child = frame_name(parent), frame_name(child)
        transform = _Transform(tuple(translation), tuple(quaternion))
        edge = self._edges.get(child)
        if edge is None or edge.parent != parent:
            edge = self._edges[child] = _Edge(parent)
        if stamp is None:
            edge.static = transform
        else:
            edge.static = None
            edge.add(stamp, transform)

    def root(self, frame: str) -> str:
        """Return the frame that the tree above a frame ends in: the fixed one of its poses."""
        frame, visited = frame_name(frame), set[str]()
        while frame in self._edges and frame not in visited:
            visited.add(frame)
            frame = self._edges[frame].parent
        return frame

    def last_stamp(self, child: str) -> int | None:
        """Return the newest stamp of the transform to a frame, or None."""
        edge = self._edges.get(frame_name(child))
        return edge.stamps[-1] if edge is not None and edge.stamps else None

    def forget_moving(self) -> None:
        """Forget everything but the static transforms."""
        self._edges = {child: edge for child, edge in self._edges.items()
                       if edge.static is not None}

    def pose(self, frame: str, stamp: int) -> Matrix | None:
        """
        Return the (4, 4) pose of a frame in the fixed frame at a stamp, or None.

        The fixed frame is the root of the tree above `frame`. It counts as fixed when a
        transform on the way moves or it is called map, odom, world or earth: the place of a
        camera on its robot alone is not a pose.
        """
        way = self._way(frame, stamp)
        if way is None or way.end == frame_name(frame):
            return None
        return way.pose if way.moving or way.end in _FIXED_FRAMES else None

    def odom_pose(self, frame: str, stamp: int) -> Matrix | None:
        """Return the (4, 4) pose of a frame in the odom above it, or None."""
        for odom in self._above(frame)[1:]:
            if _last_part(odom) == 'odom':
                way = self._way(frame, stamp, odom)
                return None if way is None else way.pose
        return None

    def up(self, frame: str, stamp: int) -> npt.NDArray[np.float64] | None:
        """
        Return (3,) up in a frame by its place on a robot, wherever that is, or None.

        Up is the z axis of the highest base_link or base_footprint above the frame (REP 103, 105).
        """
        for base in reversed(self._above(frame)[1:]):
            way = self._way(frame, stamp, base) if _last_part(base) in _BASES else None
            if way is not None:
                return way.pose[2, :3]
        return None

    def between(self, source: str, target: str, stamp: int) -> Matrix | None:
        """
        Return the (4, 4) pose of a frame in another of the same tree at a stamp, or None.

        What lies above both of them need not be known.
        """
        common = self._common(source, target)
        if not common:
            return None
        return _joined(*(self._way(frame, stamp, common[0]) for frame in (source, target)))

    def moved(self, source: str, source_stamp: int, target: str, stamp: int) -> Matrix | None:
        """
        Return the (4, 4) pose of `source` at its stamp in `target` at another, or None.

        What was seen from `source` is taken to have stayed there since: in the lowest frame above
        both that is called map, odom, world or earth, as odom does not jump where map does (REP
        105); without one in the root of the tree, where a transform on the way to it moves.
        """
        common = self._common(source, target)
        if not common:
            return None
        fixed = [frame for frame in common if _last_part(frame) in _FIXED_FRAMES]
        world = fixed[0] if fixed else common[-1]
        ways = self._way(source, source_stamp, world), self._way(target, stamp, world)
        if not fixed and not any(way is not None and way.moving for way in ways):
            return None
        return _joined(*ways)

    def _above(self, frame: str) -> list[str]:
        """Return a frame and all above it, up to the root."""
        frames = [frame_name(frame)]
        while (edge := self._edges.get(frames[-1])) is not None and edge.parent not in frames:
            frames.append(edge.parent)
        return frames

    def _common(self, source: str, target: str) -> list[str]:
        """Return the frames that are above both or are one of them, the lowest first."""
        above = set(self._above(target)) - {''}  # frames without a name are no one frame
        return [frame for frame in self._above(source) if frame in above]

    def _way(self, frame: str, stamp: int, end: str = '') -> _Way | None:
        """Return the way from a frame to one above it, or to the root; None if part is unknown."""
        pose, moving, visited = np.eye(4), False, set[str]()
        frame = frame_name(frame)
        while frame != end and (edge := self._edges.get(frame)) is not None:
            if frame in visited:
                return None
            visited.add(frame)
            try:
                transform = edge.at(stamp)
            except DiffsegError:
                return None
            if transform is None:
                return None
            pose = transform @ pose
            moving |= edge.static is None
            frame = edge.parent
        return _Way(pose, frame, moving)


def _joined(source: _Way | None, target: _Way | None) -> Matrix | None:
    """Return the (4, 4) pose of one frame in another, by their ways to the same frame."""
    if source is None or target is None:
        return None
    pose: Matrix = np.linalg.inv(target.pose) @ source.pose
    return pose


def _last_part(frame: str) -> str:
    """Return the name of a frame without the name of its robot."""
    return frame.rpartition('/')[2]
