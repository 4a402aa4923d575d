"""Overlap of predicted segments with true regions, counted in pixels."""

from __future__ import annotations

from dataclasses import dataclass

from diffseg_ros.errors import DiffsegError
import numpy as np
import numpy.typing as npt

LabelArray = npt.NDArray[np.integer]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Contingency:
    """
    How many pixels each segment shares with each region.

    Segments and regions stand in the order of their first pixel (row by row), so that nothing
    computed from the table depends on which numbers name them.

    Attributes
    ----------
    segments
        (S,) ids of the predicted segments, UNLABELLED left out.
    regions
        (R,) ids of the true regions, the ignored id left out.
    overlap
        (S, R) int64 pixels.
    ignored
        (S,) int64 pixels of each segment on ignored truth.
    region_pixels
        (R,) int64 size of each region; pixels that the prediction leaves unlabelled count.

    """

    segments: Counts
    regions: Counts
    overlap: Counts
    ignored: Counts
    region_pixels: Counts

    @property
    def segment_pixels(self) -> Counts:
        """(S,) int64 size of each segment without its ignored pixels."""
        return self.overlap.sum(axis=1)

    @property
    def iou(self) -> npt.NDArray[np.float64]:
        """(S, R) intersection over union; 0 for a segment that is ignored as a whole."""
        union = self.segment_pixels[:, None] + self.region_pixels - self.overlap
        return self.overlap / np.maximum(union, 1)


def contingency(prediction: LabelArray, truth: LabelArray, ignore: int) -> Contingency:
    """
    Count the overlaps of two label images.

    Parameters
    ----------
    prediction
        (H, W) integers; negative ones are unlabelled.
    truth
        (H, W) integers.
    ignore
        Value of `truth` that is not scored.

    Raises
    ------
    DiffsegError
        The arrays are empty, of different shapes or not of integers.

    """
    check_labels(prediction, truth)
    segments, rows = _numbered(prediction)
    regions, columns = _numbered(truth)
    shape = len(segments), len(regions)
    table = np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1]).reshape(shape)
    labelled, scored = segments >= 0, regions != ignore
    return Contingency(segments[labelled], regions[scored],
                       np.ascontiguousarray(table[labelled][:, scored]),
                       table[labelled][:, ~scored].sum(axis=1),
                       table[:, scored].sum(axis=0))


def check_labels(prediction: LabelArray, truth: LabelArray) -> None:
    """Refuse label images that cannot be compared."""
    for name, labels in (('prediction', prediction), ('truth', truth)):
        if labels.ndim != 2 or not labels.size or not np.issubdtype(labels.dtype, np.integer):
            raise DiffsegError(f'{name}: got {labels.dtype} {labels.shape}; an HxW array of '
                               'integers is needed')
    if prediction.shape != truth.shape:
        raise DiffsegError(f'prediction {prediction.shape} and truth {truth.shape} differ in '
                           'size; both must be of the size of the image')


def _numbered(labels: LabelArray) -> tuple[Counts, Counts]:
    """Return the ids in the order of their first pixel, and each pixel's place in that order."""
    flat = labels.ravel().astype(np.int64)
    low = int(flat.min())
    offset: Counts = flat - low
    span = int(offset.max()) + 1
    ids: Counts
    if span > 2**20:
        ids, offset = (part.astype(np.int64) for part in np.unique(offset, return_inverse=True))
        span = len(ids)
    else:
        ids = np.arange(span, dtype=np.int64)
    # Of repeated indices the last assignment stands: backwards, that is the first pixel.
    first = np.full(span, -1, np.int64)
    first[offset[::-1]] = np.arange(len(flat))[::-1]
    present = np.flatnonzero(first >= 0)
    order = present[np.argsort(first[present])]
    place = np.empty(span, np.int64)
    place[order] = np.arange(len(order))
    return ids[order] + low, place[offset]
