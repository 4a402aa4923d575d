"""What a keyframe changes: labels, splits and merges of tracks, their looks and positions."""

from __future__ import annotations

import copy
from dataclasses import replace

from diffseg_ros.config import TrackingConfig
from diffseg_ros.geometry.pixel_source import Source
from diffseg_ros.tracking.association import (
    Appearance,
    associate,
    count_overlap,
    Overlap,
    reidentify,
)
from diffseg_ros.tracking.label_map import CAPACITY, LabelMap, resize_nearest, STRIDE, subsample
from diffseg_ros.tracking.split_merge import SplitDetector, TrackMerger
from diffseg_ros.tracking.track_manager import TrackManager, TrackRecord, update_appearance
from diffseg_ros.tracking.tracking_frame import FloatArray
from diffseg_ros.tracking.world_map import WorldPoints
from diffseg_ros.types import Mask, SegmentKind, Segments
import numpy as np
import numpy.typing as npt

_REMNANT = 0.5
_OWN_SHARE = 0.3
_GAIN, _GAIN_BY_CONFIDENCE = 0.15, 0.35


class SegmentMap:
    """A frame's segments at the size that labels are tracked at."""

    def __init__(self, segments: Segments, shape: tuple[int, int]) -> None:
        """
        Resize to (H, W) uint16; `small` has every second pixel, clear segments more `gain`.

        `original` stays as it is where the segments are carried to a later frame.
        """
        self.labels = self.original = resize_nearest(segments.labels.astype(np.uint16), shape)
        self.small = subsample(self.labels)
        self.gain: FloatArray = resize_nearest(segments.confidence, shape).astype(np.float32)
        self.gain *= np.float32(_GAIN_BY_CONFIDENCE / 255)
        self.gain += np.float32(_GAIN)
        self.embeddings = segments.embeddings
        self.kinds = np.array([[kind is one for one in SegmentKind] for kind in segments.kinds])
        self.count = len(segments.embeddings)

    @property
    def objects(self) -> Mask | None:
        """Which of the segments are objects, None if that was not looked for."""
        if not len(self.kinds):
            return None
        objects: Mask = self.kinds[:, tuple(SegmentKind).index(SegmentKind.OBJECT)]
        return objects

    def carried(self, source: Source) -> SegmentMap:
        """Return the segments in a later frame: the nearest, without gain, where no source is."""
        height, width = self.labels.shape
        moved = replace(LabelMap.empty((height, width)), slots=self.labels,
                        confidence=self.gain).warped(source)
        moved.fill(source.known)
        later = copy.copy(self)
        later.labels, later.gain = moved.slots, moved.confidence
        later.small = subsample(moved.slots)
        return later


def fuse(labels: LabelMap, assigned: npt.NDArray[np.uint16], gain: FloatArray,
         weight: float) -> None:
    """
    Strengthen pixels that a segment confirms, weaken the others, and give up the weakest.

    `assigned` is the (H, W) slot of each pixel's segment, `gain` its (H, W) evidence, `weight` the
    novelty, 0 to 1. Pixels without a known track take the assigned one at full weight.
    """
    confidence = (assigned == labels.slots).astype(np.float32)
    confidence -= np.float32(0.5)  # twice this is the sign; faster than np.where
    confidence *= gain
    confidence *= np.float32(2 * weight)
    confidence += labels.confidence
    takes = ~labels.known | (confidence < 0)
    np.copyto(confidence, gain, where=takes)
    np.copyto(labels.slots, assigned, where=takes)
    labels.confidence = np.minimum(confidence, np.float32(1))


class TrackUpdater:
    """Brings the tracks' labels into line with segments, slowly where they disagree."""

    def __init__(self, config: TrackingConfig, tracks: TrackManager, merger: TrackMerger) -> None:
        self.config = config
        self._tracks = tracks
        self._merger = merger
        self._splits = SplitDetector()

    def update(self, labels: LabelMap, segments: SegmentMap, novelty: float,
               points: WorldPoints | None) -> None:
        """
        Correct labels, in place, and tracks by the segments of a keyframe.

        `novelty`, 0 to 1, is how much they add to the last ones; `points` may be unknown.
        """
        remnants = labels.pixel_counts() < _REMNANT * self._least_pixels(labels)
        np.copyto(labels.confidence, 0, where=remnants.take(labels.slots))
        assigned = self._assigned_slots(labels, segments, points)
        # Too little to be a track yet: it stays a guess, so that nothing takes it over.
        none = assigned < 0
        np.copyto(assigned, labels.slots, where=none, casting='unsafe')
        gain = segments.gain * ~none
        fuse(labels, assigned.view(np.uint16), gain, novelty)
        overlap = self._split(labels, segments, novelty, points)
        self._update_tracks(labels, segments, overlap, points)
        self._merger.merge(labels, overlap, novelty)

    def _assigned_slots(self, labels: LabelMap, segments: SegmentMap,
                        points: WorldPoints | None) -> npt.NDArray[np.int16]:
        """Return the (H, W) slot that pixels are assigned to, -1 for none; may start tracks."""
        overlap = count_overlap(subsample(labels.slots), subsample(labels.known), segments.small,
                                segments.count)
        assignment = associate(overlap.table, self._similarity(overlap, segments))
        tracks = len(overlap.slots)
        parts = assignment.take(overlap.cells)
        new_pixels = np.bincount(parts.ravel(), minlength=tracks + segments.count)
        new_pixels[:tracks] = 0
        least = self._least_pixels(labels) / STRIDE**2 if tracks else 1
        started = np.flatnonzero(new_pixels >= max(least, 1))
        new = [self._appearance(segments.embeddings[row - tracks], parts == row, points)
               for row in started]
        slot_of = np.full(tracks + segments.count, -1, np.int64)
        slot_of[:tracks] = overlap.slots
        for row, track in zip(started, self._known_or_new(new, overlap), strict=True):
            if track is not None:
                slot_of[row] = track.slot
        # One look-up by (slot, segment) for known pixels and one by segment for the others.
        by_slot = np.full((CAPACITY, segments.count), -1, np.int16)
        by_slot[overlap.slots] = slot_of[assignment[:-1]]
        by_segment = slot_of[assignment[-1]].astype(np.int16)
        cells = labels.slots.astype(np.intp)
        cells *= segments.count
        cells += segments.labels
        assigned: npt.NDArray[np.int16] = by_slot.take(cells)
        guesses = np.flatnonzero(~labels.known)
        assigned.ravel()[guesses] = by_segment.take(segments.labels.ravel()[guesses])
        return assigned

    def _similarity(self, overlap: Overlap, segments: SegmentMap) -> FloatArray:
        """Return the (T, S) cosine of tracks and segments; 1 for tracks without embedding."""
        similarity = np.ones((len(overlap.slots), segments.count), np.float32)
        known = {row: embedding for row, slot in enumerate(overlap.slots.tolist())
                 if (embedding := self._tracks[slot].embedding) is not None
                 and embedding.shape == segments.embeddings.shape[1:]}
        if known:
            similarity[list(known)] = np.stack(list(known.values())) @ segments.embeddings.T
        return similarity

    def _known_or_new(self, new: list[Appearance],
                      overlap: Overlap) -> list[TrackRecord | None]:
        """Return for each a confirmed or placed track that is not in view, or else a new one."""
        in_view = set(overlap.slots.tolist())
        lost = [track for track in self._tracks if track.slot not in in_view
                and (track.confirmed or track.followed
                     or track.loaded and track.position is not None)]
        found = reidentify(new, lost, self.config.reidentify_similarity)
        return [track or self._tracks.start() for track in found]

    def _appearance(self, embedding: npt.NDArray[np.float32], mask: Mask,
                    points: WorldPoints | None) -> Appearance:
        return Appearance(embedding, points.position(mask) if points is not None else None)

    def _split(self, labels: LabelMap, segments: SegmentMap, novelty: float,
               points: WorldPoints | None) -> Overlap:
        """Start tracks for parts that enough keyframes cut off; return the overlap then."""
        overlap = count_overlap(subsample(labels.slots), None, segments.small, segments.count)
        labels.split_candidates, parts = self._splits.update(
            labels.split_candidates, overlap, segments.small,
            least=2 * self._least_pixels(labels) / STRIDE**2, after=self.config.split_after,
            weight=novelty, objects=segments.objects)
        if not parts:
            return overlap
        for part in parts:
            whole = self._tracks[int(subsample(labels.slots)[part][0])]
            if self._tracks.shares_id(whole):
                track = self._tracks.start(part_of=whole)
            else:
                embedding = segments.embeddings[np.bincount(segments.small[part]).argmax()]
                new = [self._appearance(embedding, part, points)]
                track, = self._known_or_new(new, overlap)
            if track is not None:
                height, width = labels.shape
                pixels = part.repeat(STRIDE, 0).repeat(STRIDE, 1)[:height, :width]
                labels.slots[pixels] = track.slot
        return count_overlap(subsample(labels.slots), None, segments.small, segments.count)

    def _update_tracks(self, labels: LabelMap, segments: SegmentMap, overlap: Overlap,
                       points: WorldPoints | None) -> None:
        """
        Note how the tracks in view look, what they are, and where.

        A track that holds little of the segment it lies in looks like that segment by mistake.
        """
        table = overlap.table[:-1]
        purity = table / np.maximum(overlap.table.sum(axis=0), 1)
        embeddings = (table * purity) @ segments.embeddings
        embeddings /= np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
        own = purity[np.arange(len(table)), table.argmax(axis=1)] >= _OWN_SHARE
        tracks = [self._tracks[slot] for slot in overlap.slots[own].tolist()]
        for track in tracks:
            track.hits += 1
            track.confirmed |= track.hits >= self.config.confirm_after
        update_appearance(tracks, embeddings[own].astype(np.float32))
        if len(segments.kinds):
            kinds = table @ segments.kinds / np.maximum(table.sum(axis=1, keepdims=True), 1)
            for track, shares in zip(tracks, kinds[own], strict=True):
                track.update_kinds(shares)
        if points is not None:
            for slot, position in points.positions(labels.slots):
                self._tracks[slot].update_position(position)

    def _least_pixels(self, labels: LabelMap) -> float:
        return self.config.min_share * labels.slots.size
