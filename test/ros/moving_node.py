"""diffseg_node with a grid of segments, of which one moves and one did three seconds ago."""

from __future__ import annotations

from dataclasses import replace
import sys

from diffseg_ros.cli.node import main
from diffseg_ros.types import Frame, Result, Track, TrackState
from grid_node import FIRST_ID, GridPipeline

MOVING, MOVED = FIRST_ID + 1, FIRST_ID + 6
VELOCITY = 0.3, 0.0, -0.4
TRACKS = (
    Track(FIRST_ID, TrackState.CONFIRMED, 9, 0, 50),
    Track(MOVING, TrackState.CONFIRMED, 9, 0, 50, True, 0.0, VELOCITY),
    Track(MOVED, TrackState.CONFIRMED, 9, 0, 50, False, 3.0))


class MovingPipeline(GridPipeline):
    """The grid's result with tracks."""

    def process(self, frame: Frame) -> Result:
        return replace(super().process(frame), tracks=TRACKS)


if __name__ == '__main__':
    sys.exit(main(pipeline_factory=MovingPipeline))
