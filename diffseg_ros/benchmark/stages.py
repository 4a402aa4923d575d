"""The pipeline, cloud and tracking sections of the benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import cv2
from diffseg_ros.benchmark.inputs import resized, there_and_back
from diffseg_ros.benchmark.memory import PeakMemory
from diffseg_ros.benchmark.timing import once, percentiles
from diffseg_ros.config import TrackingConfig
from diffseg_ros.pipeline import Pipeline
from diffseg_ros.tracking.tracker import Tracker
from diffseg_ros.types import Frame, Segments
import numpy as np
import torch

TRACKS = 100
_WARM_UP = 2


def measure_pipeline(frames: Sequence[Frame], pipeline: Pipeline, count: int) -> dict[str, Any]:
    """
    Return milliseconds of each stage over `count` frames, frames a second and peak memory.

    A stage counts the frames in which it ran; 'total_segmented' are the totals of those that
    were segmented afresh.
    """
    played = there_and_back(frames, count + _WARM_UP)
    device = pipeline.backbone.device
    for frame in played[:_WARM_UP]:
        pipeline.process(frame)
    pipeline.reset()
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
    stages: dict[str, list[float]] = {}
    segmented: list[float] = []
    with PeakMemory() as memory:
        for frame in played[_WARM_UP:]:
            laps = pipeline.process(frame).latency_ms
            for stage, time in laps.items():
                stages.setdefault(stage, []).append(time)
            if 'segmentation' in laps:
                segmented.append(laps['total'])
    report: dict[str, Any] = {stage: percentiles(times) for stage, times in stages.items()}
    report['hz'] = round(1e3 / float(np.mean(stages['total'])), 2)
    report['peak_mb'] = round(memory.peak_mb, 1)
    if device.type == 'cuda':
        report['peak_cuda_mb'] = round(torch.cuda.max_memory_allocated(device) / 1e6, 1)
    return {**report, 'total_segmented': percentiles(segmented),
            'frames': count, 'frames_segmented': len(segmented)}


def measure_cloud(repetitions: int) -> dict[str, Any]:
    """Return milliseconds from frame and labels to a filled PointCloud2, by image size."""
    from diffseg_ros.benchmark.cloud import cloud_benchmark

    return {size: {name: round(value, 3) for name, value in times.items()}
            for size, times in cloud_benchmark(repetitions=repetitions).items()}


def measure_tracking(frames: Sequence[Frame], config: TrackingConfig, count: int,
                     size: tuple[int, int] = (640, 480)) -> dict[str, Any]:
    """Return milliseconds of the tracker alone, with 100 live tracks, every frame segmented."""
    tracker = Tracker(config)
    embeddings = np.random.default_rng(0).standard_normal((TRACKS, 32)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    labels = _patches(size[1], size[0], TRACKS)
    confidence = np.full(labels.shape, 200, np.uint8)
    times = []
    for frame in there_and_back(frames, count + _WARM_UP):
        sized = frame if frame.rgb.shape[:2] == labels.shape else resized(frame, *size)
        segments = Segments(labels, confidence, embeddings)
        times.append(once(partial(_track, tracker, sized, segments)))
    return {'tracks': tracker.started, **percentiles(times[_WARM_UP:]), 'frames': count}


def _track(tracker: Tracker, frame: Frame, segments: Segments) -> None:
    tracker.expect(frame)
    tracker.prior(24, 32)
    tracker.update(segments)


def _patches(height: int, width: int, count: int) -> np.ndarray:
    """Return (H, W) int32 labels of `count` patches of about equal size."""
    side = int(np.sqrt(count))
    small = np.arange(side * side, dtype=np.uint16).reshape(side, side)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST).astype(np.int32)
