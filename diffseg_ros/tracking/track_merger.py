"""Which tracks are one thing: by the segments they lie in, and by how they move."""

from __future__ import annotations

from diffseg_ros.config import TrackingConfig
from diffseg_ros.tracking.association import Cells
from diffseg_ros.tracking.label_map import LabelField
from diffseg_ros.tracking.motion_groups import MotionWatch
from diffseg_ros.tracking.object_motion import OwnMotion
from diffseg_ros.tracking.split_merge import MergeWatch
from diffseg_ros.tracking.track import CAPACITY, TrackRecord
from diffseg_ros.tracking.track_manager import TrackBook
from diffseg_ros.tracking.voxel_label_map import WorldMemory
import numpy as np
import numpy.typing as npt


class Unifier:
    """
    Makes one track of two that segments see as one, and gives one id to those that move as one.

    Parts of a moving thing, such as legs and trunk, are segments of their own in every frame:
    they go on being followed each by itself, so that no segment takes them all, and share an id.
    """

    def __init__(self, config: TrackingConfig, book: TrackBook, memory: WorldMemory) -> None:
        """Work on the tracks of `book`, and keep `memory` in step."""
        self.config = config
        self._book = book
        self._memory = memory
        self._merges, self._motion = MergeWatch(), MotionWatch()
        self._births: npt.NDArray[np.int32] = book.births()

    def clear(self) -> None:
        """Forget all evidence."""
        self._merges.clear()
        self._motion.clear()

    def observe(self, own: OwnMotion | None, field: LabelField) -> None:
        """Take in what moves by itself in a frame, and the labels carried into it."""
        if own is None:
            self._motion.pass_over()
            return
        pairs = self._motion.update(own, field.slots, self._book.births())
        for slot in np.flatnonzero(self._motion.moving).tolist():
            self._book.at(slot).mobile = True
        for pair in pairs:
            stays, goes = sorted(map(self._book.at, pair), key=_seniority)
            if stays.identity != goes.identity:
                self._memory.rename(goes.identity, stays.identity)
                self._book.join(stays, goes)
        self._leave_standing()

    def whole(self, track: TrackRecord) -> TrackRecord | None:
        """Return the track that its pieces are part of: itself where it shares its id."""
        return track if len(self._book.by_identity()[track.identity]) > 1 else None

    def merge(self, field: LabelField, cells: Cells, weight: float) -> None:
        """Make tracks one that enough segmented frames have seen as one; the larger goes on."""
        births = self._book.births()
        # A slot may stand for another track now, which inherits nothing.
        self._merges.drop(set(np.flatnonzero(births != self._births).tolist()))
        self._births = births
        self._motion.forget(births)
        heir = np.arange(CAPACITY, dtype=np.uint16)
        moving, still = self._motion.moving, self._motion.still
        merged = False
        for pair in self._merges.update(cells, after=self.config.merge_after, weight=weight):
            first, second = (self._book.at(int(heir[slot])) for slot in pair)
            slots = [first.slot, second.slot]
            if first is second or (moving[slots].any() and still[slots].any()):
                continue
            stays, goes = sorted((first, second), key=lambda track: (
                not track.confirmed, -int(cells.table[:-1][cells.slots == track.slot].sum()),
                track.identity))
            if goes.confirmed and not (goes.settled and stays.settled):
                # What comes back into view is segmented poorly at first; its id would be lost.
                continue
            heir[heir == goes.slot] = stays.slot
            merged = True
            self._merges.drop({goes.slot})
            if not self.whole(goes):
                self._memory.rename(goes.identity, stays.identity)
            self._book.remove(goes)
        if merged:
            field.slots = heir.take(field.slots)

    def _leave_standing(self) -> None:
        """Give a new id to what stands still of a thing that moves on."""
        moving, still = self._motion.moving, self._motion.still
        if not moving.any():
            return
        for parts in self._book.by_identity().values():
            onward = sum(part.pixels for part in parts if moving[part.slot])
            for part in parts if onward else ():
                if still[part.slot] and 0 < part.pixels < onward:
                    self._book.leave(part)


def _seniority(track: TrackRecord) -> tuple[bool, int, int]:
    return not track.confirmed, -track.pixels, track.identity
