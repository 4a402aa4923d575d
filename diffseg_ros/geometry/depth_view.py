"""Coordinates of the points at a label image's pixels, computed by bands of rows."""

from __future__ import annotations

from collections.abc import Collection

from diffseg_ros.config import CloudConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.depth_filter import usable_depth
from diffseg_ros.geometry.label_images import resize_labels
from diffseg_ros.geometry.rays import ray_table
from diffseg_ros.types import Frame
import numpy as np
import numpy.typing as npt

_NAN = np.float32(np.nan)


class DepthView:
    """
    A frame's depth as the pixels of a label image see it.

    Depth of another size is sampled at the label image's pixel centres, the intrinsics are
    scaled to it and lens distortion is removed.
    """

    def __init__(self, frame: Frame, labels: npt.NDArray[np.int32],
                 config: CloudConfig | None = None, *, exclude: Collection[int] = ()) -> None:
        """
        Check what is given; `labelled_cloud` describes the arguments.

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
        self._labels = labels
        self._exclude = list(exclude)
        self._ray_x, self._ray_y = ray_table(frame.intrinsics.resized(width, height))
        self._config = config or CloudConfig()
        self._depth = frame.depth
        self._filtered = frame.depth.shape != labels.shape
        if self._filtered:
            self._depth = resize_labels(usable_depth(frame.depth, self._config), height, width)

    def rows(self, first: int, end: int) -> tuple[npt.NDArray[np.float32], ...]:
        """
        Return x, y and z of the rows from `first` up to `end`.

        Returns
        -------
        tuple of numpy.ndarray
            Three (end - first, W) float32 arrays, metres in the camera's optical frame, NaN
            where there is no point.

        """
        band = slice(first, end)
        depth = self._depth[band]
        if not self._filtered:
            # One row more on either side: flying pixels are told by their neighbours.
            above, below = max(first - 1, 0), end + 1
            depth = usable_depth(self._depth[above:below], self._config)[first - above:][
                :end - first]
        if self._exclude:
            depth = np.where(np.isin(self._labels[band], self._exclude), _NAN, depth)
        if self._ray_x.shape[0] == 1:
            return self._ray_x * depth, self._ray_y[band] * depth, depth
        ray_x = self._ray_x[band]
        # Where the lens has no ray x and y are NaN, and a lone z would be no point.
        return ray_x * depth, self._ray_y[band] * depth, np.where(ray_x == ray_x, depth, _NAN)

    def grid(self, step: int) -> tuple[npt.NDArray[np.float32], ...]:
        """Return x, y and z as `rows` does, of every `step`th row and column only."""
        start = step // 2
        pick = np.s_[start::step, start::step]
        if self._filtered:
            depth = self._depth[pick]
        elif self._config.flying_pixels:
            depth = usable_depth(self._depth, self._config)[pick]
        else:
            depth = usable_depth(self._depth[pick], self._config)
        if self._exclude:
            depth = np.where(np.isin(self._labels[pick], self._exclude), _NAN, depth)
        if self._ray_x.shape[0] == 1:
            return self._ray_x[:, start::step] * depth, self._ray_y[start::step] * depth, depth
        ray_x = self._ray_x[pick]
        return ray_x * depth, self._ray_y[pick] * depth, np.where(ray_x == ray_x, depth, _NAN)
