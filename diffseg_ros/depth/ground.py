"""Known depth from the ground: how high the camera is above it, and where up is."""

from __future__ import annotations

from diffseg_ros.depth.alignment import align, Alignment, to_metres
from diffseg_ros.depth.base import DepthKind, KnownDepth
from diffseg_ros.geometry.camera import ray_table
from diffseg_ros.types import Intrinsics
import numpy as np
import numpy.typing as npt

_STEEPNESS = np.sin(np.deg2rad(15))
_GRID = 128
_BELOW, _MOST_BELOW = 1.15, 0.05
_LARGEST_RESIDUAL = 0.1


def known_from_ground(intrinsics: Intrinsics, shape: tuple[int, int], height: float,
                      up: npt.NDArray[np.floating]) -> KnownDepth:
    """
    Return the depth that pixels of an (H, W) image have if they show the ground.

    They are those that look at least 15 degrees below the horizon, which is up to 3.7 camera
    heights away: beyond, the depth of the ground hangs on fractions of a degree, and walls and
    things hide it. At most 128 rows and columns of large images are given; nothing where no pixel
    looks down so far. Where something stands on the ground, or there is none, the depth is wrong:
    see `align_to_ground`. `height` is that of the camera above the ground in metres, `up` a (3,)
    vector of any length in the camera's optical frame.

    Raises DiffsegError where the distortion model is not supported.
    """
    rows, columns = (np.arange(0, size, -(-size // _GRID)) for size in shape)
    tables = np.broadcast_arrays(*ray_table(intrinsics.resized(*shape[::-1])))
    x, y = (table[np.ix_(rows, columns)] for table in tables)
    right, down, ahead = up / np.linalg.norm(up)
    # Metres that a ray falls per metre along the optical axis.
    fall = -(right * x + down * y + ahead)
    row, column = np.nonzero((fall >= _STEEPNESS * np.sqrt(x * x + y * y + 1)) & (height > 0))
    return KnownDepth(rows[row], columns[column],
                      (height / fall[row, column]).astype(np.float32))


def align_to_ground(values: npt.NDArray[np.float32], kind: DepthKind, intrinsics: Intrinsics,
                    height: float, up: npt.NDArray[np.floating]) -> Alignment | None:
    """
    Return the scale and shift by which (H, W) predicted values lie on the ground, or None.

    For the rest see `known_from_ground` and `align`. Most of the pixels that look down must show
    the ground, and these must fit it to 10 %. None also where more than 5 % of the pixels come to
    lie 15 % deeper than the ground: then it was a table that was taken for it. A table that fills
    the lower half of the view cannot be told from the ground.
    """
    known = known_from_ground(intrinsics, (len(values), values.shape[1]), height, up)
    found = align(values, kind, known)
    if found is None or not found.residual <= _LARGEST_RESIDUAL:
        return None
    depth = to_metres(values, kind, found)[known.rows, known.columns] / known.metres
    return found if np.mean(depth > _BELOW) <= _MOST_BELOW else None
