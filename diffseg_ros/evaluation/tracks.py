"""Measures of tracks: STQ, IDF1, HOTA and identity switches, and statistics without truth."""

from __future__ import annotations

from collections import Counter
import math
from typing import Any

from diffseg_ros.evaluation.masks import table_miou
from diffseg_ros.evaluation.measure import Measure, Observation
from diffseg_ros.geometry.label_images import compact, distinct_labels
from diffseg_ros.registry import register_measure
import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array

Floats = npt.NDArray[np.float64]

HOTA_ALPHAS = np.arange(1, 20) * 0.05
"""IoU thresholds that HOTA averages over."""

_ROUNDING = 1e-9


@register_measure('stq', commands=('tracks',))
class SegmentationTrackingQuality(Measure):
    """
    Segmentation and tracking quality (STQ): masks of each frame, and tracks as tubes of pixels.

    A tube is all pixels of one id in all frames. Ignored pixels belong to no tube; background
    pixels belong to the tracks that claim them, which lowers their IoU, but are no object.
    Memory grows with the number of pairs of tracks and objects that ever met.
    Source: Weber et al., "STEP: Segmenting and Tracking Every Pixel", 2021; here without
    classes.
    """

    def reset(self) -> None:
        self._frame_scores: list[float] = []
        self._shared: Counter[tuple[int, int]] = Counter()
        self._object_pixels: Counter[int] = Counter()
        self._track_pixels: Counter[int] = Counter()

    def update(self, observation: Observation) -> None:
        table = observation.contingency
        if table is None:
            return
        self._frame_scores.append(table_miou(table))
        tracks, objects = table.segments.tolist(), table.regions[table.objects].tolist()
        shared = table.overlap[:, table.objects]
        self._track_pixels.update(dict(zip(tracks, table.segment_pixels.tolist())))
        self._object_pixels.update(dict(zip(objects, table.region_pixels[table.objects].tolist())))
        for row, column in np.argwhere(shared):
            self._shared[objects[column], tracks[row]] += int(shared[row, column])

    def compute(self) -> dict[str, Any]:
        """
        Return stq, sq, aq, miou and best_track_iou, each None where there is no object.

        - `sq`, also called `miou`: mean over the frames of the mean IoU of the true regions.
        - `aq`: mean over the objects g of sum over tracks p of |p & g| IoU(p, g) / |g|.
        - `stq`: the geometric mean of both.
        - `best_track_iou`: IoU of the best track with the only object; None where there are more.
        """
        sizes = self._object_pixels
        iou = {(item, track): shared / (sizes[item] + self._track_pixels[track] - shared)
               for (item, track), shared in self._shared.items()}
        known = [score for score in self._frame_scores if not math.isnan(score)]
        quality = float(np.mean(known)) if known else None
        association = stq = None
        if sizes:
            association = sum(shared * iou[pair] / sizes[pair[0]]
                              for pair, shared in self._shared.items()) / len(sizes)
        if quality is not None and association is not None:
            stq = math.sqrt(quality * association)
        return {'stq': stq, 'sq': quality, 'aq': association, 'miou': quality,
                'best_track_iou': max(iou.values(), default=0.0) if len(sizes) == 1 else None}


@register_measure('idf1', commands=('tracks',))
class Idf1(Measure):
    """
    How well ids hold through a sequence: IDF1 on masks.

    After the last frame one predicted id is assigned to each true id (Hungarian method, most
    detections over the whole sequence). These detections are IDTP, and
    IDF1 = 2 IDTP / (objects + segments), both counted once per frame.
    Source: Ristani et al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera
    Tracking", 2016.
    """

    def reset(self) -> None:
        self._detections: Counter[tuple[int, int]] = Counter()
        self._objects = self._segments = 0

    def update(self, observation: Observation) -> None:
        table = observation.contingency
        if table is None:
            return
        self._objects += int(table.objects.sum())
        self._segments += int(table.scored_segments.sum())
        for row, column in np.argwhere(table.detections):
            self._detections[int(table.regions[column]), int(table.segments[row])] += 1

    def compute(self) -> dict[str, Any]:
        """Return idf1, 0 to 1, or None where there is neither an object nor a segment."""
        total = self._objects + self._segments
        return {'idf1': 2 * self._matched() / total if total else None}

    def _matched(self) -> int:
        if not self._detections:
            return 0
        objects, tracks = np.array(list(self._detections)).T
        places = (np.unique(ids, return_inverse=True)[1] for ids in (objects, tracks))
        counts = coo_array((list(self._detections.values()), tuple(places))).toarray()
        return int(counts[linear_sum_assignment(counts, maximize=True)].sum())


@register_measure('hota', commands=('tracks',))
class Hota(Measure):
    """
    Detection and association of masks in one measure: HOTA.

    In every frame segments and objects are matched one to one so that the sum of IoU times the
    alignment of the two ids over the whole sequence is largest; a match counts at a threshold
    alpha where its IoU reaches it. HOTA is the mean over alpha of sqrt(DetA AssA). About 1 kB
    per frame is kept, no image.
    Source: Luiten et al., "HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking",
    2021.
    """

    def reset(self) -> None:
        # Of each frame the (segments, objects) IoUs, and the numbers of the overlapping pairs.
        self._frames: list[tuple[coo_array, npt.NDArray[np.int64]]] = []
        self._pairs: dict[tuple[int, int], int] = {}
        self._segments: Counter[int] = Counter()
        self._objects: Counter[int] = Counter()

    def update(self, observation: Observation) -> None:
        table = observation.contingency
        if table is None:
            return
        iou = coo_array(table.iou[table.scored_segments][:, table.objects])
        segments = table.segments[table.scored_segments].tolist()
        objects = table.regions[table.objects].tolist()
        self._segments.update(segments)
        self._objects.update(objects)
        pairs = [self._pairs.setdefault((segments[row], objects[column]), len(self._pairs))
                 for row, column in zip(iou.row, iou.col)]
        self._frames.append((iou, np.array(pairs, np.int64)))

    def compute(self) -> dict[str, Any]:
        """Return hota, 0 to 1, or None where there is neither an object nor a segment."""
        segments, objects = self._segments.total(), self._objects.total()
        if not segments + objects:
            return {'hota': None}
        # Of each pair, the frames with its segment plus those with its object.
        appearances = np.array([self._segments[segment] + self._objects[item]
                                for segment, item in self._pairs], float)
        matched = self._matched(self._alignment(appearances))
        hits = matched.sum(axis=0)
        association = matched / np.maximum(appearances[:, None] - matched, 1)
        ass_a = (matched * association).sum(axis=0) / np.maximum(hits, 1)
        det_a = hits / (segments + objects - hits)
        return {'hota': float(np.sqrt(det_a * ass_a).mean())}

    def _alignment(self, appearances: Floats) -> Floats:
        """Return of each pair how well the two ids agree over the sequence, 0 to 1."""
        potential = np.zeros(len(self._pairs))
        for iou, pairs in self._frames:
            total = iou.sum(axis=1)[iou.row] + iou.sum(axis=0)[iou.col] - iou.data
            potential[pairs] += iou.data / total
        return potential / (appearances - potential)

    def _matched(self, alignment: Floats) -> Floats:
        """Return (pairs, alphas): in how many frames a pair was matched at each threshold."""
        matched = np.zeros((len(self._pairs), len(HOTA_ALPHAS)))
        for iou, pairs in self._frames:
            score = np.zeros(iou.shape)
            score[iou.row, iou.col] = alignment[pairs] * iou.data
            chosen = np.zeros(iou.shape, bool)
            chosen[linear_sum_assignment(score, maximize=True)] = True
            kept = chosen[iou.row, iou.col]
            matched[pairs[kept]] += iou.data[kept, None] >= HOTA_ALPHAS - _ROUNDING
        return matched


@register_measure('id_switches', commands=('tracks',))
class IdSwitches(Measure):
    """
    Where an object changes from one track to another: identity switches as in CLEAR MOT.

    A segment detects an object where their IoU is at least 0.5; the best of several counts.
    `found` has all switches so far as (frame, id before, id after), frames counted from 0; it is
    None without truth.
    """

    def reset(self) -> None:
        self.found: list[tuple[int, int, int]] | None = None
        self._frame = -1
        self._last: dict[int, int] = {}

    def update(self, observation: Observation) -> None:
        self._frame += 1
        table = observation.contingency
        if table is None:
            return
        self.found = self.found or []
        if not len(table.segments):
            return
        best = table.iou.argmax(axis=0)
        for column in np.flatnonzero(table.detections.any(axis=0)):
            item, track = int(table.regions[column]), int(table.segments[best[column]])
            before = self._last.get(item, track)
            if before != track:
                self.found.append((self._frame, before, track))
            self._last[item] = track

    def compute(self) -> dict[str, Any]:
        """Return the number of switches as id_switches, or None without truth."""
        return {'id_switches': None if self.found is None else len(self.found)}


@register_measure('label_statistics', commands=('tracks',))
class LabelStatistics(Measure):
    """How many tracks there are and how much they cover, which exposes degenerate results."""

    def reset(self) -> None:
        self._ids: set[int] = set()
        self._per_frame: list[int] = []
        self._largest: list[float] = []
        self._unlabelled: list[float] = []

    def update(self, observation: Observation) -> None:
        ids = distinct_labels(observation.labels)
        pixels = np.bincount(compact(observation.labels).ravel())
        tracks, size = ids >= 0, observation.labels.size
        self._ids.update(ids[tracks].tolist())
        self._per_frame.append(int(tracks.sum()))
        self._largest.append(pixels[tracks].max(initial=0) / size)
        self._unlabelled.append(pixels[~tracks].sum() / size)

    def compute(self) -> dict[str, Any]:
        """
        Return frames, tracks, tracks_per_frame, largest_share and unlabelled_share.

        `tracks` is the number of different ids, `tracks_per_frame` the median over the frames,
        the shares are of a frame's pixels, means over the frames; None without a frame.
        """
        frames = len(self._per_frame)
        return {'frames': frames, 'tracks': len(self._ids),
                'tracks_per_frame': float(np.median(self._per_frame)) if frames else None,
                'largest_share': float(np.mean(self._largest)) if frames else None,
                'unlabelled_share': float(np.mean(self._unlabelled)) if frames else None}
