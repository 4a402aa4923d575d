"""The files that a replay writes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
import shutil
from types import TracebackType
from typing import Any

import cv2
from diffseg_ros.cli.sequence_plots import NAMES as PLOT_NAMES
from diffseg_ros.cli.sequence_plots import SequencePlots
from diffseg_ros.config import PipelineConfig, RemovalConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.point_cloud import LabelledCloud, POINT_WORDS
from diffseg_ros.io.bag_writer import BagWriter
from diffseg_ros.io.ply import write_ply
from diffseg_ros.parameter_file import NODE_NAME
from diffseg_ros.postprocessing.label_encoding import LabelEncoder
from diffseg_ros.ros.messages import OUTPUT_TYPES, result_messages
from diffseg_ros.timing import Latencies
from diffseg_ros.types import Result
import numpy as np
from rclpy.serialization import serialize_message

_FOLDERS = ('labels', 'overlay', 'clouds')
_OF_REMOVAL = ('mask', 'depth_filtered')


class ReplayOutput:
    """
    Writes label images, overlays, clouds and the topics the node would have published.

    What an earlier replay left in the same folder is removed first, so that every file there
    belongs to this run.
    """

    def __init__(self, folder: Path, config: PipelineConfig, *, clouds_every: int,
                 bag: bool, plots: SequencePlots | None = None) -> None:
        """
        Check the folder; nothing is written yet.

        Parameters
        ----------
        folder
            Made where it is missing.
        config
            Which depth becomes points.
        clouds_every
            Write the cloud of every Nth frame; 0 writes none.
        bag
            Whether to write output.mcap.
        plots
            Is shown every frame, or None.

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
        self._plots = plots
        self._latencies = Latencies()
        self._without_cloud = 0
        self._unencodable = 0
        self.frames = 0
        self.clouds = 0

    def __enter__(self) -> ReplayOutput:
        """Clear and create the folders and open the bag."""
        for name in _FOLDERS:
            shutil.rmtree(self._folder / name, ignore_errors=True)
            (self._folder / name).mkdir(parents=True)
        for name in ('report.json', 'output.mcap', *PLOT_NAMES):
            (self._folder / name).unlink(missing_ok=True)
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
        messages = result_messages(result, self._wanted(number), self._encoder, self._config)
        self._unencodable += self._encoder.unencodable
        if self._bag is not None:
            self._record(result.frame.stamp, messages)
        name = f'{number:06d}'
        _write_image(self._folder / 'labels' / f'{name}.png', self._encoder.values(result.labels))
        overlay = messages['overlay']
        pixels = np.frombuffer(overlay.data, np.uint8).reshape(overlay.height, overlay.width, 3)
        _write_image(self._folder / 'overlay' / f'{name}.jpg',
                     cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
        if self._is_cloud_due(number):
            self._write_cloud(name, messages.get('points'))
        if self._plots is not None:
            self._plots.add(number, result.frame, result.labels)
        self._latencies.add(result.latency_ms)
        self.frames += 1

    def report(self) -> dict[str, Any]:
        """Return what was written, and the latencies."""
        return {'frames': self.frames, 'clouds': self.clouds,
                'frames_without_cloud': self._without_cloud,
                'ids_without_value': self._unencodable,
                'latency_ms': self._latencies.report()}

    def draw_plots(self, title: str) -> None:
        """Write the pictures of the whole replay, if they are wanted."""
        if self._plots is not None:
            self._plots.write(self._folder, title)

    def _wanted(self, number: int) -> list[str]:
        """Return the outputs that the bag or the files of a frame are made of."""
        if self._bag is not None:
            return _recorded(self._config)
        return ['overlay', 'points'] if self._is_cloud_due(number) else ['overlay']

    def _is_cloud_due(self, number: int) -> bool:
        return self._clouds_every > 0 and number % self._clouds_every == 0

    def _record(self, stamp: int, messages: dict[str, Any]) -> None:
        assert self._bag is not None
        for name, message in messages.items():
            self._bag.write_raw(f'/{NODE_NAME}/{name}', _type_name(message), stamp,
                                serialize_message(message))

    def _write_cloud(self, name: str, message: Any) -> None:
        if message is None:
            self._without_cloud += 1
            return
        # The message's labels are those of the label PNG, the unlabelled value included.
        write_ply(self._folder / 'clouds' / f'{name}.ply', _cloud_of(message))
        self.clouds += 1


def _recorded(config: PipelineConfig) -> list[str]:
    """Return what goes into the bag: nothing twice, and no depth from which nothing is taken."""
    left_out = {'labels/compressed'}
    if config.removal == RemovalConfig():
        left_out.update(_OF_REMOVAL)
    return [name for name in OUTPUT_TYPES if name not in left_out]


def _cloud_of(message: Any) -> LabelledCloud:
    """Return the points of a message made by `result_messages` as a list."""
    words = np.frombuffer(message.data, np.uint32).reshape(-1, POINT_WORDS)
    colour = words[:, 3]
    rgb = np.stack([colour >> 16, colour >> 8, colour], axis=1).astype(np.uint8)
    return LabelledCloud(words[:, :3].view(np.float32), rgb, words[:, 4].astype(np.int32))


def _write_image(path: Path, image: np.ndarray) -> None:
    if not cv2.imwrite(str(path), image):
        raise DiffsegError(f'{path}: cannot be written; is the disk full?')


def _type_name(message: Any) -> str:
    return f"{type(message).__module__.partition('.')[0]}/msg/{type(message).__name__}"
