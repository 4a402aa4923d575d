"""The tracked label image: one track per pixel, and the confidence in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
from diffseg_ros.geometry.pixel_source import Source
from diffseg_ros.tracking.tracking_frame import FloatArray, Indices
from diffseg_ros.types import DepthImage, Mask
import numpy as np
import numpy.typing as npt

CAPACITY = 1024
"""Slots: tracks that can be known at a time, the lost ones included."""
KNOWN_CONFIDENCE = 0.2
"""Confidence from which on a pixel's track is more than a guess."""
STRIDE = 2
"""Pixels are counted on every second row and column."""

_DEPTH_STEP = 0.1
_SURROUNDINGS = 7

SlotImage = npt.NDArray[np.uint16]


@dataclass
class LabelMap:
    """
    Which track every pixel belongs to.

    `slots` is its (H, W) uint16 slot, `confidence` the (H, W) float32 evidence for it, 0 to 1; 0
    is a guess that nothing supports. `split_candidates` is the uint8 number of the possible part
    of a track, 0 for none, at (H / 2, W / 2), rounded up.
    """

    slots: SlotImage
    confidence: FloatArray
    split_candidates: npt.NDArray[np.uint8]

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> LabelMap:
        """Return a map of nothing but guesses."""
        return cls(np.zeros(shape, np.uint16), np.zeros(shape, np.float32),
                   np.zeros(_subsampled_shape(shape), np.uint8))

    @property
    def shape(self) -> tuple[int, int]:
        return self.slots.shape[0], self.slots.shape[1]

    @property
    def known(self) -> Mask:
        """Where the track is more than a guess."""
        return self.confidence >= KNOWN_CONFIDENCE

    @property
    def unknown_share(self) -> float:
        return 1 - np.count_nonzero(self.known) / self.slots.size

    def pixel_counts(self) -> npt.NDArray[np.int64]:
        """Return about how many pixels each of the (CAPACITY,) slots has."""
        return np.bincount(subsample(self.slots).ravel(), minlength=CAPACITY) * STRIDE**2

    def warped(self, source: Source) -> LabelMap:
        """Return the map with each pixel taken from its source; confidence 0 without one."""
        confidence = self.confidence.take(source.index)
        confidence *= source.known
        candidates = resize_nearest(self.split_candidates, self.shape).take(
            subsample(source.index))
        candidates *= subsample(source.known)
        return LabelMap(self.slots.take(source.index), confidence, candidates)

    def resized(self, shape: tuple[int, int]) -> LabelMap:
        return LabelMap(resize_nearest(self.slots, shape), resize_nearest(self.confidence, shape),
                        resize_nearest(self.split_candidates, _subsampled_shape(shape)))

    def fill(self, known: Mask, depth: DepthImage | None = None) -> None:
        """
        Give pixels that are not known the track of the nearest known one.

        What comes into view beside a near surface belongs to what lies behind it: with depth,
        pixels do not take the track of a surface in front of them while there is another.
        """
        if known.all() or not known.any():
            return
        seeds = np.ascontiguousarray(subsample(known))
        if not seeds.any():
            self.slots[~known] = self.slots[known][0]
            return
        pixels = np.flatnonzero(~known)
        cells = coarse_places(pixels, self.shape, STRIDE)
        nearest = _nearest_seed(seeds, cells)
        if depth is not None:
            metres = subsample(depth)
            in_front = depth.take(pixels) - metres.ravel()[nearest] > _DEPTH_STEP
            if in_front.any():
                nearest[in_front] = _nearest_seed(seeds & ~_occluders(metres), cells[in_front])
        self.slots.ravel()[pixels] = subsample(self.slots).ravel()[nearest]


def subsample(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a view of every second row and column: enough to count pixels."""
    return image[::STRIDE, ::STRIDE]


def resize_nearest(image: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return an image at another (H, W) by OpenCV's nearest neighbour, the fastest there is."""
    if image.shape == shape:
        return image
    return cv2.resize(image, shape[::-1], interpolation=cv2.INTER_NEAREST)


def coarse_places(places: npt.NDArray[Any], shape: tuple[int, int],
                  step: int) -> npt.NDArray[Any]:
    """Turn places in a flattened (H, W) image into those in one of every `step`th pixel."""
    rows = places // shape[1]
    columns = places - rows * shape[1]  # faster than divmod
    return rows // step * -(-shape[1] // step) + columns // step


def _subsampled_shape(shape: tuple[int, int]) -> tuple[int, int]:
    return -(-shape[0] // STRIDE), -(-shape[1] // STRIDE)


def _nearest_seed(seeds: Mask, cells: Indices) -> Indices:
    """Return the seed nearest to each of (N,) cells, as places in the flattened image."""
    if not seeds.any():
        return cells.copy()
    nearest = cv2.distanceTransformWithLabels((~seeds).view(np.uint8), cv2.DIST_L2, 3,
                                              labelType=cv2.DIST_LABEL_PIXEL)[1]
    # OpenCV numbers the seeds from 1 in the order of the image.
    return np.flatnonzero(seeds).take(nearest.ravel().take(cells) - 1)


def _occluders(depth: DepthImage) -> Mask:
    """Return where a surface stands in front of another one beside it."""
    filled = np.where(np.isfinite(depth), depth, np.float32(0))
    around = np.ones((_SURROUNDINGS, _SURROUNDINGS), np.uint8)
    return cv2.dilate(filled, around) - filled > _DEPTH_STEP
