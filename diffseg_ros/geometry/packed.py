"""Points as the 32-bit words of a PointCloud2: x y z rgb label instance_id."""

from __future__ import annotations

from collections.abc import Callable, Collection

import cv2
from diffseg_ros.config import CloudConfig
from diffseg_ros.geometry.depth_view import DepthView
from diffseg_ros.geometry.label_images import resize_labels
from diffseg_ros.geometry.labelled_cloud import labelled_cloud, LabelledCloud, reduced
from diffseg_ros.types import Frame
import numpy as np
import numpy.typing as npt

POINT_WORDS = 6
"""Words of a point: x, y, z (float32 metres), rgb (0x00RRGGBB), label, instance_id."""

Words = npt.NDArray[np.uint32]
ValuesOf = Callable[[npt.NDArray[np.int32]], npt.NDArray[np.integer]]

_COLOUR_BITS = np.uint32(0x00FFFFFF)
_BAND_PIXELS = 30_720


def pack_points(frame: Frame, labels: npt.NDArray[np.int32], values_of: ValuesOf,
                config: CloudConfig | None = None, *, exclude: Collection[int] = (),
                out: Words | None = None) -> Words:
    """
    Return the frame's labelled points, ready to be the data of a PointCloud2.

    Parameters
    ----------
    frame, labels, config, exclude
        As for `labelled_cloud`; `config` also says whether the cloud is organised.
    values_of
        Turns ids, an int32 array of any shape, into the values that the points carry as label
        and instance_id: an integer array of the same shape.
    out
        Memory to write into, where its shape fits.

    Returns
    -------
    numpy.ndarray
        (H, W, 6) or (N, 6) uint32 in the byte order of this machine; see POINT_WORDS. Invalid
        points of an organised cloud have NaN coordinates and keep colour and label.

    Raises
    ------
    DiffsegError
        As `labelled_cloud`.

    """
    config = config or CloudConfig()
    if not config.organised or config.voxel_size:
        cloud = reduced(labelled_cloud(frame, labels, config, exclude=exclude), config)
        return pack_cloud(cloud, values_of(cloud.labels), out=out)
    view = DepthView(frame, labels, config, exclude=exclude)
    rgb = resize_labels(frame.rgb, *labels.shape)
    words = _memory(labels.shape, out)
    # Bands of rows stay in the processor's cache, and their temporaries need no fresh pages.
    height, width = labels.shape
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        band = slice(top, top + rows)
        values = values_of(labels[band]).astype(np.uint32, copy=False).view(np.float32)
        planes = [*view.rows(top, min(top + rows, height)), _packed_colour(rgb[band]), values,
                  values]
        cv2.merge(planes, words[band].view(np.float32))
    return words


def pack_cloud(cloud: LabelledCloud, values: npt.NDArray[np.integer], *,
               out: Words | None = None) -> Words:
    """
    Return the points of a cloud, organised or a list, in the words of `pack_points`.

    Parameters
    ----------
    cloud
        What is packed.
    values
        Label values in the shape of `cloud.labels`.
    out
        Memory to write into, where its shape fits.

    """
    words = _memory(cloud.labels.shape, out)
    words.view(np.float32)[..., :3] = cloud.points
    if words.size:
        rgb = cloud.rgb if cloud.rgb.ndim == 3 else cloud.rgb[:, None]
        words[..., 3] = _packed_colour(rgb).view(np.uint32).reshape(cloud.labels.shape)
    words[..., 4] = words[..., 5] = values
    return words


def _memory(shape: tuple[int, ...], out: Words | None) -> Words:
    wanted = (*shape, POINT_WORDS)
    return out if out is not None and out.shape == wanted else np.empty(wanted, np.uint32)


def _packed_colour(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    words = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGRA).view('<u4')[..., 0]
    return np.bitwise_and(words, _COLOUR_BITS).astype(np.uint32, copy=False).view(np.float32)
