"""Measures of masks of single images: mean IoU, pixel accuracy and the F measure of outlines."""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import Any

import cv2
from diffseg_ros.errors import DiffsegError
from diffseg_ros.evaluation.contingency import Contingency, contingency, Counts, LabelArray
from diffseg_ros.evaluation.measure import Measure, Observation
from diffseg_ros.registry import register_measure
from diffseg_ros.types import LabelImage, Mask
import numpy as np
from scipy.optimize import linear_sum_assignment

OUTLINE_TOLERANCE = 0.0075
"""Distance that counts as a hit, as a share of the image diagonal (as in BSDS)."""


@register_measure('miou', commands=('masks',))
class MeanIou(Measure):
    """
    Accuracy of segments without names against masks: mean IoU and pixel accuracy.

    Segments carry no class, so each image's segments are first matched one to one with its
    classes or regions (Hungarian method). The matching maximises the number of shared pixels, not
    the sum of IoUs. Three rules follow from it:

    - Pixels of a segment that stays unmatched are false negatives of what lies below them, and
      false positives of nothing. So are unlabelled pixels.
    - In a data set of classes a segment is matched as long as there are free classes, the classes
      that the image does not show included. A segment whose class it does not touch is a false
      positive of that class; this charges methods that split beyond what the image shows.
    - With a background class the segments are matched without it first. Those that then share no
      pixel with a class are joined into one background segment, and all are matched again.

    Of classes, which mean the same in all images, TP, FP and FN are summed over the images, and
    the IoUs of the classes that the truth shows averaged. Of regions the mean over an image's
    regions is averaged over the images.
    """

    def reset(self) -> None:
        self._classes: Sequence[str] = ()
        # True positive, false positive and false negative pixels of each class.
        self._pixels: Counts = np.zeros((3, 1), np.int64)
        self._scores: list[float] = []
        self._correct = self._labelled = self._segments = self._images = 0

    def update(self, observation: Observation) -> None:
        table, classes = observation.contingency, observation.classes
        if table is None:
            return
        overlap, sizes, objects = table.overlap, table.region_pixels, table.objects
        if classes is not None:
            overlap, sizes, objects = _of_all_classes(table, len(classes))
        overlap = overlap[overlap.any(axis=1)]
        if table.background is not None:
            overlap = _join_unmatched(overlap, objects)
        hits, false = _matched_pixels(overlap)
        self._images += 1
        self._segments += len(table.segments)
        self._correct += int(hits.sum())
        self._labelled += int(sizes.sum())
        if classes is not None:
            self._classes = classes
            self._pixels = self._pixels + np.stack([hits, false, sizes - hits])
        elif len(sizes):
            self._scores.append(float(np.mean(hits / (sizes + false))))

    def compute(self) -> dict[str, Any]:
        """
        Return miou, pixel_accuracy, images, segments_per_image and per_class.

        `per_class` maps class names to IoUs and is empty for regions. Measures are None where
        not a single pixel is labelled.
        """
        hits, false, missed = self._pixels
        per_class = {self._classes[index]: float(hits[index] / (hits + false + missed)[index])
                     for index in np.flatnonzero(hits + missed)}
        scores = self._scores or list(per_class.values())
        return {'miou': float(np.mean(scores)) if scores else None,
                'pixel_accuracy': self._correct / self._labelled if self._labelled else None,
                'images': self._images,
                'segments_per_image': self._segments / self._images if self._images else None,
                'per_class': per_class}


def region_miou(prediction: LabelArray, truth: LabelArray, *, ignored: int = 65535,
                background: int | None = None) -> float:
    """
    Return the mean IoU over one image's true regions, 0 to 1, or NaN where it has none.

    Arguments and errors are those of `contingency`. The background is neither matched nor
    averaged, but lowers the IoU of a segment that reaches into it.
    """
    return table_miou(contingency(prediction, truth, ignored, background))


def table_miou(table: Contingency) -> float:
    """Return what `region_miou` does, from overlaps that are counted already."""
    if not table.objects.any():
        return math.nan
    overlap = table.overlap[:, table.objects]
    rows, columns = linear_sum_assignment(overlap, maximize=True)
    scores = np.zeros(overlap.shape[1])
    scores[columns] = table.iou[:, table.objects][rows, columns]
    return float(scores.mean())


def grid_labels(height: int, width: int, rows: int = 4, columns: int = 5) -> LabelImage:
    """Return (height, width) int32 labels of a grid of rectangles, the floor of any score."""
    row = np.arange(height, dtype=np.int32) * rows // height
    column = np.arange(width, dtype=np.int32) * columns // width
    return row[:, None] * columns + column


def _of_all_classes(table: Contingency, count: int) -> tuple[Counts, Counts, Mask]:
    """Return the table's overlap, region sizes and objects with a column for each class."""
    regions = table.regions
    if len(regions) and not 0 <= regions.min() <= regions.max() < count:
        raise DiffsegError(f'truth: class {regions.max() if regions.min() >= 0 else "below 0"}; '
                           f'the data set has {count} classes, numbered from 0')
    overlap = np.zeros((len(table.overlap), count), np.int64)
    overlap[:, regions] = table.overlap
    sizes = np.zeros(count, np.int64)
    sizes[regions] = table.region_pixels
    return overlap, sizes, np.arange(count) != table.background


def _matched_pixels(overlap: Counts) -> tuple[Counts, Counts]:
    """Return (R,) true positive and (R,) false positive pixels after matching."""
    hits, false = np.zeros((2, overlap.shape[1]), np.int64)
    rows, columns = linear_sum_assignment(overlap, maximize=True)
    hits[columns] = overlap[rows, columns]
    false[columns] = overlap[rows].sum(axis=1) - overlap[rows, columns]
    return hits, false


def _join_unmatched(overlap: Counts, objects: Mask) -> Counts:
    """Join the rows that a matching with the object columns leaves over into one last row."""
    candidates = overlap[:, objects]
    rows, columns = linear_sum_assignment(candidates, maximize=True)
    matched = np.zeros(len(overlap), bool)
    matched[rows[candidates[rows, columns] > 0]] = True
    return np.vstack([overlap[matched], overlap[~matched].sum(axis=0, keepdims=True)])


@register_measure('boundary_f', commands=('masks',))
class BoundaryF(Measure):
    """How well the outlines of segments follow true outlines: mean F measure of the images."""

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
               tolerance: float = OUTLINE_TOLERANCE) -> float:
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
    known = ~near(~scored, reach)
    edges, true_edges = _edges(prediction, np.ones_like(scored)), _edges(truth, scored)
    judged, true_judged = edges & known, true_edges & known
    if not judged.any() or not true_judged.any():
        return float(judged.any() == true_judged.any())
    precision = float(near(true_edges, reach)[judged].mean())
    recall = float(near(edges, reach)[true_judged].mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _edges(labels: LabelArray, scored: Mask) -> Mask:
    """Mark scored pixels whose right or lower neighbour is scored and has another label."""
    edges = np.zeros(labels.shape, bool)
    edges[:, :-1] |= (labels[:, :-1] != labels[:, 1:]) & scored[:, :-1] & scored[:, 1:]
    edges[:-1] |= (labels[:-1] != labels[1:]) & scored[:-1] & scored[1:]
    return edges


def near(mask: Mask, reach: float) -> Mask:
    """Mark the pixels within a Euclidean distance of `reach` pixels of the mask."""
    if not mask.any():
        return np.zeros_like(mask)
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2,
                                     cv2.DIST_MASK_PRECISE)
    return np.asarray(distance <= reach)
