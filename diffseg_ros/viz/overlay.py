"""Label images drawn over their images."""

from __future__ import annotations

import cv2
from diffseg_ros.geometry.label_images import label_borders
from diffseg_ros.types import LabelImage, RgbImage
from diffseg_ros.viz.colours import label_colours


def draw_overlay(rgb: RgbImage, labels: LabelImage, opacity: float = 0.5) -> RgbImage:
    """
    Blend segment colours over the image and outline the segments in white.

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
    blend[label_borders(labels)] = 255
    return blend
