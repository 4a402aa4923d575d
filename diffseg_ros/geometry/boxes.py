"""Centroid and oriented 3-D box of each segment."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
from diffseg_ros.geometry.label_images import first_members
from diffseg_ros.geometry.point_cloud import CloudConfig, label_points
from diffseg_ros.geometry.transforms import quaternion_from_pose
from diffseg_ros.types import DepthImage, Frame, LabelImage, Mask
import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

# A grid of 240 x 240 has fewer segments than 16 bits have values, and those sort fast.
_GRID = 240
_NOWHERE = np.uint16(65535)
_DEPTH_STEP = 0.05
_ROWS, _COLUMNS = np.triu_indices(3)
_SYMMETRIC = [0, 1, 2, 1, 3, 4, 2, 4, 5]


@dataclass(frozen=True)
class SegmentBox:
    """
    Position and size of a segment.

    All lengths are metres, in the camera's optical frame (x right, y down, z forward).

    Attributes
    ----------
    id
        Of the segment.
    centroid
        (3,) mean of its points.
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
        signs = np.array(np.meshgrid((-0.5, 0.5), (-0.5, 0.5), (-0.5, 0.5),
                                     indexing='ij')).reshape(3, 8).T
        return self.centre + signs * self.size @ self.rotation.T


def segment_boxes(frame: Frame, labels: LabelImage, config: CloudConfig | None = None, *,
                  min_points: int = 40) -> list[SegmentBox]:
    """
    Return a box for each segment, in the order of their ids.

    Only a segment's largest connected surface counts: pixels joined by neighbours of the same
    id without a step in depth. Wrong pixels at its rim and behind it change nothing. The box's
    z axis is the direction in which the points spread least, towards the camera.

    Parameters
    ----------
    frame, labels, config
        As for `labelled_cloud`; neither the form of the cloud nor the voxel size matters.
    min_points
        Segments whose largest surface has fewer pixels get no box.

    Raises
    ------
    DiffsegError
        As `labelled_cloud`.

    """
    step = max(1, -(-max(labels.shape) // _GRID))
    points = label_points(frame, labels, config, step=step)
    ids = labels[step // 2::step, step // 2::step]
    surfaces = _largest_surfaces(ids, points[2], -(-min_points // step**2)).ravel()
    chosen = np.flatnonzero(surfaces != _NOWHERE)
    if not chosen.size:
        return []
    chosen = chosen[np.argsort(surfaces[chosen], kind='stable')]
    starts = np.flatnonzero(np.diff(surfaces[chosen], prepend=_NOWHERE))
    pixels = np.diff(starts, append=chosen.size)
    listed = np.stack([axis.ravel()[chosen] for axis in points]).astype(np.float64)
    centroids = np.add.reduceat(listed, starts, axis=1) / pixels
    centred = listed - np.repeat(centroids, pixels, axis=1)
    axes = _turned(_spread_axes(centred, starts, centroids), centred, starts)
    local = _along(axes, centred, starts)
    low = np.minimum.reduceat(local, starts, axis=1).T
    high = np.maximum.reduceat(local, starts, axis=1).T
    middles = centroids.T + np.einsum('kij,ki->kj', axes, (low + high) / 2)
    owners = ids.ravel()[chosen[starts]].tolist()
    return [SegmentBox(*values) for values in zip(
        owners, centroids.T, middles, high - low, axes.swapaxes(1, 2),
        (pixels * step**2).tolist())]


def _largest_surfaces(ids: LabelImage, depth: DepthImage, fewest: int
                      ) -> npt.NDArray[np.uint16]:
    """Return for each pixel the rank of its id if it is on that id's largest surface."""
    surfaces = _surfaces(ids, depth)
    sizes = np.bincount(surfaces.ravel())
    sizes[0] = 0
    kept = np.flatnonzero(sizes >= max(fewest, 1))
    first = first_members(surfaces)[kept]
    owner = ids.ravel()[first]
    order = np.lexsort((first, -sizes[kept], owner))
    largest = order[np.flatnonzero(np.diff(owner[order].astype(np.int64), prepend=-2))]
    rank = np.full(len(sizes), _NOWHERE, np.uint16)
    rank[kept[largest]] = np.arange(len(largest))
    return rank[surfaces]


def _surfaces(ids: LabelImage, depth: DepthImage) -> npt.NDArray[np.int32]:
    """Return the number, from 1, of each connected surface; 0 where there is no id or depth."""
    # Pixels lie at the even places of an image of twice the size, links between them at the
    # odd ones: connected components of that binary image are those of the linked pixels.
    height, width = ids.shape
    linked = np.zeros((2 * height - 1, 2 * width - 1), np.uint8)
    linked[::2, ::2] = (ids >= 0) & (depth > 0)
    linked[::2, 1::2] = _are_linked(ids[:, :-1], ids[:, 1:], depth[:, :-1], depth[:, 1:])
    linked[1::2, ::2] = _are_linked(ids[:-1], ids[1:], depth[:-1], depth[1:])
    return cv2.connectedComponents(linked, connectivity=4, ltype=cv2.CV_32S)[1][::2, ::2]


def _are_linked(ids: LabelImage, others: LabelImage, depth: DepthImage,
                other_depth: DepthImage) -> Mask:
    nearer = np.minimum(depth, other_depth)
    return (ids == others) & (ids >= 0) & (np.abs(depth - other_depth) < _DEPTH_STEP * nearer)


def _spread_axes(centred: Vector, starts: npt.NDArray[np.intp],
                 centroids: Vector) -> npt.NDArray[np.float64]:
    """Return (K, 3, 3) frames as rows, z where each segment's points spread least."""
    spread = np.add.reduceat(centred[_ROWS] * centred[_COLUMNS], starts, axis=1)
    vectors = np.linalg.eigh(spread[_SYMMETRIC].T.reshape(-1, 3, 3))[1]
    z = vectors[:, :, 0]
    z = z * np.where((z * centroids.T).sum(axis=1) > 0, -1.0, 1.0)[:, None]
    x = vectors[:, :, 2]
    return np.stack([x, np.cross(z, x), z], axis=1)


def _along(axes: npt.NDArray[np.float64], centred: Vector,
           starts: npt.NDArray[np.intp]) -> Vector:
    """Return the (3, N) points along the axes of their own segment."""
    local = np.empty_like(centred)
    for frame, first, end in zip(axes, starts, [*starts[1:], centred.shape[1]]):
        np.matmul(frame, centred[:, first:end], out=local[:, first:end])
    return local


def _turned(axes: npt.NDArray[np.float64], centred: Vector,
            starts: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    """Return the frames turned about their z axes to the rectangles of least area."""
    flat = np.ascontiguousarray(_along(axes, centred, starts)[:2].T, np.float32)
    angles = np.radians([cv2.minAreaRect(flat[first:end])[2]
                         for first, end in zip(starts, [*starts[1:], len(flat)])])
    cosine, sine = np.cos(angles)[:, None], np.sin(angles)[:, None]
    x = cosine * axes[:, 0] + sine * axes[:, 1]
    y = cosine * axes[:, 1] - sine * axes[:, 0]
    # Of the two axes the one nearer to the image's rows is x: boxes do not turn about as one
    # side grows longer than the other.
    x = np.where(np.abs(x[:, :1]) < np.abs(y[:, :1]), y, x)
    x = np.where(x[:, :1] < 0, -x, x)
    return np.stack([x, np.cross(axes[:, 2], x), axes[:, 2]], axis=1)
