"""The things that stand on a surface, from depth and camera."""

from __future__ import annotations

from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.label_images import resize_labels
from diffseg_ros.segmentation.convex_objects import convex_objects
from diffseg_ros.segmentation.occluded_parts import join_occluded
from diffseg_ros.segmentation.support_surfaces import clear_of_surfaces
from diffseg_ros.segmentation.token_points import token_points
from diffseg_ros.types import Frame, LabelImage

_WIDTH = 640


def table_objects(frame: Frame, regions: LabelImage) -> LabelImage:
    """
    Return (H, W) int32 objects from 0; UNLABELLED (-1) on support surfaces and without depth.

    `regions` (H, W) int32 from 0 are segments of the frame, the finer the better: their planes
    are the candidates for support surfaces. Raises DiffsegError if the frame has no depth or
    camera.
    """
    if frame.depth is None or frame.intrinsics is None:
        raise DiffsegError('objects: the frame has no depth or no camera; objects are found by '
                           'them (depth/ and camera.json of a data set)')
    height, full = regions.shape
    width = min(_WIDTH, full)
    size = round(height * width / full), width
    points = token_points(frame, *size)
    clear = clear_of_surfaces(points, resize_labels(regions, *size))
    return resize_labels(join_occluded(points, convex_objects(points, clear)), height, full)
