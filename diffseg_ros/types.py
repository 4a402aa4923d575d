"""One moment of a camera: the input of the pipeline."""

from __future__ import annotations

from dataclasses import dataclass, replace

from diffseg_ros.errors import DiffsegError
import numpy as np
import numpy.typing as npt

UNLABELLED = -1
"""Value of pixels without a segment in every label array of the core (int32)."""


@dataclass(frozen=True)
class Intrinsics:
    """
    Pinhole intrinsics in pixels, with the lens distortion the camera reports.

    Attributes
    ----------
    width, height
        Size in pixels of the image that fx, fy, cx, cy refer to.
    distortion
        Coefficients as in sensor_msgs/CameraInfo `d`; empty means rectified.
    distortion_model
        As in sensor_msgs/CameraInfo, for example 'plumb_bob'.

    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()
    distortion_model: str = 'plumb_bob'

    def __post_init__(self) -> None:
        """Refuse intrinsics no point can be computed with."""
        if self.width <= 0 or self.height <= 0:
            raise DiffsegError(f'camera intrinsics: size {self.width}x{self.height}; '
                               'width and height must be above 0')
        if self.fx == 0 or self.fy == 0:
            raise DiffsegError('camera intrinsics: K is 0 (uncalibrated camera); calibrate it '
                               'or publish a CameraInfo with focal lengths')
        if not np.isfinite([self.fx, self.fy, self.cx, self.cy, *self.distortion]).all():
            raise DiffsegError('camera intrinsics: K or the distortion holds NaN or infinity; '
                               'publish finite values')
        if self.fx < 0 or self.fy < 0:
            raise DiffsegError(f'camera intrinsics: focal lengths {self.fx}, {self.fy}; '
                               'they must be above 0')

    def resized(self, width: int, height: int) -> Intrinsics:
        """Return the intrinsics of the same view at another size (pixel centres at .0)."""
        if (width, height) == (self.width, self.height):
            return self
        scale_x, scale_y = width / self.width, height / self.height
        return replace(self, width=width, height=height,
                       fx=self.fx * scale_x, fy=self.fy * scale_y,
                       cx=(self.cx + 0.5) * scale_x - 0.5, cy=(self.cy + 0.5) * scale_y - 0.5)


@dataclass(frozen=True)
class Frame:
    """
    An image and what is known with it.

    Attributes
    ----------
    rgb
        (H, W, 3) uint8, red first.
    stamp
        Time of exposure in nanoseconds.
    frame_id
        Name of the camera's optical frame (x right, y down, z forward).
    depth
        (Hd, Wd) float32 metres registered to `rgb`, NaN where invalid, or None. It shows the
        same view as `rgb`; its size may differ.
    intrinsics
        Of `rgb`, at any size of the same view, or None.
    pose
        (4, 4) float64 camera-to-world transform, or None.

    """

    rgb: npt.NDArray[np.uint8]
    stamp: int = 0
    frame_id: str = 'camera'
    depth: npt.NDArray[np.float32] | None = None
    intrinsics: Intrinsics | None = None
    pose: npt.NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        """Refuse arrays of another shape or type."""
        if self.rgb.ndim != 3 or self.rgb.shape[2] != 3 or self.rgb.dtype != np.uint8:
            raise DiffsegError(f'frame rgb: got {self.rgb.dtype} {self.rgb.shape}; '
                               'HxWx3 uint8 is needed')
        if min(self.rgb.shape[:2]) < 2:
            raise DiffsegError(f'frame rgb: size {self.rgb.shape[1]}x{self.rgb.shape[0]}; '
                               'at least 2x2 pixels are needed')
        if self.depth is not None and (self.depth.ndim != 2 or self.depth.dtype != np.float32
                                       or 0 in self.depth.shape):
            raise DiffsegError(f'frame depth: got {self.depth.dtype} {self.depth.shape}; '
                               'HxW float32 metres are needed')
        if self.pose is not None and self.pose.shape != (4, 4):
            raise DiffsegError(f'frame pose: got shape {self.pose.shape}; 4x4 is needed')
