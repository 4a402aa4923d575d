"""Fresh segments against expected labels, pixel by pixel, with hysteresis."""

from __future__ import annotations

import cv2
from diffseg_ros.tracking.label_map import LabelField, THIN
from diffseg_ros.types import Segments
import numpy as np
import numpy.typing as npt

KNOWN_STRENGTH = 0.2
"""Strength from which on a pixel's track is more than a guess."""

_GAIN, _GAIN_BY_MARGIN = 0.15, 0.35


class SegmentMap:
    """
    A frame's segments at the size that labels are tracked at.

    Attributes
    ----------
    labels
        (H, W) uint16 number of the segment.
    gain
        (H, W) float32 evidence that a pixel gives: more where its segment is clear.
    embeddings
        (S, C) float32 of length 1.
    thin
        Every second pixel of `labels` along each axis.

    """

    def __init__(self, segments: Segments, shape: tuple[int, int]) -> None:
        """Resize the segments to (H, W)."""
        self.embeddings = segments.embeddings
        self.labels = nearest(segments.labels.astype(np.uint16), shape)
        gain = nearest(segments.confidence, shape).astype(np.float32)
        gain *= np.float32(_GAIN_BY_MARGIN / 255)
        gain += np.float32(_GAIN)
        self.gain = gain
        self.thin = self.labels[::THIN, ::THIN]

    @property
    def count(self) -> int:
        """Return the number of segments; at a small size some may have no pixel."""
        return len(self.embeddings)


def fuse(field: LabelField, speaks: npt.NDArray[np.uint16], gain: npt.NDArray[np.float32],
         weight: float) -> None:
    """
    Strengthen pixels that a segment confirms, weaken the others, and give up the weakest.

    Parameters
    ----------
    field
        Changed in place.
    speaks
        (H, W) slot that each pixel's segment speaks for.
    gain
        (H, W) evidence of each pixel.
    weight
        0 to 1: how much of the evidence is news since the last segmented frame. Pixels without
        a known track take what the segment says at full weight.

    """
    agrees = speaks == field.slots
    guess = field.strength < KNOWN_STRENGTH
    step = gain * np.float32(weight)
    strength = np.where(agrees, field.strength + step, field.strength - step)
    takes = guess | (strength < 0)
    np.copyto(strength, gain, where=takes)
    np.copyto(field.slots, speaks, where=takes)
    field.strength = np.minimum(strength, np.float32(1), out=strength)


def nearest(image: npt.NDArray[np.generic], shape: tuple[int, int]) -> npt.NDArray:  # type: ignore
    """Return an image at another (H, W), every pixel that of the nearest one."""
    if image.shape == shape:
        return image
    return cv2.resize(image, shape[::-1], interpolation=cv2.INTER_NEAREST)
