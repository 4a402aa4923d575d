"""The plane that an object stands on, or hangs at, in what its views show around it."""

from __future__ import annotations

from diffseg_ros.geometry.camera import unproject_pixels
from diffseg_ros.mapping.object_surface import MeasuredObject
from diffseg_ros.mapping.object_views import ObjectView, Points
import numpy as np
import numpy.typing as npt

_REACH = 0.75
"""Distance from the object's middle within which its support is looked for, in diagonals."""
_SAMPLE, _TRIPLES = 2000, 300
_LEAST_SHARE = 0.25
_REFITS = 3
_HIDDEN = 0.5
"""Share of the object's height by which what is seen of it may end above its support."""


def support_normal(measured: MeasuredObject) -> npt.NDArray[np.float64] | None:
    """
    Return the (3,) unit normal, towards the object, of the plane that touches it from one side.

    None where no plane holds a quarter of what lies around the object. Source: Fischler and
    Bolles, "Random sample consensus", 1981.
    """
    vertices = measured.surface.vertices
    reach = _REACH * float(np.linalg.norm(np.ptp(vertices, axis=0)))
    around = np.concatenate([_around(view, reach) for view in measured.views])
    if len(around) < 3:
        return None
    rng = np.random.default_rng(0)
    around = around[rng.permutation(len(around))[:_SAMPLE]]
    near = measured.voxel + measured.noise
    a, b, c = around[rng.integers(len(around), size=(3, _TRIPLES))]
    normals = np.cross(b - a, c - a)
    length = np.linalg.norm(normals, axis=1)
    normals = normals[length > 0] / length[length > 0, None]
    offsets = (normals * a[length > 0]).sum(axis=1)
    shares = (np.abs(around @ normals.T - offsets) < near).mean(axis=0)
    for index in np.argsort(-shares, kind='stable').tolist():
        if shares[index] < _LEAST_SHARE:
            break
        normal, offset = _refit(normals[index], offsets[index], around, near)
        heights = vertices @ normal - offset
        if np.median(heights) < 0:
            normal, heights = -normal, -heights
        low, high = np.percentile(heights, [2, 98])
        # The lowest part of a round thing is hidden.
        if -near < low < near + _HIDDEN * (high - low):
            return normal
    return None


def _around(view: ObjectView, reach: float) -> Points:
    """Return what a view measured around an object at the origin, but not of it."""
    rows, columns = np.nonzero(~view.mask & np.isfinite(view.depth))
    points = unproject_pixels(view.depth, view.intrinsics, rows, columns)
    world = points @ view.pose[:3, :3].T + view.pose[:3, 3]
    return world[np.linalg.norm(world, axis=1) < reach]


def _refit(normal: npt.NDArray[np.float64], offset: float, points: Points, near: float
           ) -> tuple[npt.NDArray[np.float64], float]:
    """Return the plane of least squares through the points near a plane."""
    for _ in range(_REFITS):
        inside = points[np.abs(points @ normal - offset) < near]
        if len(inside) < 3:
            break
        middle = inside.mean(axis=0)
        normal = np.linalg.eigh(np.cov(inside.T))[1][:, 0]
        offset = float(normal @ middle)
    return normal, offset
