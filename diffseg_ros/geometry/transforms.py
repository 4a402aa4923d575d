"""Rigid transforms: quaternions (x y z w), and the tree that /tf and /tf_static describe."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
import math

from diffseg_ros.errors import DiffsegError
import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]

FIXED_FRAMES = frozenset({'map', 'odom', 'world', 'earth'})
_KEPT_NS = 10_000_000_000
_PRUNE_ABOVE = 4096


def pose_from_quaternion(translation: Sequence[float], quaternion: Sequence[float]) -> Matrix:
    """
    Return the (4, 4) transform of a translation and a quaternion (x y z w) of any length.

    Raises
    ------
    DiffsegError
        A value is not finite, or the quaternion is 0.

    """
    norm = math.hypot(*quaternion)
    if not norm > 1e-9 or not all(map(math.isfinite, (*translation, norm))):
        raise DiffsegError(f'transform: translation {tuple(translation)}, quaternion '
                           f'{tuple(quaternion)}; finite values and a quaternion of length 1 '
                           'are needed')
    x, y, z, w = (value / norm for value in quaternion)
    pose = np.eye(4)
    pose[:3, :3] = ((1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
                    (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
                    (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)))
    pose[:3, 3] = translation
    return pose


def quaternion_from_pose(pose: Matrix) -> tuple[float, float, float, float]:
    """Return the unit quaternion (x y z w) of a (4, 4) transform."""
    (a, b, c), (d, e, f), (g, h, i) = pose[:3, :3].tolist()
    # The largest component is computed from a root, the others from it: no cancellation.
    squares = (1 + a - e - i, 1 - a + e - i, 1 - a - e + i, 1 + a + e + i)
    largest = max(range(4), key=squares.__getitem__)
    products = ((squares[0], b + d, c + g, h - f), (b + d, squares[1], f + h, c - g),
                (c + g, f + h, squares[2], d - b), (h - f, c - g, d - b, squares[3]))[largest]
    norm = math.hypot(*products)
    x, y, z, w = (value / norm for value in products)
    return x, y, z, w


def interpolated(first: _Transform, second: _Transform, share: float) -> _Transform:
    """Return the transform between two: linear in translation, slerp in rotation."""
    start, end = np.array(first.quaternion), np.array(second.quaternion)
    start, end = start / np.linalg.norm(start), end / np.linalg.norm(end)
    cosine = float(start @ end)
    if cosine < 0:
        end, cosine = -end, -cosine
    angle = math.acos(min(1.0, cosine))
    if angle < 1e-6:
        quaternion = start + share * (end - start)
    else:
        quaternion = (math.sin((1 - share) * angle) * start
                      + math.sin(share * angle) * end) / math.sin(angle)
    translation = tuple((1 - share) * a + share * b
                        for a, b in zip(first.translation, second.translation))
    return _Transform(translation, tuple(quaternion.tolist()))


@dataclass(frozen=True)
class _Transform:
    translation: tuple[float, ...]
    quaternion: tuple[float, ...]


@dataclass
class _Edge:
    parent: str
    static: _Transform | None = None
    stamps: list[int] = field(default_factory=list)
    history: list[_Transform] = field(default_factory=list)

    def at(self, stamp: int) -> _Transform | None:
        if self.static is not None:
            return self.static
        index = bisect_left(self.stamps, stamp)
        if index == len(self.stamps):
            return None
        if self.stamps[index] == stamp:
            return self.history[index]
        if index == 0:
            return None
        before, after = self.stamps[index - 1], self.stamps[index]
        return interpolated(self.history[index - 1], self.history[index],
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


class TransformTree:
    """
    What /tf and /tf_static said of each frame's place in its parent frame.

    It remembers at least ten seconds of moving transforms, interpolates between them and
    never extrapolates.
    """

    def __init__(self) -> None:
        """Start without any frame."""
        self._edges: dict[str, _Edge] = {}

    def add(self, parent: str, child: str, stamp: int | None, translation: Sequence[float],
            quaternion: Sequence[float]) -> None:
        """Add the place of `child` in `parent` at a stamp in ns; None means always."""
        parent, child = parent.lstrip('/'), child.lstrip('/')
        transform = _Transform(tuple(translation), tuple(quaternion))
        edge = self._edges.get(child)
        if edge is None or edge.parent != parent:
            edge = self._edges[child] = _Edge(parent)
        if stamp is None:
            edge.static = transform
        else:
            edge.static = None
            edge.add(stamp, transform)

    def last_stamp(self, child: str) -> int | None:
        """Return the newest stamp of the transform to a frame, or None."""
        edge = self._edges.get(child.lstrip('/'))
        return edge.stamps[-1] if edge is not None and edge.stamps else None

    def forget_moving(self) -> None:
        """Forget everything but the static transforms."""
        self._edges = {child: edge for child, edge in self._edges.items()
                       if edge.static is not None}

    def pose(self, frame: str, stamp: int) -> Matrix | None:
        """
        Return the (4, 4) pose of a frame in the fixed frame at a stamp, or None.

        The fixed frame is the root of the tree above `frame`. It counts as fixed when a
        transform on the way moves, or when it is called map, odom, world or earth: a camera's
        place on its robot alone is not a pose.
        """
        pose, moving, visited = np.eye(4), False, set[str]()
        frame = frame.lstrip('/')
        while (edge := self._edges.get(frame)) is not None and frame not in visited:
            visited.add(frame)
            transform = edge.at(stamp)
            if transform is None:
                return None
            try:
                pose = pose_from_quaternion(transform.translation, transform.quaternion) @ pose
            except DiffsegError:
                return None
            moving |= edge.static is None
            frame = edge.parent
        fixed = frame not in visited and (moving or frame in FIXED_FRAMES)
        return pose if visited and fixed else None
