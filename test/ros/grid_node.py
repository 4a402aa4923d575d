"""diffseg_node with a pipeline that needs no model: a grid of segments below a row of none."""

from __future__ import annotations

import sys

from diffseg_ros.cli.node import main
from diffseg_ros.config import PipelineConfig
from diffseg_ros.types import Frame, Result, Track, TrackState
import numpy as np
from stub_node import StubPipeline

ROWS, COLUMNS = 3, 4
FIRST_ID = 301
"""Larger than 8 bits hold, so that slots are told from ids."""


def grid_labels(height: int, width: int) -> np.ndarray:
    """Return (height, width) int32 ids from FIRST_ID on, row by row; the first row has none."""
    rows = np.arange(height) * ROWS // height
    columns = np.arange(width) * COLUMNS // width
    labels = (FIRST_ID + rows[:, None] * COLUMNS + columns).astype(np.int32)
    labels[0] = -1
    return labels


def grid_confidence(labels: np.ndarray) -> np.ndarray:
    """Return (H, W) uint8 that tells segments apart."""
    return np.where(labels < 0, 0, labels % 100 * 10).astype(np.uint8)


def grid_names(config: PipelineConfig) -> dict[int, str]:
    """Return a name for every segment but the last two: 'unknown', and none."""
    if config.vocabulary is None:
        return {}
    words = [concept.name for concept in config.vocabulary.concepts]
    count = ROWS * COLUMNS
    names = [words[number % len(words)] for number in range(count - 2)]
    return dict(zip(range(FIRST_ID, FIRST_ID + count), [*names, 'unknown', ''], strict=True))


class GridPipeline(StubPipeline):
    """The same segments in every frame, with the names of `grid_names`."""

    def process(self, frame: Frame) -> Result:
        labels = grid_labels(*frame.rgb.shape[:2])
        return Result(frame, labels, grid_confidence(labels), self._epoch,
                      {'features': 1.0, 'total': 1.0}, tracks=tuple(
                          Track(identity, TrackState.CONFIRMED, 9, 0, 50, name=name)
                          for identity, name in grid_names(self._config).items()))


if __name__ == '__main__':
    sys.exit(main(pipeline_factory=GridPipeline))
