"""The files that a replay writes."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
import shutil
from types import TracebackType
from typing import Any

import cv2
from diffseg_ros.cloud.labelled_cloud import labelled_cloud
from diffseg_ros.cloud.ply import write_ply
from diffseg_ros.config import PipelineConfig
from diffseg_ros.data.bag_writer import BagWriter
from diffseg_ros.errors import DiffsegError
from diffseg_ros.parameter_file import NODE_NAME
from diffseg_ros.pipeline import Result
from diffseg_ros.ros.label_encoding import LabelEncoder
from diffseg_ros.ros.messages import OUTPUT_TYPES, result_messages
from diffseg_ros.visualization import draw_overlay
import numpy as np
from rclpy.serialization import serialize_message

_FOLDERS = ('labels', 'overlay', 'clouds')


class ReplayOutput:
    """
    Writes label images, overlays, clouds and the topics the node would have published.

    What an earlier replay left in the same folder is removed first, so that every file there
    belongs to this run.
    """

    def __init__(self, folder: Path, config: PipelineConfig, *, clouds_every: int,
                 bag: bool) -> None:
        """
        Check the folder; nothing is written yet.

        Raises
        ------
        DiffsegError
            The path is a file.

        """
        if folder.exists() and not folder.is_dir():
            raise DiffsegError(f'output {folder}: is a file; give a folder')
        self._folder = folder
        self._config = config
        self._clouds_every = clouds_every
        self._encoder = LabelEncoder()
        self._bag = BagWriter(folder / 'output.mcap', overwrite=True,
                              compressed=True) if bag else None
        self._latency: dict[str, list[float]] = defaultdict(list)
        self._without_cloud = 0
        self._unencodable = 0
        self.frames = 0
        self.clouds = 0

    def __enter__(self) -> ReplayOutput:
        """Clear and create the folders and open the bag."""
        for name in _FOLDERS:
            shutil.rmtree(self._folder / name, ignore_errors=True)
            (self._folder / name).mkdir(parents=True)
        (self._folder / 'report.json').unlink(missing_ok=True)
        (self._folder / 'output.mcap').unlink(missing_ok=True)
        if self._bag is not None:
            self._bag.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Finish the bag; without a single frame leave nothing behind."""
        if self._bag is not None:
            self._bag.__exit__(kind, error, trace)
        if not self.frames:
            for name in _FOLDERS:
                shutil.rmtree(self._folder / name, ignore_errors=True)
            with suppress(OSError):
                self._folder.rmdir()

    def write(self, number: int, result: Result) -> None:
        """Write everything of one frame."""
        values = self._write_messages(result)
        self._unencodable += self._encoder.unencodable
        name = f'{number:06d}'
        _write_image(self._folder / 'labels' / f'{name}.png', values)
        overlay = draw_overlay(result.frame.rgb, result.labels)
        _write_image(self._folder / 'overlay' / f'{name}.jpg',
                     cv2.cvtColor(overlay, cv2.COLOR_RGB2BGR))
        self._write_cloud(name, number, result, values)
        for stage, milliseconds in result.latency_ms.items():
            self._latency[stage].append(milliseconds)
        self.frames += 1

    def report(self) -> dict[str, Any]:
        """Return what was written, and the latencies."""
        latency = {stage: {'p50': float(np.percentile(values, 50)),
                           'p95': float(np.percentile(values, 95))}
                   for stage, values in self._latency.items()}
        return {'frames': self.frames, 'clouds': self.clouds,
                'frames_without_cloud': self._without_cloud,
                'ids_without_value': self._unencodable, 'latency_ms': latency}

    def _write_messages(self, result: Result) -> np.ndarray:
        if self._bag is None:
            return self._encoder.encode(result.labels)
        messages = result_messages(result, OUTPUT_TYPES, self._encoder, self._config.cloud)
        for name, message in messages.items():
            self._bag.write_raw(f'/{NODE_NAME}/{name}', _type_name(message),
                                result.frame.stamp, serialize_message(message))
        return self._encoder.values(result.labels)

    def _write_cloud(self, name: str, number: int, result: Result, values: np.ndarray) -> None:
        if not self._clouds_every or number % self._clouds_every:
            return
        frame = result.frame
        if frame.depth is None or frame.intrinsics is None:
            self._without_cloud += 1
            return
        cloud = labelled_cloud(frame, result.labels, self._config.cloud)
        # A file's labels are those of the label PNG beside it, the unlabelled value included.
        cloud = replace(cloud, labels=values.astype(np.int32))
        write_ply(self._folder / 'clouds' / f'{name}.ply', cloud)
        self.clouds += 1


def _write_image(path: Path, image: np.ndarray) -> None:
    if not cv2.imwrite(str(path), image):
        raise DiffsegError(f'{path}: cannot be written; is the disk full?')


def _type_name(message: Any) -> str:
    return f"{type(message).__module__.partition('.')[0]}/msg/{type(message).__name__}"
