"""Centroid and oriented 3-D box of each segment."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
import math

import cv2
from diffseg_ros.geometry.label_images import first_members
from diffseg_ros.geometry.point_cloud import CloudConfig, label_points
from diffseg_ros.geometry.transforms import quaternion_from_pose
from diffseg_ros.types import DepthImage, Frame, LabelImage
import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

_GRID = 240
_DEPTH_STEP = 0.05


@dataclass(frozen=True)
class SegmentBox:
    """
    Position and size of a segment, in metres in the camera's optical frame.

    Attributes
    ----------
    centroid
        (3,) mean of the segment's points.
    centre
        (3,) middle of the box.
    size
        (3,) lengths of the box along its own axes.
    rotation
        (3, 3) whose columns are the box's axes, right-handed.
    points
        Number of pixels with depth that the box stands for.

    """

    id: int
    centroid: Vector
    centre: Vector
    size: Vector
    rotation: npt.NDArray[np.float64]
    points: int

    @property
    def quaternion(self) -> tuple[float, float, float, float]:
        """The rotation as x y z w."""
        return quaternion_from_pose(self.rotation)

    @property
    def corners(self) -> Vector:
        """(8, 3) corners."""
        signs = np.array(list(product((-0.5, 0.5), repeat=3)))
        return self.centre + signs * self.size @ self.rotation.T


def segment_boxes(frame: Frame, labels: LabelImage, config: CloudConfig | None = None, *,
                  min_points: int = 40) -> list[SegmentBox]:
    """
    Return a box for each segment, in the order of their ids.

    Only a segment's largest connected surface counts: pixels joined by neighbours of the same
    id without a step in depth. Wrong pixels at its rim and behind it change nothing. Segments
    whose largest surface has fewer than `min_points` pixels get no box. The z axis of a box is
    the direction in which the points spread least, towards the camera.

    Arguments and errors are those of `labelled_cloud`; neither the form of the cloud nor its
    voxel size matters.
    """
    step = max(1, -(-max(labels.shape) // _GRID))
    planes = label_points(frame, labels, config,
                          grid=np.s_[step // 2::step, step // 2::step])
    ids = labels[step // 2::step, step // 2::step]
    surfaces = _surfaces(ids, planes[2]).ravel()
    sizes = np.bincount(surfaces)
    sizes[0] = 0
    kept = np.flatnonzero(sizes >= max(1, min_points / step**2))
    first = first_members(surfaces)[kept]
    owners = ids.ravel()[first]
    order = np.lexsort((first, -sizes[kept], owners))
    numbers, best = np.unique(owners[order], return_index=True)
    largest = kept[order[best]]
    points = np.stack(planes).reshape(3, -1)
    by_surface = np.argsort(surfaces, kind='stable')
    starts = np.searchsorted(surfaces, largest, sorter=by_surface)
    return [_box(number, points[:, by_surface[start:end]].astype(np.float64), step**2)
            for number, start, end in zip(numbers.tolist(), starts, starts + sizes[largest])]


def _surfaces(ids: LabelImage, depth: DepthImage) -> npt.NDArray[np.int32]:
    """Return (H, W) numbers of connected surfaces, from 1; 0 where there is no id or depth."""
    # Pixels lie at the even places of an image of twice the size, links between them at the
    # odd ones: connected components of that binary image are those of the linked pixels.
    height, width = ids.shape
    linked = np.zeros((2 * height - 1, 2 * width - 1), np.uint8)
    linked[::2, ::2] = (ids >= 0) & (depth > 0)
    for links, one, other in ((linked[::2, 1::2], np.s_[:, :-1], np.s_[:, 1:]),
                              (linked[1::2, ::2], np.s_[:-1], np.s_[1:])):
        step = np.abs(depth[one] - depth[other])
        links[:] = ((ids[one] == ids[other]) & (ids[one] >= 0)
                    & (step < _DEPTH_STEP * np.minimum(depth[one], depth[other])))
    return cv2.connectedComponents(linked, connectivity=4, ltype=cv2.CV_32S)[1][::2, ::2]


def _box(number: int, points: Vector, pixels_each: int) -> SegmentBox:
    """Return the box of (3, N) points, each of which stands for some pixels."""
    centroid = points.mean(axis=1)
    centred = points - centroid[:, None]
    axes = np.linalg.eigh(centred @ centred.T)[1]
    z = axes[:, 0] if axes[:, 0] @ centroid < 0 else -axes[:, 0]
    plane = axes[:, 1:]
    # About z the box is turned to the rectangle of least area.
    angle = math.radians(cv2.minAreaRect((centred.T @ plane).astype(np.float32))[2])
    turned = plane @ [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    # Of the two axes the one nearer to the image's rows is x: boxes do not turn about as one
    # side grows longer than the other.
    x = turned[:, np.abs(turned[0]).argmax()]
    x = x if x[0] > 0 else -x
    rotation = np.column_stack([x, np.cross(z, x), z])
    local = rotation.T @ centred
    low, high = local.min(axis=1), local.max(axis=1)
    return SegmentBox(number, centroid, centroid + rotation @ (low + high) / 2, high - low,
                      rotation, points.shape[1] * pixels_each)
