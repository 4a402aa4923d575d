"""Pictures of label images for people."""

from __future__ import annotations

from functools import lru_cache

import cv2
from diffseg_ros.types import UNLABELLED
import numpy as np
import numpy.typing as npt

UNLABELLED_COLOUR = (64, 64, 64)
_TABLE_SIZE = 4096


@lru_cache(maxsize=1)
def _colour_table() -> npt.NDArray[np.uint8]:
    """Return (4096, 3) RGB; neighbours differ by the golden ratio in hue."""
    ids = np.arange(_TABLE_SIZE)
    hue = (ids * 0.618034 % 1.0 * 180).astype(np.uint8)
    saturation = np.array([220, 150, 255, 180], np.uint8)[ids // 3 % 4]
    value = np.array([255, 200, 230], np.uint8)[ids % 3]
    hsv = np.stack([hue, saturation, value], axis=-1)[None]
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0]


def label_colours(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
    """
    Return an RGB colour per label, the same for the same id in every frame.

    Parameters
    ----------
    labels
        Any shape; UNLABELLED is grey.

    Returns
    -------
    numpy.ndarray
        labels.shape + (3,) uint8.

    """
    colours = _colour_table()[labels % _TABLE_SIZE]
    colours[labels == UNLABELLED] = UNLABELLED_COLOUR
    return colours


def draw_overlay(rgb: npt.NDArray[np.uint8], labels: npt.NDArray[np.int32],
                 opacity: float = 0.5) -> npt.NDArray[np.uint8]:
    """
    Blend segment colours over the photo and outline the segments in white.

    Parameters
    ----------
    rgb
        (H, W, 3) uint8.
    labels
        (H, W) int32.
    opacity
        Share of the segment's colour, 0 to 1.

    """
    blend = cv2.addWeighted(rgb, 1 - opacity, label_colours(labels), opacity, 0)
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    blend[edge] = 255
    return blend
