"""Where an object changes from one track to another: identity switches."""

from __future__ import annotations

from dataclasses import dataclass

from diffseg_ros.evaluation.accumulator import SequenceAccumulator
from diffseg_ros.evaluation.contingency import Contingency
from diffseg_ros.evaluation.detections import MATCH_IOU, objects_of
import numpy as np


@dataclass(frozen=True)
class Switch:
    """
    An object that is detected by another track than when it was last detected.

    Attributes
    ----------
    frame
        0-based number of the frame among those that were added.
    item
        Id of the object in the truth.
    before, after
        Ids of the two tracks.

    """

    frame: int
    item: int
    before: int
    after: int


class SwitchAccumulator(SequenceAccumulator):
    """
    Finds identity switches (IDSW) as CLEAR MOT counts them, on masks.

    A segment detects an object where their IoU is at least 0.5; of two the better one does.

    Attributes
    ----------
    found
        All switches so far, in order.

    """

    def __init__(self, *, ignore: int = 65535, background: int | None = None) -> None:
        """Begin an empty sequence; the parameters are those of `SequenceAccumulator`."""
        super().__init__(ignore=ignore, background=background)
        self.found: list[Switch] = []
        self._frame = 0
        self._last: dict[int, int] = {}

    def add_table(self, table: Contingency) -> None:
        """Look at one frame whose overlaps are counted already, with the same ignored value."""
        if len(table.segments):
            best = table.iou.argmax(axis=0)
            detected = table.iou.max(axis=0) >= MATCH_IOU
            for column in np.flatnonzero(detected & objects_of(table, self._background)):
                item, track = int(table.regions[column]), int(table.segments[best[column]])
                before = self._last.get(item, track)
                if before != track:
                    self.found.append(Switch(self._frame, item, before, track))
                self._last[item] = track
        self._frame += 1
