"""From frames to one labelled map and its files."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffseg_ros.config import PipelineConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.boxes import segment_boxes
from diffseg_ros.geometry.label_images import distinct_labels
from diffseg_ros.geometry.point_cloud import labelled_cloud
from diffseg_ros.io.images import write_image
from diffseg_ros.io.ply import write_ply
from diffseg_ros.mapping.object_views import ObjectViews
from diffseg_ros.mapping.odometry import RgbdOdometry
from diffseg_ros.mapping.voxel_map import FusedCloud, VoxelMap
from diffseg_ros.pipeline import Pipeline
from diffseg_ros.postprocessing.name_table import NameTable
from diffseg_ros.postprocessing.segment_filter import removed_ids
from diffseg_ros.types import Frame, Matrix, UNLABELLED
from diffseg_ros.viz.cloud_picture import fit_view, render_cloud
from diffseg_ros.viz.colours import label_colours
import numpy as np

_AGREEMENT_VOXEL = 0.05
_AGREEMENT_FRAMES = 3
_PICTURE_SIZE = (800, 600)
_YAW, _PITCH = 15.0, 20.0
_MARGIN = 1.1


class MapBuilder:
    """
    Segments and tracks frames, and fuses their labelled clouds into voxels of a size in metres.

    With `odometry` poses are estimated from the images and depth instead of read. The model is
    loaded when the first usable frame comes. `objects` collects views of the tracks `complete`.
    """

    def __init__(self, config: PipelineConfig, voxel_size: float, *,
                 odometry: bool = False, complete: Collection[int] = ()) -> None:
        self._map = VoxelMap(voxel_size, predicted=bool(config.depth.model))
        self._agreement_map = VoxelMap(_AGREEMENT_VOXEL)
        self._voxel_size = voxel_size
        self._config = config
        self._pipeline: Pipeline | None = None
        self._names = NameTable(config.vocabulary) if config.vocabulary else None
        self._odometry = RgbdOdometry(config.cloud.max_depth or 4.0) if odometry else None
        self.objects = ObjectViews(complete, config.cloud)
        self._frames = self._without_pose = self._without_depth = self._fused_points = 0
        self._predicted_shares: list[float] = []
        self._first_pose: Matrix = np.eye(4)

    def add(self, frame: Frame) -> None:
        """
        Track one frame and fuse its cloud; frames without depth or pose are counted.

        What `removal` chooses is left out where `removal.from_points` is set. With `depth.model`
        predicted depth counts too. Frames before the first with depth and pose are skipped. After
        a time jump tracks are forgotten, but the map stays. Raises DiffsegError when the frame
        cannot be segmented or unprojected, or the model cannot be loaded.
        """
        measured = frame.depth is not None and frame.intrinsics is not None
        usable = measured or bool(self._config.depth.model and frame.intrinsics is not None)
        self._without_depth += not usable
        pose = frame.pose if usable else None
        if self._odometry is not None:
            pose = self._odometry.pose(frame) if measured else None
        self._without_pose += usable and pose is None
        if self._pipeline is None:
            if pose is None:
                return
            self._pipeline = Pipeline(self._config)
        result, config = self._pipeline.process(frame), self._config
        labels = result.labels
        if self._names is not None:
            self._names.add(result.tracks)
        if pose is None:
            return
        frame = result.frame if config.depth.in_points else result.frame.measured
        if frame.depth is None:
            self._without_depth += 1
            return
        self.objects.add(frame, labels, pose, result.tracks)
        removed: list[int] = []
        if config.removal.from_points:
            removed = removed_ids(config.removal, distinct_labels(labels),
                                  lambda: segment_boxes(frame, labels, config.cloud),
                                  result.tracks, config.removed_names)
        cloud = labelled_cloud(frame, labels, config.cloud, exclude=removed)
        self._predicted_shares.append(frame.predicted_share)
        self._fused_points += self._map.add(cloud, pose)
        self._agreement_map.add(cloud, pose)
        if not self._frames:
            self._first_pose = pose
        self._frames += 1

    def fused(self, source: str, min_observations: int) -> FusedCloud:
        """
        Return the voxels that at least `min_observations` frames observed.

        Raises DiffsegError when there are none; it names what `source` lacks.
        """
        if not self._frames:
            raise DiffsegError(f'{source}: {self._reason_for_no_map()}')
        if not len(self._map):
            limit = self._config.cloud.max_depth
            within = f' within {limit:g} m; raise --max-depth, 0 is no limit' if limit else ''
            raise DiffsegError(f'{source}: no point in the depth of {self._frames} frames{within}')
        fused = self._map.extract(min_observations)
        if not len(fused.observations):
            raise DiffsegError(f'{source}: none of {len(self._map)} voxels was seen in '
                               f'{min_observations} of {self._frames} frames; lower '
                               '--min-observations, or use more frames')
        return fused

    def _reason_for_no_map(self) -> str:
        if self._without_pose:
            if self._odometry is not None:
                return ('odometry found no camera motion in measured depth; give a recording '
                        'with poses')
            return ('no frame has a pose, and a map needs them; a sequence folder has them in '
                    'poses.txt, a bag in /tf from a fixed frame (map, odom, world) to the '
                    'camera; or estimate them with --odometry')
        if self._without_depth and self._depth_report():
            missing = self._predicted('missing') or ('it would be predicted, and depth.in_points '
                                                     'is off')
            return f'no frame has depth: {missing}'
        if self._without_depth:
            return ('no frame has depth and intrinsics, and a map needs them; a sequence folder '
                    'has them in depth/ and camera.json, a bag in a registered depth topic and '
                    'its camera_info')
        return 'no frame could be used'

    def write(self, path: Path, fused: FusedCloud) -> Path:
        """
        Write the points as PLY and a picture of them beside it; return the picture's path.

        Where naming is on, the names of the labels go into a table beside it (.names.csv).
        The picture shows them twice, obliquely from above the first camera: in their own colours
        and by label. Raises DiffsegError when a file cannot be written.
        """
        write_ply(path, fused.cloud, fused.confidence)
        if self._names is not None:
            self._names.write(path.with_suffix('.names.csv'))
        pose = self._first_pose
        seen = ((fused.cloud.points - pose[:3, 3]) @ pose[:3, :3]).astype(np.float32)
        view = fit_view(seen, *_PICTURE_SIZE, yaw=_YAW, pitch=_PITCH)
        view = replace(view, distance=_MARGIN * view.distance)
        picture = path.with_suffix('.png')
        write_image(picture, np.hstack([
            render_cloud(seen, colours, *_PICTURE_SIZE, view=view, point_size=self._voxel_size)
            for colours in (fused.cloud.rgb, label_colours(fused.cloud.labels))]))
        return picture

    def names(self, fused: FusedCloud) -> dict[int, str]:
        """Return the name of each id of the map, '' where it has none."""
        named = {row['id']: row['name'] for row in self._names.rows()} if self._names else {}
        ids = distinct_labels(fused.cloud.labels).tolist()
        return {number: named.get(number, '') for number in ids if number != UNLABELLED}

    def report(self, fused: FusedCloud) -> dict[str, Any]:
        """Return the counts of the map and how well its frames agree."""
        labels = fused.cloud.labels
        labelled = labels != UNLABELLED
        pipeline = self._pipeline
        often_seen = self._agreement_map.extract(_AGREEMENT_FRAMES)
        agreement = (float(np.average(often_seen.confidence, weights=often_seen.observations))
                     if len(often_seen.observations) else None)
        return {
            'frames': self._frames, 'frames_without_pose': self._without_pose,
            'frames_without_depth': self._without_depth,
            'points': len(labels), 'points_fused': self._fused_points,
            'voxels': len(self._map), 'voxel_size': self._voxel_size,
            'labels': len(np.unique(labels[labelled])),
            'unlabelled_share': float(1 - labelled.mean()),
            'confidence': float(fused.confidence.mean()),
            'observations': float(fused.observations.mean()),
            'voxel_agreement': agreement,
            'map_mb': self._map.bytes_used / 1e6,
            'tracks': pipeline.track_count if pipeline else 0,
            **(pipeline.model if pipeline else {'device': '', 'model': ''}),
            **(pipeline.naming if pipeline else {}),
            **self._depth_report(),
            **({'names': self._names.rows()} if self._names is not None else {})}

    def _predicted(self, key: str) -> str:
        """Return what the pipeline reports of predicted depth, '' where it is off."""
        return self._pipeline.depth.get(key, '') if self._pipeline else ''

    def _depth_report(self) -> dict[str, Any]:
        """Return how depth was predicted, nothing where it was not."""
        if self._pipeline is None or not self._pipeline.depth:
            return {}
        shares = self._predicted_shares or [0.0]
        return {'depth': self._pipeline.depth, 'predicted_share': float(np.mean(shares))}
