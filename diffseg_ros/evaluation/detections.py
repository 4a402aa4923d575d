"""Which segments of a frame count as detections: one rule for all measures of detections."""

from __future__ import annotations

from diffseg_ros.evaluation.contingency import Contingency
import numpy as np
import numpy.typing as npt

MATCH_IOU = 0.5
"""IoU from which on a segment counts as a detection of an object, as in MOTS."""

Mask = npt.NDArray[np.bool_]


def objects_of(table: Contingency, background: int | None) -> Mask:
    """Mark, (R,) bool, the regions that are objects: all but the background, if there is one."""
    if background is None:
        return np.ones(len(table.regions), bool)
    return np.asarray(table.regions != background)


def scored_segments(table: Contingency, objects: Mask) -> Mask:
    """
    Mark, (S,) bool, the segments that count: as a detection, or as a false one.

    A segment that detects no object (IoU below 0.5) and lies by more than half on ignored or
    background pixels is not counted: nobody said what is there.
    """
    detects = ((table.iou >= MATCH_IOU) & objects).any(axis=1)
    elsewhere = table.ignored + table.overlap[:, ~objects].sum(axis=1)
    size = table.ignored + table.segment_pixels
    return np.asarray(detects | (2 * elsewhere <= size))
