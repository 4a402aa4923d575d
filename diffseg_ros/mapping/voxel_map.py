"""Labelled clouds fused into voxels, on Open3D's hash map."""

from __future__ import annotations

from dataclasses import dataclass

from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.label_images import first_members
from diffseg_ros.geometry.point_cloud import LabelledCloud
from diffseg_ros.geometry.voxels import group_means, majority, voxel_keys, voxel_numbers
from diffseg_ros.types import Matrix, UNLABELLED
import numpy as np
import numpy.typing as npt
from open3d import core

_CANDIDATES = 8
_FIRST_CAPACITY = 1 << 16


@dataclass(frozen=True)
class FusedCloud:
    """
    The content of a VoxelMap: one point per voxel, in the world frame.

    Attributes
    ----------
    cloud
        A list: mean position, colour and confidence of depth, and the label with most votes,
        UNLABELLED (-1) where there was no vote.
    confidence
        (N,) float32: share of the frames that saw the voxel which voted for its label, 0 to 1.
    observations
        (N,) int32 number of frames that saw the voxel.

    """

    cloud: LabelledCloud
    confidence: npt.NDArray[np.float32]
    observations: npt.NDArray[np.int32]


class VoxelMap:
    """
    Voxels, of a side in metres, that remember position, colour and label votes of their points.

    A frame adds one observation to every voxel that it has points in: their mean position,
    their mean colour, and a vote for the label that most of them carry; a majority of points
    without a label votes for none. Each voxel counts the votes for 8 labels; one label more
    takes over the counter with the fewest votes, which keeps every label with more than an
    eighth of the votes. Source of that rule: Metwally et al., "Efficient Computation of Frequent
    and Top-k Elements in Data Streams", 2005. With `predicted` the confidence of depth is kept
    too.
    """

    def __init__(self, voxel_size: float, *, predicted: bool = False) -> None:
        if not 0 < voxel_size < np.inf:
            raise DiffsegError(f'map: voxels of {voxel_size:g} m; a size above 0 is needed')
        self._size = voxel_size
        self._predicted = predicted
        # Sums of position in the voxel, colour and confidence of depth, observations, candidate
        # labels, their votes.
        sizes = (6 + predicted, 1, _CANDIDATES, _CANDIDATES)
        self._voxels = core.HashMap(
            _FIRST_CAPACITY, core.int32, core.SizeVector([3]),
            [core.float32, core.int32, core.int32, core.int32],
            [core.SizeVector([size]) for size in sizes])

    def __len__(self) -> int:
        return int(self._voxels.size())

    @property
    def bytes_used(self) -> int:
        """Memory of the voxels, room for growth included."""
        return sum(tensor.numpy().nbytes for tensor in (self._voxels.key_tensor(),
                                                        *self._voxels.value_tensors()))

    def add(self, cloud: LabelledCloud, pose: Matrix) -> int:
        """
        Fuse one frame, a cloud in the optical frame, and return how many points it had.

        `pose` is the (4, 4) camera-to-world transform. Raises DiffsegError when it is not
        finite, or a point lies too far from the origin.
        """
        if not np.isfinite(pose).all():
            raise DiffsegError('map: the pose holds NaN or infinity; a finite camera-to-world '
                               'transform is needed')
        listed = cloud.compact()
        world = listed.points @ pose[:3, :3].T + pose[:3, 3]
        keys = voxel_keys(world, self._size)
        numbers, count = voxel_numbers(keys)
        if not count:
            return 0
        seen = np.concatenate([world - keys * self._size, listed.rgb], axis=1)
        if self._predicted:
            sure = np.ones(len(world)) if listed.confidence is None else listed.confidence
            seen = np.column_stack([seen, sure])
        self._observe(keys[first_members(numbers)], group_means(numbers, count, seen),
                      majority(numbers, count, listed.labels))
        return len(world)

    def _observe(self, keys: npt.NDArray[np.int32], means: npt.NDArray[np.float64],
                 labels: npt.NDArray[np.int32]) -> None:
        tensor = core.Tensor.from_numpy(keys)
        fresh = self._voxels.activate(tensor)[1].numpy()
        slots = self._voxels.find(tensor)[0].numpy().astype(np.intp)
        sums, observations, candidates, votes = self._values()
        for values in (sums, observations, votes):
            values[slots[fresh]] = 0
        candidates[slots[fresh]] = UNLABELLED
        sums[slots] += means.astype(np.float32)
        observations[slots] += 1
        voting = labels != UNLABELLED
        slots, labels = slots[voting], labels[voting]
        match = candidates[slots] == labels[:, None]
        place = np.where(match.any(axis=1), match.argmax(axis=1), votes[slots].argmin(axis=1))
        candidates[slots, place] = labels
        votes[slots, place] += 1

    def _values(self) -> list[npt.NDArray]:
        return [tensor.numpy() for tensor in self._voxels.value_tensors()]

    def extract(self, min_observations: int = 1) -> FusedCloud:
        """Return the voxels seen in at least `min_observations` frames, sorted by position."""
        slots = self._voxels.active_buf_indices().numpy().astype(np.intp)
        sums, observations, candidates, votes = self._values()
        slots = slots[observations[slots, 0] >= min_observations]
        keys = self._voxels.key_tensor().numpy()[slots]
        order = np.lexsort(keys.T[::-1])
        slots, keys = slots[order], keys[order]
        seen = observations[slots]
        means = sums[slots] / seen
        most = votes[slots].max(axis=1, initial=0)
        # Of two labels with as many votes the lower wins.
        tied = np.where(votes[slots] == most[:, None], candidates[slots], np.iinfo(np.int32).max)
        labels = np.where(most > 0, tied.min(axis=1, initial=np.iinfo(np.int32).max), UNLABELLED)
        cloud = LabelledCloud((keys * self._size + means[:, :3]).astype(np.float32),
                              np.rint(means[:, 3:6]).clip(0, 255).astype(np.uint8),
                              labels.astype(np.int32),
                              means[:, 6].astype(np.float32) if self._predicted else None)
        share = np.minimum(most / np.maximum(seen[:, 0], 1), 1).astype(np.float32)
        return FusedCloud(cloud, share, seen[:, 0].copy())
