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
_LARGEST_RESIDUAL, _INLIER = 0.1, 2.5
_FAR, _LEAST_FAR = 2.0, 0.15


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
    the ground, and these must fit it to 10 %. Where a table is taken for the ground, all is too
    far. Two things tell it, and give None: more than 5 % of the pixels come to lie 15 % deeper
    than the ground; or it ends, as tables do: of the pixels that look farther than two camera
    heights less than 15 % agree, or there are none. A table that goes on farther than that cannot
    be told from the ground.
    """
    known = known_from_ground(intrinsics, (len(values), values.shape[1]), height, up)
    found = align(values, kind, known)
    if found is None or not found.residual <= _LARGEST_RESIDUAL:
        return None
    share = to_metres(values, kind, found)[known.rows, known.columns] / known.metres
    far = known.metres > _FAR * height
    if not far.any() or np.mean(share > _BELOW) > _MOST_BELOW:
        return None
    on_ground = np.abs(share[far] - 1) <= _INLIER * found.residual
    return found if on_ground.mean() >= _LEAST_FAR else None
