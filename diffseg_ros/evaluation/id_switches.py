"""Where an object changes from one track to another: identity switches."""

from __future__ import annotations

from typing import Any, NamedTuple

from diffseg_ros.evaluation.measure import Measure, Observation
from diffseg_ros.registry import register_measure
import numpy as np


class IdSwitch(NamedTuple):
    """Frame, counted from 0, in which another track than before detects an object."""

    frame: int
    before: int
    after: int


@register_measure('id_switches', commands=('tracks',))
class IdSwitches(Measure):
    """
    Finds identity switches (IDSW) as CLEAR MOT counts them, on masks.

    A segment detects an object where their IoU is at least 0.5; the best of several counts.

    Attributes
    ----------
    found
        All switches so far, in order; None without truth.

    """

    def reset(self) -> None:
        self.found: list[IdSwitch] | None = None
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
                self.found.append(IdSwitch(self._frame, before, track))
            self._last[item] = track

    def compute(self) -> dict[str, Any]:
        """Return the number of switches as id_switches, or None without truth."""
        return {'id_switches': None if self.found is None else len(self.found)}
