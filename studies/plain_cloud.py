"""Labelled points as Open3D makes them, to check and to time this package's way against."""

from __future__ import annotations

from typing import Any

from diffseg_ros.types import Frame
import numpy as np
import numpy.typing as npt
import open3d

_POINT = np.dtype([('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('rgb', '<u4'), ('label', '<u4'),
                   ('instance_id', '<u4')])


def plain_points(frame: Frame, values: npt.NDArray[np.integer]) -> npt.NDArray[np.void]:
    """
    Return the organised points of a frame, (H, W) in a structured array.

    The frame needs depth of the image's size and a camera without distortion; `values` are the
    (H, W) label values.
    """
    assert frame.depth is not None and frame.intrinsics is not None
    height, width = values.shape
    k = frame.intrinsics
    image: Any = open3d.geometry.Image
    rgbd = open3d.geometry.RGBDImage.create_from_color_and_depth(
        image(frame.rgb), image(frame.depth), depth_scale=1.0, depth_trunc=1e3,
        convert_rgb_to_intensity=False)
    camera = open3d.camera.PinholeCameraIntrinsic(width, height, k.fx, k.fy, k.cx, k.cy)
    cloud = open3d.geometry.PointCloud.create_from_rgbd_image(
        rgbd, camera, project_valid_depth_only=False)
    rgb = (np.asarray(cloud.colors) * 255).round().astype(np.uint32)
    points = np.empty(height * width, _POINT)
    points['x'], points['y'], points['z'] = np.asarray(cloud.points).T
    points['rgb'] = rgb[:, 0] << 16 | rgb[:, 1] << 8 | rgb[:, 2]
    points['label'] = points['instance_id'] = values.ravel()
    return points.reshape(height, width)
