"""How well the outlines of segments follow true outlines."""

from __future__ import annotations

import math
from typing import Any

import cv2
from diffseg_ros.evaluation.contingency import LabelArray
from diffseg_ros.evaluation.measure import Measure, Observation
from diffseg_ros.registry import register_measure
from diffseg_ros.types import Mask
import numpy as np

TOLERANCE = 0.0075
"""Distance that counts as a hit, as a share of the image diagonal (as in BSDS)."""


@register_measure('boundary_f', commands=('masks',))
class BoundaryF(Measure):
    """Mean F measure of the outlines over the images."""

    def reset(self) -> None:
        self._scores: list[float] = []

    def update(self, observation: Observation) -> None:
        # The contingency table also checks that labels and truth can be compared.
        if observation.truth is not None and observation.contingency is not None:
            self._scores.append(boundary_f(observation.labels, observation.truth,
                                           ignored=observation.ignored))

    def compute(self) -> dict[str, Any]:
        """Return boundary_f."""
        return {'boundary_f': float(np.mean(self._scores)) if self._scores else None}


def boundary_f(prediction: LabelArray, truth: LabelArray, *, ignored: int = 65535,
               tolerance: float = TOLERANCE) -> float:
    """
    Return the F measure of the predicted outlines.

    Precision is the share of predicted outline pixels within the tolerance of a true outline,
    recall the share of true outline pixels within the tolerance of a predicted one. Outlines
    are one pixel wide. Borders of ignored truth are no true outlines, and outlines within the
    tolerance of pixels with the truth `ignored` are not scored.

    Both images are (H, W) integers; unlabelled pixels are one more segment. The tolerance is a
    Euclidean distance as a share of the image diagonal, and never less than one pixel. The result
    is 0 to 1: 1 where neither has an outline, 0 where only one has.
    """
    reach = max(1.0, tolerance * math.hypot(*truth.shape))
    scored = truth != ignored
    known = ~_near(~scored, reach)
    edges, true_edges = _edges(prediction, np.ones_like(scored)), _edges(truth, scored)
    judged, true_judged = edges & known, true_edges & known
    if not judged.any() or not true_judged.any():
        return float(judged.any() == true_judged.any())
    precision = float(_near(true_edges, reach)[judged].mean())
    recall = float(_near(edges, reach)[true_judged].mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _edges(labels: LabelArray, scored: Mask) -> Mask:
    """Mark scored pixels whose right or lower neighbour is scored and has another label."""
    edges = np.zeros(labels.shape, bool)
    edges[:, :-1] |= (labels[:, :-1] != labels[:, 1:]) & scored[:, :-1] & scored[:, 1:]
    edges[:-1] |= (labels[:-1] != labels[1:]) & scored[:-1] & scored[1:]
    return edges


def _near(mask: Mask, reach: float) -> Mask:
    """Mark the pixels within a Euclidean distance of `reach` pixels of the mask."""
    if not mask.any():
        return np.zeros_like(mask)
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2,
                                     cv2.DIST_MASK_PRECISE)
    return np.asarray(distance <= reach)
