"""Whether saved places are where the camera is: remembered surfaces against the depth seen."""

from __future__ import annotations

from enum import Enum

from diffseg_ros.geometry.camera import project
from diffseg_ros.tracking.tracking_frame import TrackingFrame
from diffseg_ros.tracking.warp import places_in_view, RELATIVE_TOLERANCE
from diffseg_ros.tracking.world_map import Position, VOXEL_SIZE, VoxelLabels
from diffseg_ros.types import Matrix
import numpy as np

_NEAREST = 0.3
_LEAST_VOXELS = 10
_MOST_VOXELS = 2**14
_LEAST_TRACKS = 4
_FOUND_SHARE, _REFUSED_SHARE = 0.8, 0.5
_LEAST_SPREAD = 0.08
_REFUSALS = 30


class PlaceState(str, Enum):
    """What is known of saved places: nothing yet, that they are here, or that they are not."""

    UNKNOWN = 'unknown'
    FOUND = 'found'
    REFUSED = 'refused'


class SavedPlaces:
    """
    Places of a saved memory, until the camera shows whether they are here.

    `voxels` and `positions`, of tracks by their numbers, are in the world `fixed_frame`.
    """

    def __init__(self, fixed_frame: str, voxels: VoxelLabels,
                 positions: dict[int, Position]) -> None:
        self.fixed_frame, self.voxels, self.positions = fixed_frame, voxels, positions
        self.state = PlaceState.UNKNOWN
        self._refusals = 0
        # Enough to tell, for every frame until then: they are in random order.
        step = -(-len(voxels.ids) // _MOST_VOXELS) or 1
        self._sample = VoxelLabels(voxels.keys[::step], voxels.ids[::step],
                                   voxels.votes[::step])

    def check(self, frame: TrackingFrame) -> bool:
        """
        Take in a frame; return whether it is the first to show that the places are here.

        In it four fifths of at least four remembered tracks have their surface where it was, and
        not all in one plane: most places have a floor at the same height. 30 frames in which less
        than half have are another place.
        """
        if (self.state is not PlaceState.UNKNOWN or frame.pose is None or not frame.has_points
                or not self.fixed_frame or frame.fixed_frame != self.fixed_frame):
            return False
        met, seen, spread = compare_surfaces(self._sample, frame, frame.pose)
        if seen < _LEAST_TRACKS:
            return False
        if met >= _FOUND_SHARE * seen and spread >= _LEAST_SPREAD:
            self.state = PlaceState.FOUND
            return True
        self._refusals += met < _REFUSED_SHARE * seen
        if self._refusals >= _REFUSALS:
            self.state = PlaceState.REFUSED
        return False


def compare_surfaces(voxels: VoxelLabels, frame: TrackingFrame,
                     pose: Matrix) -> tuple[int, int, float]:
    """
    Return how many ids have their surface where it was, how many one sees, and a spread.

    A voxel is seen if it lies in the image and nothing stands before it; it agrees if the depth
    seen there is its own, and is gone if one sees through it. Each id counts once, as floors and
    walls would outweigh all others. The spread is the standard deviation, in metres, of the
    voxels that agree across the plane that fits them best.
    """
    assert frame.depth is not None and frame.intrinsics is not None
    towards, centres = np.linalg.inv(pose), voxels.centres()
    x, y, z = (centres @ towards[:3, :3].T + towards[:3, 3]).astype(np.float32).T
    columns, rows = project(x, y, z, frame.intrinsics)
    index, inside = places_in_view(columns, rows, z, frame.shape, _NEAREST)
    behind = frame.depth.take(index[inside]) - z[inside]
    tolerance = VOXEL_SIZE + RELATIVE_TOLERANCE * z[inside]
    seen, agrees = behind >= -tolerance, np.abs(behind) <= tolerance
    group = np.unique(voxels.ids[inside][seen], return_inverse=True)[1]
    total, agree = np.bincount(group), np.bincount(group, agrees[seen])
    enough = total >= _LEAST_VOXELS
    points = centres[inside][agrees]
    spread = (float(np.sqrt(max(0.0, np.linalg.eigvalsh(np.cov(points.T))[0])))
              if len(points) > _LEAST_VOXELS else 0.0)
    return (int(np.count_nonzero(enough & (2 * agree >= total))), int(np.count_nonzero(enough)),
            spread)
