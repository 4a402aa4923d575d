"""What came out of a run, frame by frame, beside what went in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
import heapq
import math
from pathlib import Path

from diffseg_ros.demo.frame_accounting import frame_counts, lost_frames, node_status
from diffseg_ros.demo.recorder import DIAGNOSTICS, LABELS, OVERLAY, POINTS, RECORDED, TARGET
from diffseg_ros.errors import DiffsegError
from diffseg_ros.evaluation.masks import grid_labels, region_miou
from diffseg_ros.evaluation.measure import Observation
from diffseg_ros.evaluation.tracks import Idf1
from diffseg_ros.geometry.point_cloud import LabelledCloud
from diffseg_ros.io.bag_reader import BagReader
from diffseg_ros.io.bag_writer import BagWriter
from diffseg_ros.io.images import UNLABELLED_16BIT
from diffseg_ros.io.message_stream import FRAME_TOPICS, serialised_messages, TimedMessage
from diffseg_ros.io.messages import decode_colour, deserialise, header_stamp
from diffseg_ros.io.sequence_folder import SequenceFolder
from diffseg_ros.types import Frame, LabelImage, Mask, RgbImage, UNLABELLED
import numpy as np


@dataclass(frozen=True)
class RunResults:
    """
    The frames that were sent and what the node made of them.

    Attributes
    ----------
    sequence
        Has the true instances.
    frames
        As sent, with the stamps of the run.
    log
        MCAP file of everything the node published.
    ages_ms
        Milliseconds from a frame's stamp until its labels were recorded, by its number.
    with_cloud
        Numbers of the frames of which labels and a cloud were recorded.
    status
        The node's last diagnostics.
    dropped
        Frames without recorded labels, by cause.

    """

    sequence: SequenceFolder
    frames: Sequence[Frame]
    log: Path
    ages_ms: dict[int, float]
    with_cloud: list[int]
    status: dict[str, str]
    dropped: dict[str, int]
    _labels: dict[int, bytes]
    _overlays: dict[int, bytes]
    _targets: dict[int, bytes]

    @property
    def processed(self) -> list[int]:
        """Numbers of the frames whose labels were recorded, in order."""
        return sorted(self._labels)

    def labels(self, number: int) -> LabelImage:
        """Return the ids published for frame `number`."""
        message = deserialise(self._labels[number], RECORDED[LABELS])
        if message.encoding != '16UC1':
            raise DiffsegError(f'{LABELS}: encoding {message.encoding}; the demo reads 16UC1, '
                               'leave labels_encoding out of --params')
        rows = message.data.view('<u2').reshape(message.height, -1)
        return _ids(rows[:, :message.width])

    def overlay(self, number: int) -> RgbImage | None:
        """Return the overlay published for frame `number`, None where none was recorded."""
        if number not in self._overlays:
            return None
        return decode_colour(deserialise(self._overlays[number], RECORDED[OVERLAY]))

    def target(self, number: int) -> Mask:
        """Return where the target was found in frame `number`; nowhere if none was recorded."""
        if number not in self._targets:
            return np.zeros(self.frames[number].rgb.shape[:2], bool)
        message = deserialise(self._targets[number], RECORDED[TARGET])
        return message.data.reshape(message.height, -1)[:, :message.width] > 0

    def cloud(self, number: int) -> LabelledCloud:
        """Return the valid points published for frame `number`."""
        stamp = self.frames[number].stamp
        with BagReader(self.log) as log:
            message = next(deserialise(data, RECORDED[POINTS])
                           for _, _, data in log.messages([POINTS]) if header_stamp(data) == stamp)
        words = message.data.view('<u4').reshape(-1, message.point_step // 4)
        colours = np.stack([words[:, 3] >> 16, words[:, 3] >> 8, words[:, 3]], axis=-1)
        return LabelledCloud(words[:, :3].view(np.float32), colours.astype(np.uint8),
                             _ids(words[:, 4])).compact()


def read_results(sequence: SequenceFolder, frames: Sequence[Frame], log: Path) -> RunResults:
    """
    Compare the recording of a run with the frames that were sent.

    Raises
    ------
    DiffsegError
        Something published has a stamp that was never sent, or the node's counters contradict
        what was recorded.

    """
    numbers = {frame.stamp: number for number, frame in enumerate(frames)}
    labels: dict[int, bytes] = {}
    pictures: dict[str, dict[int, bytes]] = {OVERLAY: {}, TARGET: {}}
    ages_ms: dict[int, float] = {}
    with_cloud = set()
    status: dict[str, str] = {}
    with BagReader(log) as storage:
        for topic, received, data in storage.messages(RECORDED):
            if topic == DIAGNOSTICS:
                status |= node_status(deserialise(data, RECORDED[DIAGNOSTICS]))
                continue
            stamp = header_stamp(data)
            number = None if stamp is None else numbers.get(stamp)
            if stamp is None or number is None:
                raise DiffsegError(f'{topic}: message with stamp {stamp} ns, which no input frame '
                                   'had; the node must copy the stamp of its input')
            if topic == LABELS and number not in labels:
                labels[number] = data
                ages_ms[number] = (received - stamp) / 1e6
            elif topic == POINTS:
                with_cloud.add(number)
            elif topic in pictures:
                pictures[topic][number] = data
    return RunResults(sequence, frames, log, ages_ms, sorted(with_cloud & set(labels)), status,
                      lost_frames(len(frames), len(labels), frame_counts(status)), labels,
                      pictures[OVERLAY], pictures[TARGET])


def score(results: RunResults, numbers: Iterable[int]) -> dict[str, float | None]:
    """Return miou, miou_grid and idf1 over these frames; None where there is none."""
    background = results.sequence.background
    idf1 = Idf1()
    regions, grid = [], []
    for number in numbers:
        truth, labels = results.sequence.instances(number), results.labels(number)
        idf1.update(Observation(labels, truth=truth, background=background))
        regions.append(region_miou(labels, truth, background=background))
        grid.append(region_miou(grid_labels(*truth.shape), truth, background=background))
    found = idf1.compute()['idf1']
    return {'miou': _mean(regions), 'miou_grid': _mean(grid),
            'idf1': None if found is None else round(found, 4)}


def write_recording(path: Path, results: RunResults) -> None:
    """
    Write the camera's topics, tf and what the node published, in order of time, compressed.

    The file appears complete or not at all; an earlier one is replaced. tf is recorded whether
    or not it could be published, so that viewers can place everything in the fixed frame.

    Raises
    ------
    DiffsegError
        The file cannot be written.

    """
    types = RECORDED | FRAME_TOPICS
    messages = heapq.merge(_sent(results), _received(results), key=lambda item: item.time)
    with BagWriter(path, overwrite=True, compressed=True) as bag:
        for item in messages:
            bag.write_raw(f'/{item.topic.lstrip("/")}', types[item.topic], item.time, item.data)


def _sent(results: RunResults) -> Iterator[TimedMessage]:
    for frame in results.frames:
        yield from serialised_messages(frame)


def _received(results: RunResults) -> Iterator[TimedMessage]:
    with BagReader(results.log) as log:
        for topic, received, data in log.messages(RECORDED):
            yield TimedMessage(received, topic, data)


def _ids(values: np.ndarray) -> LabelImage:
    ids = values.astype(np.int32)
    ids[ids == UNLABELLED_16BIT] = UNLABELLED
    return ids


def _mean(values: list[float]) -> float | None:
    known = [value for value in values if not math.isnan(value)]
    return round(float(np.mean(known)), 4) if known else None
