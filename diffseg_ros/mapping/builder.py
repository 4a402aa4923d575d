"""From frames to one labelled map."""

from __future__ import annotations

from typing import Any

from diffseg_ros.backbones.base import Backbone
from diffseg_ros.config import PipelineConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.point_cloud import labelled_cloud
from diffseg_ros.mapping.odometry import RgbdOdometry
from diffseg_ros.mapping.voxel_map import FusedCloud, VoxelMap
from diffseg_ros.pipeline import Pipeline
from diffseg_ros.types import Frame, Matrix, UNLABELLED
import numpy as np

_AGREEMENT_VOXEL = 0.05
_AGREEMENT_FRAMES = 3


class MapBuilder:
    """
    Segments and tracks frames, and fuses their labelled clouds.

    Attributes
    ----------
    frames
        Number of frames in the map.
    failed
        Number of frames that could not be used at all; counted by the caller.
    without_pose, without_depth
        Number of frames that lacked what a map needs.
    first_pose
        (4, 4) camera-to-world transform of the first frame in the map.

    """

    def __init__(self, config: PipelineConfig, voxel_size: float, *, odometry: bool = False,
                 backbone: Backbone | None = None) -> None:
        """
        Begin an empty map; the model is loaded when the first usable frame comes.

        `voxel_size` is in metres. With `odometry` poses are estimated from the images and depth
        instead of read; `backbone` is used in place of the one that `config` names.
        """
        self._map = VoxelMap(voxel_size)
        self._agreement_map = VoxelMap(_AGREEMENT_VOXEL)
        self._voxel_size = voxel_size
        self._config = config
        self._backbone = backbone
        self._pipeline: Pipeline | None = None
        self._odometry = RgbdOdometry(config.cloud.max_depth) if odometry else None
        self.frames = self.failed = self.without_pose = self.without_depth = 0
        self._fused_points = 0
        self.first_pose: Matrix = np.eye(4)

    def add(self, frame: Frame) -> None:
        """
        Track one frame and fuse its cloud; what it lacks for that is counted.

        Frames before the first with depth and pose are skipped. After a time jump tracks are
        forgotten, but the map stays. Raises DiffsegError when the frame cannot be segmented or
        unprojected, or the model cannot be loaded.
        """
        measured = frame.depth is not None and frame.intrinsics is not None
        self.without_depth += not measured
        pose = frame.pose
        if self._odometry is not None:
            pose = self._odometry.pose(frame) if measured else None
        self.without_pose += measured and pose is None
        usable = measured and pose is not None
        if self._pipeline is None:
            if not usable:
                return
            self._pipeline = Pipeline(self._config, backbone=self._backbone)
        labels = self._pipeline.process(frame).labels
        if not usable or pose is None:
            return
        cloud = labelled_cloud(frame, labels, self._config.cloud)
        self._fused_points += self._map.add(cloud, pose)
        self._agreement_map.add(cloud, pose)
        if not self.frames:
            self.first_pose = pose
        self.frames += 1

    def fused(self, source: str, min_observations: int) -> FusedCloud:
        """
        Return the voxels that at least `min_observations` frames observed.

        Raises DiffsegError when there are none; it names what `source` lacks.
        """
        if not self.frames:
            raise DiffsegError(f'{source}: {self._reason_for_no_map()}')
        fused = self._map.extract(min_observations)
        if not len(fused.observations):
            raise DiffsegError(f'{source}: none of {len(self._map)} voxels was seen in '
                               f'{min_observations} of {self.frames} frames; lower '
                               '--min-observations, or use more frames')
        return fused

    def _reason_for_no_map(self) -> str:
        if self.without_pose:
            if self._odometry is not None:
                return 'odometry found no camera motion; give a recording with poses'
            return ('no frame has a pose, and a map needs them; a sequence folder has them in '
                    'poses.txt, a bag in /tf from a fixed frame (map, odom, world) to the '
                    'camera; or estimate them with --odometry')
        if self.without_depth:
            return ('no frame has depth and intrinsics, and a map needs them; a sequence folder '
                    'has them in depth/ and camera.json, a bag in a registered depth topic and '
                    'its camera_info')
        return f'none of {self.failed} frames could be used'

    def report(self, fused: FusedCloud) -> dict[str, Any]:
        """Return the counts of the map and how well its frames agree."""
        labels = fused.cloud.labels
        labelled = labels != UNLABELLED
        pipeline = self._pipeline
        return {
            'frames': self.frames, 'frames_failed': self.failed,
            'frames_without_pose': self.without_pose,
            'frames_without_depth': self.without_depth,
            'points': len(labels), 'points_fused': self._fused_points,
            'voxels': len(self._map), 'voxel_size': self._voxel_size,
            'labels': len(np.unique(labels[labelled])),
            'unlabelled_share': float(1 - labelled.mean()),
            'confidence': float(fused.confidence.mean()),
            'observations': float(fused.observations.mean()),
            'voxel_agreement': self._agreement_map.extract(_AGREEMENT_FRAMES).agreement,
            'map_mb': self._map.bytes_used / 1e6,
            'tracks': pipeline.track_count if pipeline else 0,
            'device': str(pipeline.backbone.device) if pipeline else '',
            'model': pipeline.backbone.name if pipeline else ''}
