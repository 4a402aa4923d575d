"""What a map leaves out: the segments that `removal` chooses, and predicted depth on request."""

from dataclasses import replace
from types import SimpleNamespace

from diffseg_ros.config import PipelineConfig, RemovalConfig
from diffseg_ros.depth.base import DepthSettings
from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.point_cloud import CloudConfig
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


@pytest.mark.parametrize(('in_points', 'left'), [(True, {1, 2, 3}), (False, {1})])
def test_predicted_depth_is_fused_unless_told_otherwise(in_points, left, monkeypatch):
    depth = np.full((HEIGHT, WIDTH), 2, np.float32)
    confidence = np.where(np.arange(WIDTH) < WIDTH // 3, 1, 0.5) * np.ones((HEIGHT, 1))

    def process(frame: Frame) -> Result:
        return result_of(replace(frame, depth=depth,
                                 depth_confidence=confidence.astype(np.float32)))

    monkeypatch.setattr(builder, 'Pipeline', lambda _: SimpleNamespace(process=process))
    config = PipelineConfig(depth=DepthSettings(model='it', in_points=in_points))
    made = builder.MapBuilder(config, 0.02)
    made.add(Frame(np.zeros((HEIGHT, WIDTH, 3), np.uint8), pose=np.eye(4),
                   intrinsics=Intrinsics(WIDTH, HEIGHT, 60.0, 60.0, 31.5, 23.5)))
    cloud = made.fused('test', 1).cloud
    assert set(cloud.labels.tolist()) == left
    assert cloud.confidence.min() == (0.5 if in_points else 1.0)


@pytest.mark.parametrize(('odometry', 'reason'), [
    (False, 'no frame has depth: it would be predicted, and depth.in_points is off'),
    (True, 'odometry found no camera motion in measured depth')])
def test_a_map_without_frames_says_why_predicted_depth_is_not_in_it(odometry, reason, monkeypatch):
    depth = np.full((HEIGHT, WIDTH), 2, np.float32)
    monkeypatch.setattr(builder, 'Pipeline', lambda _: SimpleNamespace(
        depth={'missing': ''}, process=lambda frame: result_of(replace(
            frame, depth=depth, depth_confidence=depth / 4))))
    config = PipelineConfig(depth=DepthSettings(model='it', in_points=False))
    made = builder.MapBuilder(config, 0.02, odometry=odometry)
    made.add(Frame(np.zeros((HEIGHT, WIDTH, 3), np.uint8), pose=np.eye(4),
                   intrinsics=Intrinsics(WIDTH, HEIGHT, 60.0, 60.0, 31.5, 23.5)))
    with pytest.raises(DiffsegError, match=reason):
        made.fused('test', 1)


@pytest.mark.parametrize(('limit', 'reason'), [
    (1.0, 'no point in the depth of 1 frames within 1 m; raise --max-depth, 0 is no limit'),
    (0.0, 'no point in the depth of 1 frames$')])
def test_a_map_without_points_says_where_they_were_looked_for(limit, reason, monkeypatch):
    monkeypatch.setattr(builder, 'Pipeline', lambda _: SimpleNamespace(process=result_of))
    made = builder.MapBuilder(PipelineConfig(cloud=CloudConfig(max_depth=limit)), 0.02)
    made.add(Frame(np.zeros((HEIGHT, WIDTH, 3), np.uint8), pose=np.eye(4),
                   depth=np.full((HEIGHT, WIDTH), 2 if limit else np.nan, np.float32),
                   intrinsics=Intrinsics(WIDTH, HEIGHT, 60.0, 60.0, 31.5, 23.5)))
    with pytest.raises(DiffsegError, match=reason):
        made.fused('test', 1)
