"""From a depth image and a label image to points that know their segment."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from diffseg_ros.cloud.rays import ray_table
from diffseg_ros.config import CloudConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.frame import Frame
import numpy as np
import numpy.typing as npt

_Scalar = TypeVar('_Scalar', bound=np.generic)


@dataclass(frozen=True)
class LabelledCloud:
    """
    Points with colour and segment id.

    Organised (H, W), pixel for pixel the label image it was made with, or a plain list (N,).

    Attributes
    ----------
    points
        (H, W, 3) or (N, 3) float32 metres, NaN where invalid; organised clouds are in the
        camera's optical frame (x right, y down, z forward).
    rgb
        (H, W, 3) or (N, 3) uint8.
    labels
        (H, W) or (N,) int32; UNLABELLED (-1) where there is no segment.

    """

    points: npt.NDArray[np.float32]
    rgb: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together."""
        wanted = (*self.labels.shape, 3)
        if self.points.shape != wanted or self.rgb.shape != wanted:
            raise DiffsegError(f'cloud: points {self.points.shape}, rgb {self.rgb.shape}, labels '
                               f'{self.labels.shape}; one point and one colour per label is '
                               'needed')

    @property
    def valid(self) -> npt.NDArray[np.bool_]:
        """Which points exist, in the shape of `labels`."""
        return np.asarray(np.isfinite(self.points).all(axis=-1))

    def compact(self) -> LabelledCloud:
        """Return the valid points as a list, row by row."""
        valid = self.valid
        return LabelledCloud(self.points[valid], self.rgb[valid], self.labels[valid])


def labelled_cloud(frame: Frame, labels: npt.NDArray[np.int32],
                   config: CloudConfig | None = None) -> LabelledCloud:
    """
    Back-project the frame's depth at every pixel of the label image.

    Depth and colour of another size are sampled at the label image's pixel centres, the
    intrinsics are scaled to it and lens distortion is removed, so that each point projects
    into its own pixel. `rgb` and `labels` of the result share memory with the inputs where
    sizes agree.

    Parameters
    ----------
    frame
        Depth in metres registered to the image; pixels that are NaN, infinite or not above 0
        give invalid points, and so do those outside the range of `config`.
    labels
        (H, W) int32 of the same view, at any size.
    config
        Range of depth that gives points; without it everything above 0.

    Raises
    ------
    DiffsegError
        The frame has no depth or no intrinsics, the distortion model is not supported, or
        labels are of another shape or type.

    """
    if frame.depth is None:
        raise DiffsegError('cloud: the frame has no depth; give a registered depth image, '
                           'or use the labels alone')
    if frame.intrinsics is None:
        raise DiffsegError('cloud: the frame has no camera intrinsics; give a camera_info or '
                           'camera.json, or use the labels alone')
    if labels.ndim != 2 or labels.dtype != np.int32 or 0 in labels.shape:
        raise DiffsegError(f'cloud labels: got {labels.dtype} {labels.shape}; HxW int32 is '
                           'needed')
    height, width = labels.shape
    ray_x, ray_y = ray_table(frame.intrinsics.resized(width, height))
    depth = _within_range(sample_nearest(frame.depth, height, width), config or CloudConfig())
    points = np.empty((height, width, 3), np.float32)
    np.multiply(ray_x, depth, out=points[..., 0])
    np.multiply(ray_y, depth, out=points[..., 1])
    # Where the lens has no ray x and y are NaN, and a lone z would be no point.
    points[..., 2] = depth if ray_x.shape[0] == 1 else np.where(ray_x == ray_x, depth, np.nan)
    return LabelledCloud(points, sample_nearest(frame.rgb, height, width), labels)


def sample_nearest(image: npt.NDArray[_Scalar], height: int, width: int) -> npt.NDArray[_Scalar]:
    """
    Return the image at another size: at each pixel centre the pixel that covers it.

    Parameters
    ----------
    image
        (h, w) or (h, w, C); returned as it is when the size is right already.
    height, width
        Size in pixels of the result.

    """
    if image.shape[:2] == (height, width):
        return image
    rows = _nearest(image.shape[0], height)
    columns = _nearest(image.shape[1], width)
    return image.take(rows, axis=0).take(columns, axis=1)


@lru_cache(maxsize=32)
def _nearest(size: int, wanted: int) -> npt.NDArray[Any]:
    # (i + 0.5) * size / wanted in whole numbers: no rounding at the borders between pixels.
    return (2 * np.arange(wanted) + 1) * size // (2 * wanted)


def _within_range(depth: npt.NDArray[np.float32],
                  config: CloudConfig) -> npt.NDArray[np.float32]:
    farthest = config.max_depth or np.finfo(np.float32).max
    keep = (depth > 0) & (depth <= farthest)
    if config.min_depth:
        keep &= depth >= config.min_depth
    return np.where(keep, depth, np.float32(np.nan))
