"""The label image of the last frame, carried into the present one."""

from __future__ import annotations

from diffseg_ros.config import TrackingConfig
from diffseg_ros.tracking.flow import Flow, flow_source, ImageMotion
from diffseg_ros.tracking.label_map import LabelField
from diffseg_ros.tracking.localizer import Whereabouts, World
from diffseg_ros.tracking.object_motion import own_motion, OwnMotion
from diffseg_ros.tracking.odometry import camera_motion
from diffseg_ros.tracking.track_manager import TrackBook
from diffseg_ros.tracking.tracking_frame import View
from diffseg_ros.tracking.voxel_label_map import WorldMemory
from diffseg_ros.tracking.warp import grid, rigid_source, Source, world_points
from diffseg_ros.tracking.world_points import Places
import numpy as np
import numpy.typing as npt

_FLOW_FROM = 0.02
_MOTION_FROM = 0.005
_TRUSTED_MOTION = 0.6
_LEAP, _LEAP_SHARE = 0.15, 0.05
_RECALL_WIDTH = 320
_VOTE_WIDTH = 160
_SURE_VOTES = 2
_FULL_VOTES = 10
_SHIFT_STEP = 8


_Rigid = tuple[npt.NDArray[np.float64] | None, Source | None, float]


class Propagator:
    """
    Carries labels from frame to frame by every cue there is.

    First come surfaces seen again: depth and the camera's motion, with an occlusion test. What
    they leave open goes to optical flow, checked both ways, then to the memory of places.
    """

    def __init__(self, config: TrackingConfig) -> None:
        """Start without a frame."""
        self.config = config
        self._flow = Flow()
        self._memory = WorldMemory()
        self._before: View | None = None
        self._camera = Whereabouts()
        self._change = World.SAME
        self._strangers: int | None = None
        self._unseen: npt.NDArray[np.bool_] | None = None
        self._own_motion: OwnMotion | None = None

    @property
    def world(self) -> npt.NDArray[np.float64] | None:
        """Return the (4, 4) camera-to-world transform of the last frame, if one is known."""
        return self._camera.world

    @property
    def own_motion(self) -> OwnMotion | None:
        """Return what moved by itself in the last frame, None where nothing is known of it."""
        return self._own_motion

    @property
    def memory(self) -> WorldMemory:
        """Return the memory of places."""
        return self._memory

    def clear(self) -> None:
        """Forget the last frame and all places."""
        self._before = self._own_motion = self._strangers = None
        self._memory.clear()
        self._camera.clear()

    def propagate(self, now: View, field: LabelField,
                  book: TrackBook) -> tuple[LabelField, float]:
        """
        Carry the labels of the view before into the present one.

        Returns
        -------
        tuple
            The labels, complete: pixels that nothing is known of have the nearest track and
            strength 0; and how far pixels moved on average, in widths of the image.

        """
        assert self._before is not None
        before = self._before.resized(now.shape)
        source = self._source(now, before)
        moved = field.resized(now.shape).moved(source)
        known = self._settled(moved, source.known, book)
        unseen, self._unseen = self._unseen, None
        if self.world is not None and self.config.memory:
            known = self._recall(now, moved, known, unseen, book)
        moved.fill(known, now.depth if now.measured else None)
        self._before = now
        return moved, _mean_shift(source)

    def _settled(self, field: LabelField, known: npt.NDArray[np.bool_],
                 book: TrackBook) -> npt.NDArray[np.bool_]:
        """Return what is known of the field now that the camera is where it is."""
        if self._change is World.NEW:
            self._memory.clear()
            book.forget_places()
        elif self._change is World.ASTRAY:
            self._strangers = book.count
        elif self._change is World.FOUND and self._strangers is not None:
            # What began while the camera was astray may be what is remembered here.
            known = known & (book.births() < self._strangers).take(field.slots)
            field.strength *= known
            self._strangers = None
        return known

    def begin(self, now: View) -> None:
        """Take a first frame."""
        self._before = now
        self._follow(now, None)

    def places(self) -> Places | None:
        """Return where the last view's pixels are in the world, if that is known."""
        if self._before is None or self.world is None or not self._before.measured:
            return None
        return Places(self._before, self.world)

    def remember(self, field: LabelField, identities: npt.NDArray[np.int32]) -> None:
        """Let the labels of the last frame vote in the memory of places."""
        view = self._before
        if view is None or self.world is None or not view.measured or not self.config.memory:
            return
        assert view.depth is not None
        step = _every(view, _VOTE_WIDTH)
        held = field.strength[::step, ::step] > 0
        rows, columns = grid(held & (view.depth[::step, ::step] > 0), step)
        self._memory.vote(world_points(view, self.world, rows, columns),
                          identities[field.slots[rows, columns]])

    def _source(self, now: View, before: View) -> Source:
        """Return where each pixel comes from, and follow the camera."""
        self._own_motion = None
        motion: npt.NDArray[np.float64] | None = None
        rigid: Source | None = None
        share = 0.0
        measured = now.measured and before.measured and self.config.depth
        if measured and now.pose is not None and before.pose is not None:
            motion = np.linalg.inv(before.pose) @ now.pose
            rigid, share = rigid_source(now, before, motion)
            self._watch(now, before, rigid, share)
        if rigid is not None and share >= _TRUSTED_MOTION and _open(rigid) < _FLOW_FROM:
            self._follow(now, motion)
            return rigid
        moved = self._flow.between(now, before, coarse=share >= _TRUSTED_MOTION)
        if measured and share < _TRUSTED_MOTION and self.config.odometry:
            motion, rigid, share = self._estimate(now, before, moved, (motion, rigid, share))
            self._watch(now, before, rigid, share)
        self._follow(now, motion if share >= _TRUSTED_MOTION else None)
        if not measured and self.config.common_motion:
            self._own_motion = own_motion(now, before, moved)
        return self._joined(now, before, rigid if share >= _TRUSTED_MOTION / 2 else None, moved)

    def _watch(self, now: View, before: View, rigid: Source | None, share: float) -> None:
        """Look for what moves by itself, if the camera's motion explains most of the image."""
        if (self.config.common_motion and rigid is not None and share >= _TRUSTED_MOTION
                and _open(rigid) >= _MOTION_FROM):
            moved = self._flow.towards(now, before)
            self._own_motion = own_motion(now, before, moved, rigid)

    @staticmethod
    def _estimate(now: View, before: View, moved: ImageMotion, given: _Rigid) -> _Rigid:
        """Return the better of a given camera motion and one from image motion."""
        motion = camera_motion(now, before, moved)
        if motion is None:
            return given
        rigid, share = rigid_source(now, before, motion)
        return (motion, rigid, share) if share > given[2] else given

    def _joined(self, now: View, before: View, rigid: Source | None,
                moved: ImageMotion) -> Source:
        """Return the source by camera motion where that is known, by image motion elsewhere."""
        nothing = Source(np.zeros(now.shape, np.int32), np.zeros(now.shape, bool))
        joined = rigid or nothing
        if not self.config.flow:
            return joined
        places = np.flatnonzero(~joined.known)
        if rigid is not None and now.depth is not None:
            # What has depth but no place before it was out of view: flow can but guess there.
            self._unseen = (rigid.index == 0) & (now.depth > 0)
        index, known = flow_source(moved, now.shape, places)
        if now.depth is not None and before.depth is not None:
            metres = now.depth.take(places)
            step = metres - before.depth.take(index)
            known &= ~(np.abs(step, out=step) > _LEAP + _LEAP_SHARE * metres)
        joined.index.ravel()[places] = index
        joined.known.ravel()[places] = known
        return joined

    def _follow(self, now: View, motion: npt.NDArray[np.float64] | None) -> None:
        """Keep where the camera is."""
        self._change = self._camera.follow(
            now, motion, measured=now.measured and self.config.odometry and self.config.depth)

    def _recall(self, now: View, field: LabelField, known: npt.NDArray[np.bool_],
                unseen: npt.NDArray[np.bool_] | None, book: TrackBook) -> npt.NDArray[np.bool_]:
        """Fill in what the memory of places knows; return what is known with it."""
        if now.depth is None or self.world is None or not now.measured:
            return known
        wanted = ~known if unseen is None else ~known | unseen
        step = _every(now, _RECALL_WIDTH)
        rows, columns = grid(wanted[::step, ::step] & (now.depth[::step, ::step] > 0), step)
        ids, votes = self._memory.recall(world_points(now, self.world, rows, columns))
        slots = np.where(votes >= _SURE_VOTES, book.slots_of(ids), -1)
        found = np.full((-(-now.shape[0] // step), -(-now.shape[1] // step)), -1, np.int16)
        firmness = np.zeros(found.shape, np.float32)
        found[rows // step, columns // step] = slots
        firmness[rows // step, columns // step] = votes.clip(0, _FULL_VOTES) / _FULL_VOTES
        taken = np.flatnonzero(wanted)
        row = taken // now.shape[1]
        near = row // step * found.shape[1] + (taken - row * now.shape[1]) // step
        recalled = found.take(near) >= 0
        taken, near = taken[recalled], near[recalled]
        field.slots.ravel()[taken] = found.take(near)
        field.strength.ravel()[taken] = firmness.take(near)
        known = known.copy()
        known.ravel()[taken] = True
        return known


def _every(view: View, columns: int) -> int:
    """Return which of the pixels along an axis to take so that about so many columns remain."""
    return max(1, round(view.shape[1] / columns))


def _open(source: Source) -> float:
    """Return the share of pixels without a known source."""
    return 1 - np.count_nonzero(source.known) / source.known.size


def _mean_shift(source: Source) -> float:
    """Return how far pixels moved on average, in image widths; 0 where none is known."""
    index, known = (part[::_SHIFT_STEP, ::_SHIFT_STEP] for part in (source.index, source.known))
    if not known.any():
        return 0.0
    width = source.index.shape[1]
    rows, columns = np.nonzero(known)
    from_rows, from_columns = np.divmod(index[known], width)
    return float(np.hypot(from_rows - rows * _SHIFT_STEP,
                          from_columns - columns * _SHIFT_STEP).mean()) / width
