"""What a map leaves out: the segments that `removal` chooses."""

from types import SimpleNamespace

from diffseg_ros.config import PipelineConfig, RemovalConfig
from diffseg_ros.mapping import builder
from diffseg_ros.types import Frame, Intrinsics, Result, Track, TrackState
import numpy as np
import pytest

HEIGHT, WIDTH = 48, 64
TRACKS = (Track(1, TrackState.CONFIRMED, 9, 0, 50),
          Track(2, TrackState.CONFIRMED, 9, 0, 50, True, 0.0),
          Track(3, TrackState.CONFIRMED, 9, 0, 50, False, 3.0))


def result_of(frame: Frame) -> Result:
    labels = 1 + np.arange(WIDTH, dtype=np.int32) * 3 // WIDTH + np.zeros((HEIGHT, 1), np.int32)
    return Result(frame, labels, np.full(labels.shape, 255, np.uint8), 0, tracks=TRACKS)


@pytest.mark.parametrize(('removal', 'left'), [
    ({}, {1, 2, 3}), ({'moving': 5.0}, {1, 2, 3}), ({'from_points': True}, {1, 2, 3}),
    ({'moving': 1.0, 'from_points': True}, {1, 3}),
    ({'moving': 5.0, 'from_points': True}, {1}),
    ({'ids': (1,), 'from_points': True}, {2, 3})])
def test_what_removal_chooses_is_not_fused(removal, left, monkeypatch):
    monkeypatch.setattr(builder, 'Pipeline', lambda _: SimpleNamespace(process=result_of))
    made = builder.MapBuilder(PipelineConfig(removal=RemovalConfig(**removal)), 0.02)
    frame = Frame(np.zeros((HEIGHT, WIDTH, 3), np.uint8), depth=np.full((HEIGHT, WIDTH), 2,
                                                                        np.float32),
                  intrinsics=Intrinsics(WIDTH, HEIGHT, 60.0, 60.0, 31.5, 23.5), pose=np.eye(4))
    made.add(frame)
    assert set(made.fused('test', 1).cloud.labels.tolist()) == left
