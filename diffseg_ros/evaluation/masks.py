"""
Accuracy of segments without names against masks: mean IoU, pixel accuracy, boundary F.

Segments carry no class, so each image's segments are first matched one to one with its classes
or regions (Hungarian method). The matching maximises the number of shared pixels, not the sum of
IoUs. Three rules follow from it:

- Pixels of a segment that stays unmatched are false negatives of what lies below them, and
  false positives of nothing. So are unlabelled pixels.
- In a data set of classes a segment is matched as long as there are free classes, the classes
  that the image does not show included. A segment whose class it does not touch is a false
  positive of that class; this charges methods that split beyond what the image shows.
- With a background class the segments are matched without it first. Those that then share no
  pixel with a class are joined into one background segment, and all are matched again.
"""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import Any

from diffseg_ros.errors import DiffsegError
from diffseg_ros.evaluation.boundaries import boundary_f
from diffseg_ros.evaluation.contingency import Contingency, contingency, Counts, LabelArray
from diffseg_ros.evaluation.detections import objects_of
import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

__all__ = ['boundary_f', 'grid_labels', 'MaskAccumulator', 'region_miou', 'table_miou']

IGNORED_CLASS = 255
"""Value of 8-bit label images that is not scored."""


def region_miou(prediction: LabelArray, truth: LabelArray, *, ignore: int = 65535,
                background: int | None = None) -> float:
    """
    Return the mean IoU over one image's true regions.

    Parameters
    ----------
    prediction
        (H, W) integers; negative ones are unlabelled.
    truth
        (H, W) integers.
    ignore
        Value of `truth` that is not scored.
    background
        Value of `truth` that is no object: it is not matched and not averaged, but a segment
        that reaches into it is the worse for it.

    Returns
    -------
    float
        0 to 1, or NaN where the image has no region.

    Raises
    ------
    DiffsegError
        The arrays are empty, of different shapes or not of integers.

    """
    return table_miou(contingency(prediction, truth, ignore), background)


def table_miou(table: Contingency, background: int | None = None) -> float:
    """Return what `region_miou` does, of overlaps counted already."""
    objects = objects_of(table, background)
    if not objects.any():
        return math.nan
    overlap = table.overlap[:, objects]
    rows, columns = _assign(overlap)
    scores = np.zeros(overlap.shape[1])
    scores[columns] = table.iou[:, objects][rows, columns]
    return float(scores.mean())


def grid_labels(height: int, width: int, rows: int = 4, columns: int = 5) -> npt.NDArray[np.int32]:
    """Return (height, width) int32 labels of a grid of rectangles, the floor of any score."""
    row = np.arange(height, dtype=np.int32) * rows // height
    column = np.arange(width, dtype=np.int32) * columns // width
    return row[:, None] * columns + column


class MaskAccumulator:
    """Sums a data set's images into one report; nothing is kept per image."""

    def __init__(self, class_count: int | None, *, ignore: int = IGNORED_CLASS,
                 background: int | None = None, class_names: Sequence[str] = ()) -> None:
        """
        Begin an empty data set.

        Parameters
        ----------
        class_count
            Classes are numbered from 0 to class_count - 1 and mean the same in all images:
            TP, FP and FN of a class are summed over the images, and the classes present in the
            truth averaged. None: the ids are regions of one image; the mean over an image's
            regions is averaged over the images.
        ignore
            Value of the truth that is not scored.
        background
            Class or region id of the background, or None.
        class_names
            For the report; the numbers stand in for missing ones.

        """
        self._class_count = class_count
        self._ignore = ignore
        self._background = background
        self._names = class_names
        self._hits, self._false, self._missed = np.zeros((3, class_count or 0), np.int64)
        self._region_scores: list[float] = []
        self._boundary_scores: list[float] = []
        self._correct = self._labelled = self._segments = 0

    def add(self, prediction: LabelArray, truth: LabelArray) -> None:
        """
        Score one image.

        Parameters
        ----------
        prediction
            (H, W) integers; negative ones are unlabelled.
        truth
            (H, W) integers.

        Raises
        ------
        DiffsegError
            The arrays cannot be compared, or a class is not below class_count.

        """
        table = contingency(prediction, truth, self._ignore)
        overlap, ids = self._columns(table.overlap, table.regions)
        overlap = overlap[overlap.any(axis=1)]
        if self._background is not None:
            overlap = _join_unmatched(overlap, ids != self._background)
        sizes = np.zeros(len(ids), np.int64)
        sizes[_places(ids, table.regions)] = table.region_pixels
        hits, false = _matched_pixels(overlap)
        self._correct += int(hits.sum())
        self._labelled += int(sizes.sum())
        self._segments += len(table.segments)
        self._boundary_scores.append(boundary_f(prediction, truth, ignore=self._ignore))
        if self._class_count is None:
            if len(ids):
                self._region_scores.append(float(np.mean(hits / (sizes + false))))
        else:
            self._hits += hits
            self._false += false
            self._missed += sizes - hits

    def report(self) -> dict[str, Any]:
        """
        Return miou, pixel_accuracy, boundary_f, images, segments_per_image, per_class.

        `per_class` maps class names to IoUs and is empty for regions. Measures are None where
        not a single pixel is labelled.

        Raises
        ------
        DiffsegError
            No image was added.

        """
        images = len(self._boundary_scores)
        if not images:
            raise DiffsegError('evaluation: no image was scored; at least one is needed')
        per_class = self._class_scores()
        scores = self._region_scores if self._class_count is None else list(per_class.values())
        return {'miou': float(np.mean(scores)) if scores else None,
                'pixel_accuracy': self._correct / self._labelled if self._labelled else None,
                'boundary_f': float(np.mean(self._boundary_scores)),
                'images': images,
                'segments_per_image': self._segments / images,
                'per_class': per_class}

    def _columns(self, overlap: Counts, regions: Counts) -> tuple[Counts, Counts]:
        """Return the overlap with all classes (or this image's regions), and their ids."""
        if self._class_count is None:
            return overlap, regions
        if len(regions) and not 0 <= regions.min() <= regions.max() < self._class_count:
            raise DiffsegError(f'truth: class {regions.max() if regions.min() >= 0 else "below 0"}'
                               f'; the data set has {self._class_count} classes, numbered from 0')
        full = np.zeros((len(overlap), self._class_count), np.int64)
        full[:, regions] = overlap
        return full, np.arange(self._class_count)

    def _class_scores(self) -> dict[str, float]:
        present = np.flatnonzero(self._hits + self._missed)
        union = self._hits + self._false + self._missed
        return {self._names[index] if index < len(self._names) else str(index):
                float(self._hits[index] / union[index]) for index in present}


def _places(ids: Counts, wanted: Counts) -> Counts:
    """Return where each of `wanted` stands in `ids`; both hold no id twice."""
    order = np.argsort(ids)
    return order[np.searchsorted(ids, wanted, sorter=order)]


def _assign(overlap: Counts) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return rows and columns of the one-to-one matching that shares the most pixels."""
    return linear_sum_assignment(overlap, maximize=True)


def _matched_pixels(overlap: Counts) -> tuple[Counts, Counts]:
    """Return (R,) true positive and (R,) false positive pixels after matching."""
    hits, false = np.zeros((2, overlap.shape[1]), np.int64)
    rows, columns = _assign(overlap)
    hits[columns] = overlap[rows, columns]
    false[columns] = overlap[rows].sum(axis=1) - overlap[rows, columns]
    return hits, false


def _join_unmatched(overlap: Counts, objects: npt.NDArray[np.bool_]) -> Counts:
    """Join the rows that a matching with the object columns leaves over into one last row."""
    candidates = overlap[:, objects]
    rows, columns = _assign(candidates)
    matched = np.zeros(len(overlap), bool)
    matched[rows[candidates[rows, columns] > 0]] = True
    return np.vstack([overlap[matched], overlap[~matched].sum(axis=0, keepdims=True)])
