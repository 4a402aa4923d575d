"""Time from image, depth and labels to a filled PointCloud2, beside a plain way to do it."""

from __future__ import annotations

import array
from collections.abc import Callable, Iterable
import time
from typing import Any

import cv2
from diffseg_ros.types import Frame, Intrinsics
import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

SIZES = ((640, 480), (1280, 720))
"""Widths and heights that are timed."""

_SEGMENTS = 50
_POINT = np.dtype([('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('rgb', '<u4'), ('label', '<u4'),
                   ('instance_id', '<u4')])


def cloud_benchmark(sizes: Iterable[tuple[int, int]] = SIZES,
                    repetitions: int = 60) -> dict[str, dict[str, float]]:
    """
    Time both ways by turns on one core.

    Both begin with a frame and its ids and end with a PointCloud2 whose points carry the
    values of the label image; the lookup of these values is part of the time.

    Parameters
    ----------
    sizes
        Widths and heights in pixels.
    repetitions
        Frames per size and way.

    Returns
    -------
    dict
        By size as 'WIDTHxHEIGHT': milliseconds 'p50', 'p95' and 'min' of this package,
        'plain_p50' and 'plain_min' of `plain_points`, and 'ratio' of the medians, above 1
        where this package is faster.

    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1):
            return {f'{width}x{height}': _timed(width, height, repetitions)
                    for width, height in sizes}
    finally:
        cv2.setNumThreads(threads)


def plain_points(frame: Frame, values: npt.NDArray[np.integer]) -> npt.NDArray[np.void]:
    """
    Return the organised points as Open3D makes them, in a structured array.

    Parameters
    ----------
    frame
        With depth of the image's size and a camera without distortion.
    values
        (H, W) label values.

    """
    import open3d
    if frame.depth is None or frame.intrinsics is None:
        raise ValueError('plain_points: a frame with depth and intrinsics is needed')
    height, width = values.shape
    k = frame.intrinsics
    image: Any = open3d.geometry.Image
    rgbd = open3d.geometry.RGBDImage.create_from_color_and_depth(
        image(frame.rgb), image(frame.depth), depth_scale=1.0, depth_trunc=1e3,
        convert_rgb_to_intensity=False)
    camera = open3d.camera.PinholeCameraIntrinsic(width, height, k.fx, k.fy, k.cx, k.cy)
    cloud = open3d.geometry.PointCloud.create_from_rgbd_image(
        rgbd, camera, project_valid_depth_only=False)
    places = np.asarray(cloud.points)
    rgb = (np.asarray(cloud.colors) * 255).round().astype(np.uint32)
    points = np.empty(height * width, _POINT)
    points['x'], points['y'], points['z'] = places.T
    points['rgb'] = rgb[:, 0] << 16 | rgb[:, 1] << 8 | rgb[:, 2]
    points['label'] = points['instance_id'] = values.ravel()
    return points.reshape(height, width)


def scene(width: int, height: int) -> tuple[Frame, npt.NDArray[np.int32]]:
    """Return a frame of a floor and a wall with holes in its depth, and ids in tiles."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width]
    depth = np.minimum(1.2 * width / np.maximum(rows - height / 3, 1), 3.5).astype(np.float32)
    depth[rng.random(depth.shape) < 0.1] = np.nan
    rgb = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    focal = 0.85 * width
    frame = Frame(rgb, depth=depth, intrinsics=Intrinsics(
        width, height, focal, focal, width / 2 - 0.5, height / 2 - 0.5))
    return frame, (rows * 5 // height * (_SEGMENTS // 5)
                   + columns * (_SEGMENTS // 5) // width + 1).astype(np.int32)


def _timed(width: int, height: int, repetitions: int) -> dict[str, float]:
    from diffseg_ros.postprocessing.label_encoding import LabelEncoder
    from diffseg_ros.ros.messages import header_of
    from diffseg_ros.ros.point_cloud import fill_points
    from sensor_msgs.msg import PointCloud2

    frame, labels = scene(width, height)
    encoder, message, header = LabelEncoder(), PointCloud2(), header_of(0, 'camera')

    def ours() -> None:
        encoder.encode(labels)
        fill_points(message, frame, labels, encoder, header)

    def plain() -> None:
        data = array.array('B')
        data.frombytes(plain_points(frame, encoder.encode(labels)).tobytes())
        other.data = data

    other = PointCloud2()
    times: dict[str, list[float]] = {'ours': [], 'plain': []}
    for _ in range(repetitions):
        times['ours'].append(_milliseconds(ours))
        times['plain'].append(_milliseconds(plain))
    p50, p95 = np.percentile(times['ours'], [50, 95])
    plain_p50 = float(np.median(times['plain']))
    return {'p50': float(p50), 'p95': float(p95), 'min': min(times['ours']),
            'plain_p50': plain_p50, 'plain_min': min(times['plain']),
            'ratio': plain_p50 / float(p50)}


def _milliseconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3
