"""What a segmented frame changes: labels, splits and merges of tracks, how and where they are."""

from __future__ import annotations

from diffseg_ros.config import TrackingConfig
from diffseg_ros.tracking.association import associate, Cells, tabulate
from diffseg_ros.tracking.fusion import fuse, KNOWN_STRENGTH, SegmentMap
from diffseg_ros.tracking.label_map import LabelField, THIN
from diffseg_ros.tracking.reidentification import Appearance, reidentify
from diffseg_ros.tracking.split_merge import SplitWatch
from diffseg_ros.tracking.track import CAPACITY, look_like, TrackRecord
from diffseg_ros.tracking.track_manager import TrackBook
from diffseg_ros.tracking.track_merger import Unifier
from diffseg_ros.tracking.voxel_label_map import WorldMemory
from diffseg_ros.tracking.world_points import Places
import numpy as np
import numpy.typing as npt

_REMNANT = 0.5
_OWN_SHARE = 0.3


class Corrector:
    """Brings the tracks' labels into line with fresh segments, slowly where they disagree."""

    def __init__(self, config: TrackingConfig, book: TrackBook, memory: WorldMemory) -> None:
        """Work on the tracks of `book`, and keep `memory` in step when tracks become one."""
        self.config = config
        self.unifier = Unifier(config, book, memory)
        self._book = book
        self._splits = SplitWatch()

    def configure(self, config: TrackingConfig) -> None:
        """Apply changed settings."""
        self.config = self.unifier.config = config

    def clear(self) -> None:
        """Forget the evidence for splits and merges."""
        self._splits.clear()
        self.unifier.clear()

    def correct(self, field: LabelField, fresh: SegmentMap, weight: float, places: Places | None,
                frame: int) -> None:
        """
        Correct a field by the segments of its frame.

        Parameters
        ----------
        field
            The expected labels; changed in place. Before the first segments its strength is 0.
        fresh
            The segments.
        weight
            0 to 1: how much of them is news since the last segmented frame.
        places
            Where the pixels are in the world, if that is known.
        frame
            Number of the frame.

        """
        sizes = field.count(CAPACITY)
        remnants = sizes < _REMNANT * self._least(field)
        np.copyto(field.strength, 0, where=remnants.take(field.slots))
        speaks = self._speaks(field, fresh, places, frame)
        gain, silent = fresh.gain, speaks < 0
        if silent.any():
            # Too little to be a track yet: it stays a guess, so that nothing takes it over.
            np.copyto(speaks, field.slots, where=silent, casting='unsafe')
            gain = np.where(silent, np.float32(0), gain)
        fuse(field, speaks.view(np.uint16), gain, weight)
        cells = self._split(field, fresh, weight, places, frame)
        self._look(cells, fresh, field, places)
        self.unifier.merge(field, cells, weight)

    def _speaks(self, field: LabelField, fresh: SegmentMap, places: Places | None,
                frame: int) -> npt.NDArray[np.int16]:
        """Return the (H, W) slot that pixels speak for, -1 for none; new tracks are started."""
        slots, strength = field.thinned()
        cells = tabulate(slots, strength >= KNOWN_STRENGTH, fresh.thin, fresh.count)
        joined = associate(cells.table, self._likeness(cells, fresh))
        tracks = len(cells.slots)
        enough = joined.new * THIN**2 >= (self._least(field) if tracks else 1)
        begun = np.flatnonzero(enough & (joined.new > 0))
        spoken = np.full(tracks + fresh.count, -1, np.int64)
        spoken[:tracks] = cells.slots
        parts = joined.says.take(cells.places)
        seen = [self._appearance(fresh.embeddings[segment], parts == tracks + segment, places)
                for segment in begun]
        for segment, track in zip(begun, self._known_or_new(seen, cells, frame), strict=True):
            if track is not None:
                spoken[tracks + segment] = track.slot
        # One look-up by (slot, segment) for known pixels and one by segment for the others.
        by_slot = np.full((CAPACITY, fresh.count), -1, np.int16)
        by_slot[cells.slots] = spoken[joined.says[:-1]]
        by_segment = spoken[joined.says[-1]].astype(np.int16)
        place = field.slots.astype(np.intp)
        place *= fresh.count
        place += fresh.labels
        speaks: npt.NDArray[np.int16] = by_slot.take(place)
        guesses = np.flatnonzero(field.strength < KNOWN_STRENGTH)
        speaks.ravel()[guesses] = by_segment[fresh.labels.ravel()[guesses]]
        return speaks

    def _likeness(self, cells: Cells, fresh: SegmentMap) -> npt.NDArray[np.float32]:
        """Return the (T, S) cosine of tracks and segments; 1 for tracks never looked at."""
        likeness = np.ones((len(cells.slots), fresh.count), np.float32)
        looks = {row: known for row, slot in enumerate(cells.slots.tolist())
                 if (known := self._book.at(slot).embedding) is not None
                 and known.shape == fresh.embeddings.shape[1:]}
        if looks:
            likeness[list(looks)] = np.stack(list(looks.values())) @ fresh.embeddings.T
        return likeness

    def _known_or_new(self, seen: list[Appearance], cells: Cells,
                      frame: int) -> list[TrackRecord | None]:
        """Return a confirmed track that is not in `cells`, or else a new one, for each."""
        present = set(cells.slots.tolist())
        absent = [track for track in self._book
                  if track.confirmed and track.slot not in present]
        found = reidentify(seen, absent, self.config.reidentify_similarity)
        return [track or self._book.start(frame) for track in found]

    def _appearance(self, embedding: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_],
                    places: Places | None) -> Appearance:
        place = places.of(mask) if places is not None else None
        return Appearance(embedding, *(place or (None, None)))

    def _split(self, field: LabelField, fresh: SegmentMap, weight: float, places: Places | None,
               frame: int) -> Cells:
        """
        Start tracks for pieces that enough segmented frames have cut from a track.

        Returns how the segments lie on the tracks then.
        """
        cells = tabulate(field.thinned()[0], None, fresh.thin, fresh.count)
        field.pieces, found = self._splits.update(
            field.pieces, cells, fresh.thin, least=2 * self._least(field) / THIN**2,
            after=self.config.split_after, weight=weight)
        for mask in found:
            cut = self._book.at(int(field.thinned()[0][mask][0]))
            if self.unifier.whole(cut) is None:
                embedding = fresh.embeddings[np.bincount(fresh.thin[mask]).argmax()]
                seen = [self._appearance(embedding, mask, places)]
                track, = self._known_or_new(seen, cells, frame)
            else:
                track = self._book.start(frame, part_of=cut)
            if track is not None:
                height, width = field.shape
                field.slots[mask.repeat(THIN, 0).repeat(THIN, 1)[:height, :width]] = track.slot
        return tabulate(field.thinned()[0], None, fresh.thin, fresh.count) if found else cells

    def _look(self, cells: Cells, fresh: SegmentMap, field: LabelField,
              places: Places | None) -> None:
        """
        Note how the tracks in view look, and where they are.

        A track that holds little of the segment it lies in looks like that segment by mistake.
        """
        table = cells.table[:-1]
        purity = table / np.maximum(cells.table.sum(axis=0), 1)
        looks = (table * purity) @ fresh.embeddings
        looks /= np.maximum(np.linalg.norm(looks, axis=1, keepdims=True), 1e-12)
        home = purity[np.arange(len(table)), table.argmax(axis=1)]
        own = home >= _OWN_SHARE
        tracks = [self._book.at(slot) for slot in cells.slots[own].tolist()]
        for track in tracks:
            track.hits += 1
            track.confirmed |= track.hits >= self.config.confirm_after
        look_like(tracks, looks[own].astype(np.float32))
        if places is not None:
            for slot, centre, extent in places.by_slot(field.slots):
                self._book.at(slot).be_at(centre, extent)

    def _least(self, field: LabelField) -> float:
        """Return the pixels that a new track must have."""
        return self.config.min_share * field.slots.size
