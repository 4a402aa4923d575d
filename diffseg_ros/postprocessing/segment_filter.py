"""Which segments are hidden from mappers, and depth images without them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from diffseg_ros.geometry.label_images import resize_labels
from diffseg_ros.types import DepthImage, Mask, Track, UNLABELLED
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from diffseg_ros.config import RemovalConfig
    from diffseg_ros.geometry.boxes import SegmentBox

_MILLIMETRES = 1000.0
_LARGEST_16BIT = 2**16 - 1


def needs_boxes(config: RemovalConfig) -> bool:
    """Return whether segments are chosen by their size."""
    return config.min_size > 0 or config.max_size > 0


def removed_ids(config: RemovalConfig, ids: npt.NDArray[np.int32],
                boxes: Callable[[], Sequence[SegmentBox]],
                tracks: Sequence[Track] = (), names: Collection[str] = ()) -> list[int]:
    """
    Return which of the (N,) ids in the frame to remove; UNLABELLED (-1) too if `config` says so.

    A segment too small in the image, or with too little depth, to have a box is smaller than
    any `min_size` and never larger than `max_size`. `boxes` is called only where sizes matter;
    `tracks` tell what moves and what is called by one of `names`.
    """
    present = {int(identity) for identity in ids if identity != UNLABELLED}
    chosen = present & set(config.ids)
    if needs_boxes(config):
        sizes = dict.fromkeys(present, 0.0) | {box.id: float(box.size.max()) for box in boxes()}
        longest = config.max_size or np.inf
        chosen |= {identity for identity, size in sizes.items()
                   if not config.min_size <= size <= longest}
    if config.moving > 0:
        chosen |= present & {track.id for track in tracks if track.since_moved is not None
                             and track.since_moved <= config.moving}
    chosen |= present & {track.id for track in tracks if track.name in names}
    if config.unlabelled:
        chosen.add(UNLABELLED)
    return sorted(chosen)


def filtered_depth(depth: DepthImage, mask: Mask) -> DepthImage:
    """Return a copy of the depth with NaN under a mask of the same view, at any size."""
    return np.where(resize_labels(mask, *depth.shape), np.float32(np.nan), depth)


def depth_pixels(depth: DepthImage, encoding: str) -> DepthImage | npt.NDArray[np.uint16]:
    """
    Return depth in metres (NaN where invalid) as the pixels of an image encoding.

    32FC1 is the same; 16UC1 is millimetres, 0 where invalid and beyond 65.535 m.
    """
    if encoding == '32FC1':
        return depth
    millimetres = np.rint(depth * _MILLIMETRES)
    fits = (millimetres > 0) & (millimetres <= _LARGEST_16BIT)
    return np.where(fits, millimetres, 0).astype(np.uint16)
