"""The pipeline, cloud and tracking sections of the benchmark, and the frames they run on."""

from __future__ import annotations

import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import cv2
from diffseg_ros.benchmark.measurement import (
    median,
    milliseconds,
    PeakMemory,
    rounded_percentiles,
    take_turns,
)
from diffseg_ros.config import PipelineConfig, TrackingConfig
from diffseg_ros.evaluation.masks import grid_labels
from diffseg_ros.geometry.label_images import resize_labels
from diffseg_ros.pipeline import Pipeline
from diffseg_ros.synthetic.camera_path import camera_path
from diffseg_ros.synthetic.renderer import Renderer
from diffseg_ros.synthetic.scene import create_scene
from diffseg_ros.tracking.tracker import Tracker
from diffseg_ros.types import Frame, Intrinsics, LabelImage, Result, Segments
import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits
import torch

CLOUD_SIZES = (640, 480), (1280, 720)
TRACKS = 100

_PERIOD = 0.1
_WARM_UP = 2

PointsFunction = Callable[[Frame, npt.NDArray[np.integer]], npt.NDArray[np.void]]


def scene_frames(count: int) -> list[Frame]:
    """Return consecutive 640x480 RGB-D frames of a generated room, 0.1 s apart, with poses."""
    renderer = Renderer(create_scene(seed=0))
    times = np.arange(count) * _PERIOD
    frames = []
    for time, pose in zip(times, camera_path(renderer.scene, times, 0), strict=True):
        picture = renderer.render(float(time), pose, 0)
        frames.append(Frame(picture.rgb, round(time * 1e9), depth=picture.depth,
                            intrinsics=renderer.camera, pose=pose))
    return frames


def there_and_back(frames: Sequence[Frame], count: int) -> list[Frame]:
    """Return `count` frames with rising stamps that play `frames` forwards and backwards."""
    turn = [*range(len(frames)), *range(len(frames) - 2, 0, -1)]
    return [replace(frames[turn[number % len(turn)]], stamp=round(number * _PERIOD * 1e9))
            for number in range(count)]


def resized(frame: Frame, width: int, height: int) -> Frame:
    """Return an RGB-D frame at another size; depth is resized by nearest neighbour."""
    assert frame.depth is not None and frame.intrinsics is not None
    rgb = cv2.resize(frame.rgb, (width, height), interpolation=cv2.INTER_AREA)
    return replace(frame, rgb=rgb, depth=resize_labels(frame.depth, height, width),
                   intrinsics=frame.intrinsics.resized(width, height))


def measure_pipeline(frames: Sequence[Frame], pipeline: Pipeline, count: int) -> dict[str, Any]:
    """
    Return milliseconds of each stage over `count` frames, frames per second and peak memory.

    A stage counts the frames in which it ran; 'total_segmented' are the totals of keyframes.
    """
    played = there_and_back(frames, count + _WARM_UP)
    device = pipeline.backbone.device
    for frame in played[:_WARM_UP]:
        pipeline.process(frame)
    pipeline.reset()
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
    stages: defaultdict[str, list[float]] = defaultdict(list)
    segmented: list[float] = []
    with PeakMemory() as memory:
        for frame in played[_WARM_UP:]:
            latency = pipeline.process(frame).latency_ms
            for stage, time in latency.items():
                stages[stage].append(time)
            if 'segmentation' in latency:
                segmented.append(latency['total'])
    report: dict[str, Any] = {name: rounded_percentiles(times) for name, times in stages.items()}
    report['hz'] = round(1e3 / float(np.mean(stages['total'])), 2)
    report['peak_mb'] = round(memory.peak_mb, 1)
    if device.type == 'cuda':
        report['peak_cuda_mb'] = round(torch.cuda.max_memory_allocated(device) / 1e6, 1)
    return {**report, 'total_segmented': rounded_percentiles(segmented),
            'frames': count, 'frames_segmented': len(segmented)}


def measure_cloud(repetitions: int, plain_points: PointsFunction | None = None,
                  sizes: Iterable[tuple[int, int]] = CLOUD_SIZES
                  ) -> dict[str, dict[str, float]]:
    """
    Time the way from a frame and its ids to a filled PointCloud2, on one core.

    The lookup of the label values that the points carry is part of the time. `plain_points` is
    another way to make the points from a frame and these values, which is timed in turns.

    Returns by size as 'WIDTHxHEIGHT' the milliseconds 'p50', 'p95' and 'min'; with `plain_points`
    also 'plain_p50' and 'plain_min', and 'ratio', how many times faster this package is.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1):
            return {f'{width}x{height}': _measure_cloud(width, height, repetitions, plain_points)
                    for width, height in sizes}
    finally:
        cv2.setNumThreads(threads)


def cloud_scene(width: int, height: int) -> tuple[Frame, LabelImage]:
    """Return a frame of a floor and a wall with holes in its depth, and 50 tiles of ids."""
    rng = np.random.default_rng(0)
    below = np.maximum(np.arange(height) - height / 3, 1)
    depth = np.minimum(1.2 * width / below, 3.5).astype(np.float32)
    depth = depth[:, None].repeat(width, axis=1)
    depth[rng.random(depth.shape) < 0.1] = np.nan
    rgb = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    focal = 0.85 * width
    frame = Frame(rgb, depth=depth, intrinsics=Intrinsics(
        width, height, focal, focal, width / 2 - 0.5, height / 2 - 0.5))
    return frame, grid_labels(height, width, rows=5, columns=10) + 1


def _measure_cloud(width: int, height: int, repetitions: int,
                   plain_points: PointsFunction | None) -> dict[str, float]:
    from diffseg_ros.postprocessing.label_encoding import LabelEncoder
    from diffseg_ros.postprocessing.output_context import OutputContext
    from diffseg_ros.ros.outputs.points import points
    from sensor_msgs.msg import PointCloud2

    frame, labels = cloud_scene(width, height)
    result = Result(frame, labels, np.zeros(labels.shape, np.uint8), epoch=0)
    encoder, config = LabelEncoder(), PipelineConfig()
    reusable: dict[str, Any] = {}
    plain_message = PointCloud2()

    def ours() -> None:
        points(OutputContext(result, encoder, config, reusable=reusable))

    def plain() -> None:
        assert plain_points is not None
        made = plain_points(frame, encoder.encode(labels))
        plain_message.data = array.array('B', made.tobytes())

    runs = {'ours': ours} if plain_points is None else {'ours': ours, 'plain': plain}
    times = take_turns(runs, repetitions)
    report = {**rounded_percentiles(times['ours']), 'min': round(min(times['ours']), 3)}
    if plain_points is not None:
        report['plain_p50'] = median(times['plain'])
        report['plain_min'] = round(min(times['plain']), 3)
        report['ratio'] = round(report['plain_p50'] / report['p50'], 3)
    return report


def measure_tracking(frames: Sequence[Frame], config: TrackingConfig, count: int
                     ) -> dict[str, Any]:
    """Return milliseconds of the tracker alone, with 100 live tracks, every frame segmented."""
    tracker = Tracker(config.replace(correspondence=False))
    tokens = torch.zeros(1, 24, 32)
    embeddings = np.random.default_rng(0).standard_normal((TRACKS, 32)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    labels = grid_labels(480, 640, rows=10, columns=TRACKS // 10)
    segments = Segments(labels, np.full(labels.shape, 200, np.uint8), embeddings)
    times = []
    for frame in there_and_back(frames, count + _WARM_UP):
        frame = resized(frame, 640, 480)

        def track(frame: Frame = frame) -> None:
            prediction = tracker.predict(frame)
            tracker.prior(prediction, tokens)
            tracker.update(prediction, segments)

        times.append(milliseconds(track))
    return {'tracks': tracker.started, **rounded_percentiles(times[_WARM_UP:]), 'frames': count}
