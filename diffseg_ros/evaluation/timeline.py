"""When each track was seen, from birth to end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from diffseg_ros.evaluation.contingency import LabelArray
from diffseg_ros.evaluation.switches import Switch
import numpy as np


@dataclass
class TrackLife:
    """
    One track's row of a timeline.

    Attributes
    ----------
    spans
        First and last frame of each time without a break in which the track was seen.

    """

    identity: int
    spans: list[list[int]] = field(default_factory=list)

    @property
    def birth(self) -> int:
        """First frame that shows the track."""
        return self.spans[0][0]

    @property
    def end(self) -> int:
        """Last frame that shows the track."""
        return self.spans[-1][1]

    @property
    def frames_seen(self) -> int:
        """In how many frames the track was seen."""
        return sum(last - first + 1 for first, last in self.spans)


class Timeline:
    """
    Follows which ids the frames show; between two spans a track sleeps.

    Memory grows with the number of spans, not with the pixels.

    Attributes
    ----------
    stamps
        Nanoseconds, one a frame.
    switches
        Set before drawing where there is truth to tell them from; None: there is none.

    """

    def __init__(self) -> None:
        """Begin without a frame."""
        self.stamps: list[int] = []
        self.switches: Sequence[Switch] | None = None
        self._lives: dict[int, TrackLife] = {}

    def add(self, stamp: int, labels: LabelArray) -> None:
        """Add the next frame: its stamp in nanoseconds and (H, W) ids, negative = unlabelled."""
        frame = len(self.stamps)
        self.stamps.append(stamp)
        for identity in np.unique(labels[labels >= 0]).tolist():
            life = self._lives.setdefault(identity, TrackLife(identity))
            if life.spans and life.spans[-1][1] == frame - 1:
                life.spans[-1][1] = frame
            else:
                life.spans.append([frame, frame])

    def lives(self) -> list[TrackLife]:
        """Return all tracks, those seen in most frames first, of equals the oldest."""
        return sorted(self._lives.values(),
                      key=lambda life: (-life.frames_seen, life.birth, life.identity))
