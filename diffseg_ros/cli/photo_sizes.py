"""Photos of any size, from a single pixel to hundreds of megapixels."""

from __future__ import annotations

from math import sqrt

import cv2
from diffseg_ros.pipeline import Pipeline
from diffseg_ros.types import Frame, LabelImage, RgbImage
import numpy as np

_MOST_PIXELS = 24_000_000


def segment_photo(pipeline: Pipeline, rgb: RgbImage) -> LabelImage:
    """
    Return the (H, W) int32 labels of an image, from 0, every number present.

    One of more than 24 megapixels is segmented at that size and its labels are enlarged, which
    bounds the memory; one that is a pixel wide or high is repeated to the two that a frame needs.
    """
    height, width = rgb.shape[:2]
    scale = min(1.0, sqrt(_MOST_PIXELS / (width * height)))
    size = max(2, round(width * scale)), max(2, round(height * scale))
    if size == (width, height):
        return pipeline.segment(Frame(rgb)).labels
    resized = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    labels = pipeline.segment(Frame(np.asarray(resized, np.uint8))).labels
    labels = cv2.resize(labels.astype(np.uint16), (width, height),
                        interpolation=cv2.INTER_NEAREST)
    present = np.bincount(labels.reshape(-1)) > 0
    return (np.cumsum(present, dtype=np.int32) - 1)[labels]
