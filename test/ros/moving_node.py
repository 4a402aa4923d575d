"""diffseg_node with a grid: a table, an object, a segment that moves and one that did."""

from __future__ import annotations

from dataclasses import replace
import sys

from diffseg_ros.cli.node import main
from diffseg_ros.types import Frame, Result, SegmentKind, Track, TrackState
from grid_node import FIRST_ID, GridPipeline

TABLE, MOVING, THING, MOVED = FIRST_ID, FIRST_ID + 1, FIRST_ID + 4, FIRST_ID + 6
VELOCITY = 0.3, 0.0, -0.4
TRACKS = (
    Track(TABLE, TrackState.CONFIRMED, 9, 0, 50, kind=SegmentKind.TABLE),
    Track(THING, TrackState.CONFIRMED, 9, 0, 50, kind=SegmentKind.OBJECT),
    Track(MOVING, TrackState.CONFIRMED, 9, 0, 50, True, 0.0, VELOCITY),
    Track(MOVED, TrackState.CONFIRMED, 9, 0, 50, False, 3.0))


class MovingPipeline(GridPipeline):
    """The grid's result with tracks."""

    def process(self, frame: Frame) -> Result:
        return replace(super().process(frame), tracks=TRACKS)


if __name__ == '__main__':
    sys.exit(main(pipeline_factory=MovingPipeline))
