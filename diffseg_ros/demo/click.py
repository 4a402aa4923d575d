"""What the demo clicks on, and how well the node follows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cv2
from diffseg_ros.io.sequence_folder import SequenceFolder
from diffseg_ros.types import Mask
import numpy as np

_SHARE = 0.2
"""Of the recording is over when the click comes."""
_LARGEST = 0.05
"""Of the image is what people click on as a thing, not as furniture."""


@dataclass(frozen=True)
class Click:
    """A click on the true `instance` at a pixel, x and y, of a frame by its number."""

    frame: int
    pixel: tuple[float, float]
    instance: int


def choose_click(sequence: SequenceFolder) -> Click | None:
    """Return a click on the middle of the largest small thing that a frame shows whole, if any."""
    number = int(_SHARE * sequence.frame_count)
    instances = sequence.instances(number)
    border = np.concatenate([instances[0], instances[-1], instances[:, 0], instances[:, -1]])
    ids, pixels = np.unique(instances, return_counts=True)
    whole = ~np.isin(ids, border) & (ids != sequence.background)
    whole &= pixels <= _LARGEST * instances.size
    if not whole.any():
        return None
    instance = int(ids[np.where(whole, pixels, 0).argmax()])
    inside = cv2.distanceTransform((instances == instance).astype(np.uint8), cv2.DIST_L2, 5)
    row, column = np.unravel_index(int(inside.argmax()), inside.shape)
    return Click(number, (float(column), float(row)), instance)


def followed_iou(click: Click, numbers: Iterable[int], truth: Callable[[int], Mask],
                 found: Callable[[int], Mask]) -> float | None:
    """
    Return the mean IoU of what was followed and the thing, None where neither is ever in view.

    `truth` and `found` give the (H, W) masks of a frame by its number; frames up to the click, and
    those that show neither, do not count.
    """
    scores = []
    for number in numbers:
        true, mask = truth(number), found(number)
        union = np.count_nonzero(true | mask)
        if number > click.frame and union:
            scores.append(np.count_nonzero(true & mask) / union)
    return round(float(np.mean(scores)), 4) if scores else None
