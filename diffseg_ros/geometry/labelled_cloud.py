"""From a depth image and a label image to points that know their segment."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from diffseg_ros.config import CloudConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.depth_view import DepthView
from diffseg_ros.geometry.label_images import resize_labels
from diffseg_ros.types import Frame
import numpy as np
import numpy.typing as npt


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
        with np.errstate(invalid='ignore'):
            return np.isfinite(self.points[..., 0] + self.points[..., 1] + self.points[..., 2])

    def compact(self) -> LabelledCloud:
        """Return the valid points as a list, row by row."""
        places = np.flatnonzero(self.valid)
        return LabelledCloud(self.points.reshape(-1, 3).take(places, axis=0),
                             self.rgb.reshape(-1, 3).take(places, axis=0),
                             self.labels.ravel().take(places))


def labelled_cloud(frame: Frame, labels: npt.NDArray[np.int32],
                   config: CloudConfig | None = None, *,
                   exclude: Collection[int] = ()) -> LabelledCloud:
    """
    Back-project the frame's depth at every pixel of the label image.

    Depth and colour of another size are sampled at the label image's pixel centres, the
    intrinsics are scaled to it and lens distortion is removed, so that each point projects
    into its own pixel. The result is organised, whatever `config` says about the cloud's form
    (see `reduced`); its `rgb` and `labels` share memory with the inputs where sizes agree.

    Parameters
    ----------
    frame
        Depth in metres registered to the image; pixels that are NaN, infinite or not above 0
        give invalid points, and so do those that `config` does not want.
    labels
        (H, W) int32 of the same view, at any size.
    config
        Which depth gives points; without it everything above 0.
    exclude
        Ids whose points are invalid, UNLABELLED (-1) included where it is named.

    Raises
    ------
    DiffsegError
        The frame has no depth or no intrinsics, the distortion model is not supported, or
        labels are of another shape or type.

    """
    view = DepthView(frame, labels, config, exclude=exclude)
    points = np.empty((*labels.shape, 3), np.float32)
    x, y, depth = view.rows(0, labels.shape[0])
    points[..., 0], points[..., 1], points[..., 2] = x, y, depth
    return LabelledCloud(points, resize_labels(frame.rgb, *labels.shape), labels)


def reduced(cloud: LabelledCloud, config: CloudConfig) -> LabelledCloud:
    """
    Return the cloud in the form that `config` asks for.

    `voxel_size` above 0 gives a list with one point a voxel, `organised` off a list of the
    valid points; else the cloud comes back as it is.
    """
    if config.voxel_size > 0:
        from diffseg_ros.geometry.voxels import voxel_downsample
        return voxel_downsample(cloud, config.voxel_size)
    return cloud if config.organised else cloud.compact()
