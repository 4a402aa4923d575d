"""Measures of objects on support surfaces: overlap and boundaries, as published for OSD."""

from __future__ import annotations

import math
from typing import Any

from diffseg_ros.evaluation.contingency import contingency
from diffseg_ros.evaluation.masks import near
from diffseg_ros.evaluation.measure import Measure, Observation
from diffseg_ros.registry import register_measure
from diffseg_ros.types import Mask
import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

BOUNDARY_TOLERANCE = 0.003
"""How far boundaries are dilated, as a share of the image diagonal."""

_NO_OBJECT = -1


@register_measure('objects', commands=('objects',))
class ObjectOverlap(Measure):
    """
    Overlap and boundary precision, recall and F of objects, mean over the images.

    Objects and segments are matched one to one by the Hungarian method on the F of their pixels.
    Precision is the share of all segments' pixels (boundary pixels) that agree with the matched
    object, recall the share of all objects' pixels. Pixels that are unlabelled in a segmentation
    are no object; neither are those that the truth does not know, so segments there are wrong.
    Source: Xie et al., "The Best of Both Modes", CoRL 2019.
    """

    def reset(self) -> None:
        self._scores: list[tuple[float, ...]] = []

    def update(self, observation: Observation) -> None:
        if observation.truth is not None:
            truth = observation.truth.astype(np.int64)
            for value in (observation.ignored, observation.background or 0):
                truth[observation.truth == value] = _NO_OBJECT
            self._scores.append(_scores(observation.labels, truth))

    def compute(self) -> dict[str, Any]:
        """Return the means over the images, objects an image found and there, and images."""
        names = (f'{kind}_{value}' for kind in ('overlap', 'object_boundary')
                 for value in ('precision', 'recall', 'f'))
        means = np.mean(self._scores, axis=0).tolist() if self._scores else [None] * 8
        return {**dict(zip((*names, 'objects_found', 'objects_there'), means, strict=True)),
                'images': len(self._scores)}


def _scores(labels: npt.NDArray[np.integer], truth: npt.NDArray[np.int64]) -> tuple[float, ...]:
    """Return precision, recall and F of pixels and of boundaries, and objects found and there."""
    table = contingency(labels, truth, _NO_OBJECT)
    found = table.segment_pixels + table.ignored
    f_values = 2 * table.overlap / (found[:, None] + table.region_pixels)
    matches = linear_sum_assignment(f_values, maximize=True)
    hits = table.overlap[matches].sum()
    outlines, true_outlines = ([_outline(image == number) for number in numbers]
                               for image, numbers in ((labels, table.segments),
                                                      (truth, table.regions)))
    reach = math.ceil(BOUNDARY_TOLERANCE * math.hypot(*labels.shape))
    right = found_again = 0
    for segment, region in zip(*matches, strict=True):
        outline, true_outline = outlines[segment], true_outlines[region]
        right += np.count_nonzero(outline & near(true_outline, reach))
        found_again += np.count_nonzero(true_outline & near(outline, reach))
    return (*_precision_recall_f(hits, hits, found.sum(), table.region_pixels.sum()),
            *_precision_recall_f(right, found_again, np.count_nonzero(outlines),
                                 np.count_nonzero(true_outlines)),
            len(found), len(table.regions))


def _precision_recall_f(right: float, found_again: float, found: float,
                        there: float) -> tuple[float, float, float]:
    """Return precision, recall and F; what is a share of nothing is 1."""
    precision = right / found if found else 1.0
    recall = found_again / there if there else 1.0
    return precision, recall, 2 * precision * recall / max(precision + recall, 1e-12)


def _outline(mask: Mask) -> Mask:
    """Mark the pixels whose right, lower or lower right neighbour is on the other side."""
    padded = np.pad(mask, ((0, 1), (0, 1)), mode='edge')
    return (mask ^ padded[:-1, 1:]) | (mask ^ padded[1:, :-1]) | (mask ^ padded[1:, 1:])
