"""Overlap of predicted segments with true regions, counted in pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.label_images import compact, first_members, Indices
from diffseg_ros.types import Mask
import numpy as np
import numpy.typing as npt

LabelArray = npt.NDArray[np.integer]
Counts = npt.NDArray[np.int64]

MATCH_IOU = 0.5
"""IoU from which on a segment counts as a detection of an object, as in MOTS."""


@dataclass(frozen=True)
class Contingency:
    """
    How many pixels each segment shares with each region.

    Segments and regions are in the order of their first pixel (row by row), so that no result
    depends on their numbers.

    Attributes
    ----------
    segments
        (S,) ids of the predicted segments, unlabelled ones left out.
    regions
        (R,) ids of the true regions, the ignored id left out.
    overlap
        (S, R) int64 pixels.
    ignored
        (S,) int64 pixels of each segment on ignored truth.
    region_pixels
        (R,) int64 size of each region; pixels that the prediction leaves unlabelled count.
    background
        Id of the region that is no object.

    """

    segments: Counts
    regions: Counts
    overlap: Counts
    ignored: Counts
    region_pixels: Counts
    background: int | None = None

    @cached_property
    def segment_pixels(self) -> Counts:
        """(S,) int64 size of each segment without its ignored pixels."""
        return self.overlap.sum(axis=1)

    @cached_property
    def iou(self) -> npt.NDArray[np.float64]:
        """(S, R) intersection over union; 0 for a segment that is ignored as a whole."""
        union = self.segment_pixels[:, None] + self.region_pixels - self.overlap
        return self.overlap / np.maximum(union, 1)

    @cached_property
    def objects(self) -> Mask:
        """(R,) bool: the regions that are objects, which is all but the background."""
        if self.background is None:
            return np.ones(len(self.regions), bool)
        return np.asarray(self.regions != self.background)

    @cached_property
    def detections(self) -> Mask:
        """(S, R) bool: which segments detect which objects (IoU of at least 0.5)."""
        return (self.iou >= MATCH_IOU) & self.objects

    @cached_property
    def scored_segments(self) -> Mask:
        """
        (S,) bool: the segments that measures of detections count, as right or false ones.

        A segment that detects no object and lies by more than half on ignored or background
        pixels is not counted, because the truth does not say what is there.
        """
        unknown = self.ignored + self.overlap[:, ~self.objects].sum(axis=1)
        size = self.ignored + self.segment_pixels
        return np.asarray(self.detections.any(axis=1) | (2 * unknown <= size))


def contingency(prediction: LabelArray, truth: LabelArray, ignored: int,
                background: int | None = None) -> Contingency:
    """
    Count the overlaps of two (H, W) label images of integers.

    Negative values of `prediction` are unlabelled; `ignored` is the value of `truth` that is not
    scored, `background` the one that is no object. Raises DiffsegError if the arrays are empty,
    of different shapes or not of integers.
    """
    for name, labels in (('prediction', prediction), ('truth', truth)):
        if labels.ndim != 2 or not labels.size or not np.issubdtype(labels.dtype, np.integer):
            raise DiffsegError(f'{name}: got {labels.dtype} {labels.shape}; an HxW array of '
                               'integers is needed')
    if prediction.shape != truth.shape:
        raise DiffsegError(f'prediction {prediction.shape} and truth {truth.shape} differ in '
                           'size; both must have the size of the image')
    segments, rows, row_order = _numbered(prediction)
    regions, columns, column_order = _numbered(truth)
    table = np.bincount(rows * len(regions) + columns, minlength=len(segments) * len(regions))
    table = table.reshape(len(segments), len(regions))[row_order][:, column_order]
    segments, regions = segments[row_order], regions[column_order]
    labelled, scored = segments >= 0, regions != ignored
    return Contingency(segments[labelled], regions[scored],
                       np.ascontiguousarray(table[labelled][:, scored]),
                       table[labelled][:, ~scored].sum(axis=1),
                       table[:, scored].sum(axis=0), background)


def _numbered(labels: LabelArray) -> tuple[Counts, Counts, Indices]:
    """Return the ids, each pixel's place among them, and their order by first pixel."""
    places = compact(labels).ravel().astype(np.int64)
    first = first_members(places)
    return labels.ravel()[first].astype(np.int64), places, np.argsort(first)
