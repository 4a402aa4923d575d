"""From a depth image and a label image to points that know their segment."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import cv2
from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.camera import ray_table
from diffseg_ros.geometry.label_images import resize_labels
from diffseg_ros.geometry.voxels import group_means, majority, voxel_keys, voxel_numbers
from diffseg_ros.settings import setting, Settings
from diffseg_ros.types import DepthImage, Frame, LabelImage, Mask
import numpy as np
import numpy.typing as npt

POINT_WORDS = 6
"""
Words of a packed point: x, y, z (float32 metres), rgb (0x00RRGGBB), label, instance_id.

Where a frame says what of its depth was measured, the confidence of that (float32) follows.
"""

PackedPoints = npt.NDArray[np.uint32]

_NAN = np.float32(np.nan)
_BAND_PIXELS = 30_720


class CloudConfig(Settings):
    """Which depth becomes points, and in which form."""

    min_depth: float = setting(0.0, 'nearer points are invalid (metres)', 0.0, 1000.0)
    max_depth: float = setting(0.0, 'farther points are invalid (metres); 0 is no limit',
                               0.0, 1000.0)
    flying_pixels: float = setting(
        0.0, 'remove points between a foreground and its background: depth steps to a '
        'neighbouring pixel above this share of the depth are edges (0.05 suits a Kinect); 0 '
        'keeps all points', 0.0, 1.0)
    organised: bool = setting(
        True, 'one point per pixel, NaN where invalid; false gives a list of the valid points')
    voxel_size: float = setting(
        0.0, 'voxel size in metres for downsampling: one point per voxel, with the mean of its '
        'points and their most frequent label; 0 is off; above 0 the cloud is a list', 0.0, 10.0)


@dataclass(frozen=True)
class LabelledCloud:
    """
    Points with colour and segment id, organised like the label image (H, W), or a list (N,).

    Attributes
    ----------
    points
        (H, W, 3) or (N, 3) float32 metres, NaN where invalid; organised clouds are in the
        camera's optical frame (x right, y down, z forward).
    rgb
        (H, W, 3) or (N, 3) uint8.
    labels
        (H, W) or (N,) int32; UNLABELLED (-1) where there is no segment.
    confidence
        (H, W) or (N,) float32: 1 where depth was measured, below 1 where a model predicted it;
        None where all of it was measured.

    """

    points: npt.NDArray[np.float32]
    rgb: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int32]
    confidence: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together."""
        wanted = (*self.labels.shape, 3)
        if self.points.shape != wanted or self.rgb.shape != wanted:
            raise DiffsegError(f'cloud: points {self.points.shape}, rgb {self.rgb.shape}, labels '
                               f'{self.labels.shape}; one point and one colour per label is '
                               'needed')
        if self.confidence is not None and self.confidence.shape != self.labels.shape:
            raise DiffsegError(f'cloud: confidence {self.confidence.shape}, labels '
                               f'{self.labels.shape}; one confidence per label is needed')

    def __len__(self) -> int:
        """Return the number of points, the invalid ones of organised clouds included."""
        return self.labels.size

    @property
    def valid(self) -> Mask:
        """Which points exist, in the shape of `labels`."""
        with np.errstate(invalid='ignore'):
            return np.isfinite(self.points[..., 0] + self.points[..., 1] + self.points[..., 2])

    def compact(self) -> LabelledCloud:
        """Return the valid points as a list, row by row."""
        places = np.flatnonzero(self.valid)
        return LabelledCloud(self.points.reshape(-1, 3).take(places, axis=0),
                             self.rgb.reshape(-1, 3).take(places, axis=0),
                             self.labels.ravel().take(places),
                             self.confidence if self.confidence is None
                             else self.confidence.ravel().take(places))


def labelled_cloud(frame: Frame, labels: LabelImage, config: CloudConfig | None = None, *,
                   exclude: Collection[int] = ()) -> LabelledCloud:
    """
    Unproject the frame's depth at every pixel of the label image.

    Depth and colour of another size are sampled at the label image's pixel centres, the
    intrinsics are scaled to it and lens distortion is removed, so that each point projects
    into its own pixel. The result is organised (see `reduced`); its `rgb`, `labels` and
    `confidence` share memory with the inputs where sizes agree.

    Parameters
    ----------
    frame
        Has depth and intrinsics.
    labels
        (H, W) int32 of the same view, at any size.
    config
        Which depth gives points; by default all finite values above 0.
    exclude
        Ids whose points are invalid.

    Raises
    ------
    DiffsegError
        The frame has no depth or no intrinsics, the distortion model is not supported, or
        labels are of another shape or type.

    """
    planes = label_points(frame, labels, config, exclude)
    return LabelledCloud(np.stack(planes, axis=-1), resize_labels(frame.rgb, *labels.shape),
                         labels, None if frame.depth_confidence is None
                         else resize_labels(frame.depth_confidence, *labels.shape))


def label_points(frame: Frame, labels: LabelImage, config: CloudConfig | None = None,
                 exclude: Collection[int] = (), *, grid: tuple[slice, slice] = np.s_[:, :]
                 ) -> tuple[npt.NDArray[np.float32], ...]:
    """
    Return x, y and z of `labelled_cloud` as (H, W) float32 arrays, NaN where there is no point.

    Only the rows and columns of `grid` are computed.
    """
    if frame.depth is None:
        raise DiffsegError('cloud: the frame has no depth; give a registered depth image, or use '
                           'the labels alone')
    if frame.intrinsics is None:
        raise DiffsegError('cloud: the frame has no camera intrinsics; give a camera_info or '
                           'camera.json, or use the labels alone')
    if labels.ndim != 2 or labels.dtype != np.int32 or 0 in labels.shape:
        raise DiffsegError(f'cloud labels: got {labels.dtype} {labels.shape}; HxW int32 is '
                           'needed')
    config = config or CloudConfig()
    height, width = labels.shape
    ray_x, ray_y = (np.broadcast_to(table, labels.shape)[grid]
                    for table in ray_table(frame.intrinsics.resized(width, height)))
    if frame.depth.shape == labels.shape and not config.flying_pixels:
        depth = usable_depth(frame.depth[grid], config)
    else:
        depth = resize_labels(usable_depth(frame.depth, config), height, width)[grid]
    if exclude:
        depth = np.where(np.isin(labels[grid], list(exclude)), _NAN, depth)
    if frame.intrinsics.distortion:
        # Where the lens has no ray, x and y are NaN; z alone would be no point.
        depth = np.where(np.isnan(ray_x), _NAN, depth)
    return ray_x * depth, ray_y * depth, depth


def usable_depth(depth: DepthImage, config: CloudConfig) -> DepthImage:
    """Return a copy of the depth with NaN at every pixel that gives no point."""
    farthest = config.max_depth or float(np.finfo(np.float32).max)
    keep = (depth > 0) & (depth >= config.min_depth) & (depth <= farthest)
    if config.flying_pixels:
        keep &= ~_flying_pixels(np.where(keep, depth, _NAN), config.flying_pixels)
    return np.where(keep, depth, _NAN)


def _flying_pixels(depth: DepthImage, step: float) -> Mask:
    """
    Return which pixels hang in the air between a foreground and its background.

    Such a pixel mixes both depths: along its row or its column one neighbour is nearer and the
    other farther, both by more than `step` times its depth. Clean edges and structures one pixel
    wide keep their points; slanted surfaces lose some where they fall by `step` from pixel to
    pixel.
    """
    flying = np.zeros(depth.shape, bool)
    # Both axes are views of the same arrays; NaN compares false, so holes are no neighbours.
    for metres, found in ((depth, flying), (depth.T, flying.T)):
        rise = metres[:, 1:] - metres[:, :-1]
        limit = metres[:, 1:-1] * np.float32(step)
        before, after = rise[:, :-1], rise[:, 1:]
        found[:, 1:-1] |= ((np.minimum(before, after) > limit)
                           | (np.maximum(before, after) < -limit))
    return flying


def reduced(cloud: LabelledCloud, config: CloudConfig) -> LabelledCloud:
    """Return the cloud organised, as a list, or with one point per voxel, as `config` says."""
    if config.voxel_size:
        return voxel_downsample(cloud, config.voxel_size)
    return cloud if config.organised else cloud.compact()


def voxel_downsample(cloud: LabelledCloud, voxel_size: float) -> LabelledCloud:
    """
    Return mean position, colour and confidence, and the most frequent label, of each voxel.

    Voxels are in the order of their first point. Raises DiffsegError when a point lies too far
    from the origin for voxels of this size.
    """
    listed = cloud.compact()
    numbers, count = voxel_numbers(voxel_keys(listed.points, voxel_size))
    return LabelledCloud(
        group_means(numbers, count, listed.points).astype(np.float32),
        np.rint(group_means(numbers, count, listed.rgb)).astype(np.uint8),
        majority(numbers, count, listed.labels),
        None if listed.confidence is None else group_means(
            numbers, count, listed.confidence[:, None])[:, 0].astype(np.float32))


def pack_points(frame: Frame, labels: LabelImage,
                values_of: Callable[[npt.NDArray[np.int32]], npt.NDArray[np.integer]],
                config: CloudConfig | None = None, *, exclude: Collection[int] = (),
                out: PackedPoints | None = None) -> PackedPoints:
    """
    Return the labelled points as (H, W, C) or (N, C) uint32, the data of a PointCloud2.

    POINT_WORDS says what a point holds, and `point_words` how many words that are. `values_of`
    turns ids into the label values that the points carry; `out` is memory for an organised cloud,
    used where its shape fits, whose invalid points are NaN and keep colour and label. For the rest
    see `labelled_cloud`.
    """
    config = config or CloudConfig()
    if not config.organised or config.voxel_size:
        cloud = reduced(labelled_cloud(frame, labels, config, exclude=exclude), config)
        listed = np.empty((len(cloud), point_words(frame)), np.uint32)
        listed.view(np.float32)[:, :3] = cloud.points
        if cloud.confidence is not None:
            listed.view(np.float32)[:, POINT_WORDS] = cloud.confidence
        if len(cloud):
            listed[:, 3] = _colour_words(cloud.rgb[:, None])[:, 0]
        listed[:, 4] = listed[:, 5] = values_of(cloud.labels)
        return listed
    height, width = labels.shape
    shape = (height, width, point_words(frame))
    words = out if out is not None and out.shape == shape else np.empty(shape, np.uint32)
    rgb = resize_labels(frame.rgb, height, width)
    confidence = frame.depth_confidence
    if confidence is not None:
        confidence = resize_labels(confidence, height, width)
    if frame.depth is not None and (frame.depth.shape != labels.shape or config.flying_pixels):
        depth = resize_labels(usable_depth(frame.depth, config), height, width)
        frame, config = replace(frame, depth=depth, depth_confidence=None), CloudConfig()
    # Bands of rows stay in the processor's cache: half of the time at 1280x720.
    for top in range(0, height, max(1, _BAND_PIXELS // width)):
        rows = slice(top, top + max(1, _BAND_PIXELS // width))
        values = values_of(labels[rows]).astype(np.uint32, copy=False)
        planes = label_points(frame, labels, config, exclude, grid=(rows, slice(None)))
        colours = _colour_words(rgb[rows])
        cv2.merge([*planes, *(part.view(np.float32) for part in (colours, values, values)),
                   *(() if confidence is None else (confidence[rows],))],
                  words[rows].view(np.float32))
    return words


def point_words(frame: Frame) -> int:
    """Return the words of a packed point of a frame: one more where confidence is known."""
    return POINT_WORDS + (frame.depth_confidence is not None)


def _colour_words(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """Return 0x00RRGGBB of (H, W, 3) colours."""
    words = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGRA).view('<u4')[..., 0]
    return np.bitwise_and(words, np.uint32(0xFFFFFF)).astype(np.uint32, copy=False)
