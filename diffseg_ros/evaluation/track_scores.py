"""All measures of one sequence of label images, frame by frame, in one report."""

from __future__ import annotations

import math
from typing import Any

from diffseg_ros.evaluation.contingency import contingency, LabelArray
from diffseg_ros.evaluation.flips import FlipAccumulator
from diffseg_ros.evaluation.hota import HotaAccumulator
from diffseg_ros.evaluation.label_statistics import LabelStatistics
from diffseg_ros.evaluation.masks import table_miou
from diffseg_ros.evaluation.switches import SwitchAccumulator
from diffseg_ros.evaluation.tracks import IdentityAccumulator
from diffseg_ros.evaluation.tubes import TubeAccumulator
from diffseg_ros.evaluation.voxels import VoxelAccumulator
from diffseg_ros.geometry.point_cloud import labelled_cloud
from diffseg_ros.io.sequence_folder import IGNORED_INSTANCE
from diffseg_ros.types import Frame
import numpy as np
import numpy.typing as npt


class TrackScores:
    """
    Scores a sequence; what a frame lacks (truth, depth, pose) leaves its measures out.

    No image is kept but the last frame's, so that memory hardly grows with the frames.

    Attributes
    ----------
    switches
        Where objects changed from one track to another.

    """

    def __init__(self, *, background: int | None = None) -> None:
        """Begin an empty sequence; `background` is the id of the truth that is no object."""
        self._background = background
        self._statistics = LabelStatistics()
        self._regions: list[float] = []
        self.switches = SwitchAccumulator(background=background)
        self._tubes = TubeAccumulator(background=background)
        self._identities = IdentityAccumulator(background=background)
        self._hota = HotaAccumulator(background=background)
        self._flips = FlipAccumulator()
        self._voxels = VoxelAccumulator()

    def add(self, frame: Frame, labels: npt.NDArray[np.int32],
            truth: LabelArray | None = None) -> None:
        """
        Score one frame.

        Parameters
        ----------
        frame
            Its depth, intrinsics and pose are what labels are warped by.
        labels
            (H, W) int32 persistent ids, UNLABELLED (-1) where there is none.
        truth
            (H, W) integer instance ids, 65535 = not scored, or None.

        Raises
        ------
        DiffsegError
            Labels and truth differ in size, or the camera's distortion is not supported.

        """
        self._statistics.add(labels)
        if truth is not None:
            table = contingency(labels, truth, IGNORED_INSTANCE)
            self._regions.append(table_miou(table, self._background))
            for measure in (self._tubes, self._identities, self._hota, self.switches):
                measure.add_table(table)
        if frame.depth is None or frame.intrinsics is None or frame.pose is None:
            self._flips.skip()
            return
        cloud = labelled_cloud(frame, labels)
        self._flips.add(cloud, frame.intrinsics, frame.pose)
        self._voxels.add(cloud, frame.pose)

    def begin_epoch(self) -> None:
        """Take note that the next frame does not follow the last: ids begin anew."""
        self._flips.skip()

    def report(self) -> dict[str, Any]:
        """
        Return the measures by name, None where the sequence lacks what one needs.

        stq, sq, aq, idf1, hota, miou, best_track_iou, flip_rate, compared_share,
        voxel_agreement, id_switches, frames, tracks, tracks_per_frame, largest_share,
        unlabelled_share.
        """
        known = [value for value in self._regions if not math.isnan(value)]
        quality = float(np.mean(known)) if known else None
        association = self._tubes.association_quality()
        both = None if quality is None or association is None else quality * association
        truth = bool(self._regions)
        return {'stq': None if both is None else math.sqrt(both),
                'sq': quality, 'aq': association,
                'idf1': self._identities.idf1() if truth else None,
                'hota': self._hota.hota() if truth else None,
                'miou': quality,
                'best_track_iou': self._tubes.best_track_iou(),
                'flip_rate': self._flips.flip_rate(),
                'compared_share': self._flips.compared_share(),
                'voxel_agreement': self._voxels.agreement(),
                'id_switches': len(self.switches.found) if truth else None,
                **self._statistics.report()}
