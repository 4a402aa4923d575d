"""The labels of the last frame, carried into the present one."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from diffseg_ros.config import TrackingConfig
from diffseg_ros.geometry.pixel_source import Source
from diffseg_ros.tracking.free_space import FreeSpace, MovedPoints
from diffseg_ros.tracking.label_map import coarse_places, LabelMap
from diffseg_ros.tracking.localizer import camera_motion, CameraLocalizer, CameraState
from diffseg_ros.tracking.object_motion import MotionHistory, object_motion, ObjectMotion
from diffseg_ros.tracking.saved_places import PlaceState, SavedPlaces
from diffseg_ros.tracking.track_manager import Table, TrackManager
from diffseg_ros.tracking.tracking_frame import TrackingFrame
from diffseg_ros.tracking.warp import (
    DEPTH_TOLERANCE,
    flow_source,
    ImageMotion,
    OpticalFlow,
    RELATIVE_TOLERANCE,
    rigid_source,
)
from diffseg_ros.tracking.world_map import Position, VoxelLabelMap, VoxelLabels, WorldPoints
from diffseg_ros.types import Mask, Matrix
import numpy as np

_TRUSTED_SHARE = 0.6
_USABLE_SHARE = 0.3
_FLOW_FROM = 0.005
_DEPTH_CHANGE, _DEPTH_CHANGE_SHARE = 0.15, 0.05
_RECALL_WIDTH = 320
_VOTE_WIDTH = 160
_LEAST_VOTES = 2
_FULL_VOTES = 10


class _CameraMotion(NamedTuple):
    """A (4, 4) motion from now to before, the source of pixels, and the share it explains."""

    motion: Matrix | None = None
    source: Source | None = None
    share: float = 0.0

    @property
    def trusted(self) -> bool:
        return self.share >= _TRUSTED_SHARE

    @property
    def unknown_share(self) -> float:
        return 1.0 if self.source is None else self.source.unknown_share


class Propagation(NamedTuple):
    """
    Labels carried into a frame; those of unknown pixels are the nearest, with confidence 0.

    `shift` is the mean motion of pixels in image widths; `object_motion`, `source`, where the
    pixels were in the frame before, and `moved_points` are None if unknown.
    """

    labels: LabelMap
    shift: float = 0.0
    object_motion: ObjectMotion | None = None
    source: Source | None = None
    moved_points: MovedPoints | None = None


class Propagator:
    """
    Carries labels from frame to frame by every cue there is.

    First come surfaces seen again: depth and the camera's motion, with an occlusion test. What
    they leave open goes to optical flow, checked both ways, then to the voxel map of labels.
    """

    def __init__(self, config: TrackingConfig) -> None:
        self.config = config
        self.voxels = VoxelLabelMap()
        self.saved = SavedPlaces('', self.voxels.content(), {})
        self._flow = OpticalFlow()
        self._history = MotionHistory()
        self._free_space = FreeSpace()
        self._localizer = CameraLocalizer()
        self._before: TrackingFrame | None = None
        self._fixed_frame = ''
        self._started_before_loss: int | None = None

    def propagate(self, now: TrackingFrame, labels: LabelMap | None,
                  tracks: TrackManager) -> Propagation:
        """Carry the labels of the frame before, if there are any, into the present one."""
        if self._fixed_frame and not now.fixed_frame:
            now = replace(now, pose=None)  # odometry in place of a map leads to another world
        if self._before is None or labels is None:
            self._before = now
            empty = LabelMap.empty(now.shape)
            state = self._localize(now, None)
            known = self._apply_camera_state(state, now, empty, empty.known, tracks)
            if self._find_saved(now, tracks) and now.pose is not None:
                known = self._recall(now, now.pose, empty, known, None, tracks)
                empty.fill(known, now.depth)
            return Propagation(empty)
        before = self._before.resized(now.shape)
        depth = self.config.depth and now.has_points and before.has_points
        camera, flow = self._motions(now, before, depth=depth)
        state = self._localize(now, camera.motion if camera.trusted else None)
        moving = self._object_motion(now, before, camera, flow, depth=depth)
        labels = labels.resized(now.shape)
        source, unseen = self._source(now, before, camera, flow, labels, tracks.have_moved())
        moved = labels.warped(source)
        known = self._apply_camera_state(state, now, moved, source.known, tracks)
        if self._find_saved(now, tracks):
            unseen = np.ones(now.shape, bool)
        if self._localizer.pose is not None and now.has_points and self.config.memory:
            known = self._recall(now, self._localizer.pose, moved, known, unseen, tracks)
        moved.fill(known, now.depth if now.has_points else None)
        self._before = now
        return Propagation(moved, source.mean_shift, moving, source, self._moved_points(now))

    def places(self, tracks: TrackManager
               ) -> tuple[str, VoxelLabels, dict[int, Position]]:
        """
        Return the world that lasts, '' if there is none, its voxels, and positions by number.

        Saved places that may still prove right are among them.
        """
        frame, saved, voxels = self._fixed_frame, self.saved, VoxelLabelMap()
        positions: dict[int, Position] = {}
        if saved.state is PlaceState.UNKNOWN and frame in ('', saved.fixed_frame):
            frame = saved.fixed_frame
            voxels.insert(saved.voxels)
            positions |= saved.positions
        if self._fixed_frame:
            voxels.insert(self.voxels.content())
            positions |= {track.number: track.position for track in tracks
                          if track.position is not None}
        return frame, voxels.content(), positions

    def _find_saved(self, now: TrackingFrame, tracks: TrackManager) -> bool:
        """Take over the saved places if this frame shows that they are here."""
        if not self.config.memory or not self.saved.check(now):
            return False
        voxels = self.saved.voxels
        # What was seen but once before the end is as sure as a place that was found.
        self.voxels.insert(voxels._replace(votes=np.maximum(voxels.votes, _LEAST_VOTES)))
        for track in tracks:
            if track.position is None:
                track.position = self.saved.positions.get(track.number)
        return True

    @property
    def is_posed(self) -> bool:
        """Whether it is known where in the world the last frame's pixels are."""
        return (self._before is not None and self._before.has_points
                and self._localizer.pose is not None)

    @property
    def in_fixed_frame(self) -> bool:
        """Whether that world is the fixed frame of the last frame, which users know."""
        return self.is_posed and self._before is not None and self._before.pose is not None

    @property
    def view(self) -> tuple[TrackingFrame | None, Matrix | None]:
        """The last frame, and where its camera is in the world, as far as that is known."""
        return self._before, self._localizer.pose

    def world_points(self) -> WorldPoints | None:
        """Return where the last frame's pixels are in the world, if that is known."""
        if not self.is_posed or self._before is None or self._localizer.pose is None:
            return None
        return WorldPoints(self._before, self._localizer.pose)

    def remember(self, labels: LabelMap, ids: Table) -> None:
        """Let the labels of the last frame vote in the voxel map."""
        frame, pose = self._before, self._localizer.pose
        if frame is None or pose is None or not frame.has_points or not self.config.memory:
            return
        rows, columns = frame.grid(_step(frame, _VOTE_WIDTH), labels.confidence)
        self.voxels.vote(frame.points(rows, columns, pose), ids[labels.slots[rows, columns]])

    def _motions(self, now: TrackingFrame, before: TrackingFrame, *,
                 depth: bool) -> tuple[_CameraMotion, ImageMotion | None]:
        """Return the camera's motion, and the optical flow where it leaves pixels open."""
        camera, flow = _CameraMotion(), None
        if depth and now.pose is not None and before.pose is not None:
            motion = np.linalg.inv(before.pose) @ now.pose
            camera = _CameraMotion(motion, *rigid_source(now, before, motion))
        estimated = depth and self.config.odometry
        for quick in (True, False) if estimated else (False,):
            if camera.trusted:
                break
            flow = self._flow.checked(now, before, quick=quick)
            estimate = camera_motion(now, before, flow) if estimated else None
            if estimate is not None:
                found = _CameraMotion(estimate, *rigid_source(now, before, estimate))
                camera = max(camera, found, key=lambda one: one.share)
        if flow is None and camera.unknown_share >= _FLOW_FROM:
            flow = self._flow.checked(now, before, quick=True)
        return camera, flow

    def _localize(self, frame: TrackingFrame, motion: Matrix | None) -> CameraState:
        config = self.config
        state = self._localizer.update(
            frame, motion, use_depth=frame.has_points and config.odometry and config.depth)
        if frame.fixed_frame not in ('', self._fixed_frame):
            return CameraState.RESET
        return state

    def _object_motion(self, now: TrackingFrame, before: TrackingFrame, camera: _CameraMotion,
                       flow: ImageMotion | None, *, depth: bool) -> ObjectMotion | None:
        """Return what moves by itself, where the camera's motion explains most of the image."""
        if not self.config.common_motion or flow is None or depth and not camera.trusted:
            return None
        if not depth:
            return self._history.object_motion(now, before, flow)
        return object_motion(now, before, [flow], camera.source)

    def _moved_points(self, now: TrackingFrame) -> MovedPoints | None:
        if self._localizer.pose is None or not now.has_points or not self.config.common_motion:
            return None
        return self._free_space.update(now, self._localizer.pose)

    def _source(self, now: TrackingFrame, before: TrackingFrame, camera: _CameraMotion,
                flow: ImageMotion | None, labels: LabelMap,
                moved: Mask) -> tuple[Source, Mask | None]:
        """
        Return the source by camera, else by flow, and what was out of view before, if known.

        `labels` are those of the frame before, `moved` the (CAPACITY,) slots that have moved.
        """
        usable = camera.source is not None and camera.share >= _USABLE_SHARE
        source = camera.source if usable else None
        if source is None:
            source = Source(np.zeros(now.shape, np.intp), np.zeros(now.shape, bool))
        if flow is None or not self.config.flow:
            return source, None
        unseen = None
        if usable and now.depth is not None:
            unseen = (source.index == 0) & (now.depth > 0)
        pixels = np.flatnonzero(~source.known)
        index, known = flow_source(flow, now.shape, pixels)
        if now.depth is not None and before.depth is not None:
            metres = now.depth.take(pixels)
            change = np.abs(metres - before.depth.take(index))
            known &= ~(change > _DEPTH_CHANGE + _DEPTH_CHANGE_SHARE * metres)
            if usable and camera.motion is not None and moved.any():
                # What a moving track hid before is not part of it, though flow drags it along.
                place = source.index.ravel()[pixels]
                nearer = metres + camera.motion[2, 3] - before.depth.take(place)
                hidden = nearer > DEPTH_TOLERANCE + RELATIVE_TOLERANCE * metres
                known &= ~(hidden & (place > 0) & moved.take(labels.slots.take(index)))
        source.index.ravel()[pixels] = index
        source.known.ravel()[pixels] = known
        return source, unseen

    def _apply_camera_state(self, state: CameraState, now: TrackingFrame, labels: LabelMap,
                            known: Mask, tracks: TrackManager) -> Mask:
        """Drop what the camera's state makes invalid; return which labels are known then."""
        if state is CameraState.RESET:
            if self._fixed_frame and self.saved.state is not PlaceState.REFUSED:
                self.saved = SavedPlaces(*self.places(tracks))  # the camera may return to it
            self._fixed_frame = now.fixed_frame
            self.voxels.clear()
            self._free_space.clear()
            tracks.forget_positions()
            self._started_before_loss = None
        elif state is CameraState.LOST and self._started_before_loss is None:
            self._started_before_loss = tracks.started
        elif state is CameraState.RELOCALIZED and self._started_before_loss is not None:
            # What was started while the camera was lost may be what is remembered here.
            old = tracks.track_numbers() < self._started_before_loss
            known = known & old.take(labels.slots)
            labels.confidence *= known
            self._started_before_loss = None
        return known

    def _recall(self, now: TrackingFrame, pose: Matrix, labels: LabelMap, known: Mask,
                unseen: Mask | None, tracks: TrackManager) -> Mask:
        """Fill in what the voxel map knows; return which labels are known then."""
        wanted = ~known if unseen is None else ~known | unseen
        step = _step(now, _RECALL_WIDTH)
        rows, columns = now.grid(step, wanted)
        ids, votes = self.voxels.recall(now.points(rows, columns, pose))
        slots = np.full(wanted[::step, ::step].shape, -1, np.int16)
        confidence = np.zeros(slots.shape, np.float32)
        cells = rows // step, columns // step
        slots[cells] = np.where(votes >= _LEAST_VOTES, tracks.slots_of(ids), -1)
        confidence[cells] = votes.clip(0, _FULL_VOTES) / _FULL_VOTES
        pixels = np.flatnonzero(wanted)
        places = coarse_places(pixels, now.shape, step)
        found = slots.take(places) >= 0
        pixels, places = pixels[found], places[found]
        labels.slots.ravel()[pixels] = slots.take(places)
        labels.confidence.ravel()[pixels] = confidence.take(places)
        known = known.copy()
        known.ravel()[pixels] = True
        return known


def _step(frame: TrackingFrame, columns: int) -> int:
    """Return which pixels along an axis to take so that about so many columns remain."""
    return max(1, round(frame.shape[1] / columns))
