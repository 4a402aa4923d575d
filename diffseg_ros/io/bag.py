"""rosbag2 recordings (mcap, sqlite3) as a stream of frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.transforms import TransformTree
from diffseg_ros.io.bag_pairing import add_transforms, DEPTH_TOLERANCE_NS, Moment, Pairing
from diffseg_ros.io.bag_storage import BagStorage
from diffseg_ros.io.bag_topics import choose_topics
from diffseg_ros.io.image_messages import (
    decode_colour,
    decode_compressed_colour,
    decode_compressed_depth,
    decode_depth,
    intrinsics_from_camera_info,
)
from diffseg_ros.io.message_types import CAMERA_INFO, deserialise, IMAGE
from diffseg_ros.io.source import SourceFrame, TopicNames
from diffseg_ros.types import Frame, Intrinsics
import numpy as np
import numpy.typing as npt


class Bag:
    """
    A recorded camera: one frame for each message of the colour image topic.

    Frames come in the order of their header stamps, as far as messages lie within a second
    of each other in the recording; `Pairing` says how depth, camera_info and poses join
    them. The bag is streamed: memory does not grow with its length.
    """

    def __init__(self, path: Path, topics: TopicNames | None = None) -> None:
        """
        Open and check the bag, and choose its topics.

        Raises
        ------
        DiffsegError
            The bag is empty, truncated, damaged or without usable images.

        """
        self._path = path
        with BagStorage(path) as storage:
            self._topics = choose_topics(path, storage, topics or TopicNames())
            self._types = storage.topics
            self._count = storage.counts[self._topics.rgb]
            info = self._topics.camera_info
            self._first_info = storage.first(info) if info else None
            self._static = [data for _, _, data in storage.messages(self._topics.static)]
        self._problems: Counter[str] = Counter()
        self._intrinsics: tuple[bytes, Intrinsics] | None = None

    @property
    def name(self) -> str:
        """Name of the file or folder, without suffix."""
        return self._path.resolve().stem if self._path.is_file() else self._path.resolve().name

    @property
    def frame_count(self) -> int:
        """Number of messages of the image topic."""
        return self._count

    @property
    def notes(self) -> list[str]:
        """What the user should know; counts are those of the last iteration."""
        counted = [f'{problem} ({count} of {self._count} frames)'
                   for problem, count in self._problems.items()]
        return [*self._topics.notes, *counted]

    def __iter__(self) -> Iterator[SourceFrame]:
        """
        Read the bag from the start.

        Raises
        ------
        DiffsegError
            The bag turns out to be damaged.

        """
        self._problems.clear()
        tree = TransformTree()
        for data in self._static:
            add_transforms(tree, data, moving=False)
        with BagStorage(self._path) as storage:
            pairing = Pairing(self._topics, self._first_info, tree)
            messages = storage.messages(self._topics.streamed)
            number = 0
            for number, moment in enumerate(pairing.moments(messages), 1):
                yield self._source_frame(number - 1, moment, tree)
        if number != self._count:
            raise DiffsegError(f'{self._path}: the bag is damaged: {number} of the '
                               f'{self._count} images that its index lists were found; record '
                               'it again')

    def _source_frame(self, number: int, moment: Moment, tree: TransformTree) -> SourceFrame:
        try:
            return SourceFrame(number, self._frame(moment, tree))
        except DiffsegError as error:
            return SourceFrame(number, None, f'{self._path} frame {number} (stamp '
                                             f'{moment.stamp} ns): {error}')

    def _frame(self, moment: Moment, tree: TransformTree) -> Frame:
        rgb, header = self._image(moment.rgb, self._topics.rgb, decode_colour,
                                  decode_compressed_colour)
        frame_id = header.frame_id
        pose = tree.pose(frame_id, moment.stamp)
        if pose is None and (self._topics.moving or self._topics.static):
            self._problems[f'no transform from a fixed frame to {frame_id!r}: no pose'] += 1
        return Frame(rgb, moment.stamp, frame_id, self._depth(moment, frame_id),
                     self._camera(moment), pose)

    def _image(self, data: bytes, topic: str, raw: Callable[[Any], npt.NDArray],
               compressed: Callable[[Any], npt.NDArray]) -> tuple[npt.NDArray, Any]:
        kind = self._types[topic]
        try:
            message = deserialise(data, kind)
            return (raw if kind == IMAGE else compressed)(message), message.header
        except DiffsegError as error:
            raise DiffsegError(f'{topic}: {error}') from error

    def _depth(self, moment: Moment, frame_id: str) -> npt.NDArray[np.float32] | None:
        topic = self._topics.depth
        if topic is None:
            return None
        if moment.depth is None:
            self._problems[f'{topic}: no depth within {DEPTH_TOLERANCE_NS // 10**6} ms of the '
                           'image: masks only, no clouds'] += 1
            return None
        depth, header = self._image(moment.depth, topic, decode_depth, decode_compressed_depth)
        if header.frame_id.lstrip('/') != frame_id.lstrip('/'):
            self._problems[f'{topic}: depth in frame {header.frame_id!r}, image in {frame_id!r}: '
                           'unregistered depth is not used: masks only, no clouds'] += 1
            return None
        return depth

    def _camera(self, moment: Moment) -> Intrinsics | None:
        """Return the intrinsics; a useless camera_info is noted and costs only the clouds."""
        data = moment.camera_info
        if data is None:
            return None
        # Apart from the stamp one camera_info is like the other.
        if self._intrinsics is None or self._intrinsics[0] != data[12:]:
            try:
                intrinsics = intrinsics_from_camera_info(deserialise(data, CAMERA_INFO))
                self._intrinsics = (data[12:], intrinsics)
            except DiffsegError as error:
                self._problems[f'{self._topics.camera_info}: {error}: masks only, no '
                               'clouds'] += 1
                return None
        return self._intrinsics[1]
