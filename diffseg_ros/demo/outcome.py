"""What came out of a run, frame by frame, beside what went in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from diffseg_ros.demo.accounting import Account
from diffseg_ros.demo.recorder import LABELS, POINTS, RECORDED
from diffseg_ros.demo.spool import Spool
from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.point_cloud import LabelledCloud
from diffseg_ros.io.message_types import deserialise, header_stamp
from diffseg_ros.io.sequence_folder import SequenceFolder
from diffseg_ros.types import Frame, UNLABELLED
import numpy as np
import numpy.typing as npt

_UNLABELLED_16 = 65535


@dataclass(frozen=True)
class Outcome:
    """
    The sequence that was played and the recording of the node's answers.

    Attributes
    ----------
    stamps
        Of every frame sent, in nanoseconds.

    """

    sequence: SequenceFolder
    spool: Spool
    stamps: list[int]
    account: Account

    def frame(self, number: int) -> Frame:
        """Return what was sent as frame `number`."""
        source = self.sequence.read(number)
        if source.frame is None:
            raise DiffsegError(f'{self.sequence.name} frame {number}: {source.error}')
        return source.frame

    def labels(self, number: int) -> npt.NDArray[np.int32]:
        """Return (H, W) int32 ids published for frame `number`, UNLABELLED where none."""
        message = deserialise(bytes(self._by_stamp[LABELS][self.stamps[number]]),
                              RECORDED[LABELS])
        if message.encoding != '16UC1':
            raise DiffsegError(f'{LABELS}: encoding {message.encoding}; the demo reads 16UC1, '
                               'leave labels_encoding out of --params')
        order = '>u2' if message.is_bigendian else '<u2'
        labels = message.data.view(order).reshape(message.height, -1)[:, :message.width]
        labels = labels.astype(np.int32)
        labels[labels == _UNLABELLED_16] = UNLABELLED
        return labels

    @property
    def cloud_numbers(self) -> list[int]:
        """Numbers of the frames of which labels and a cloud were recorded."""
        return [number for number in self.account.processed
                if self.stamps[number] in self._by_stamp[POINTS]]

    def cloud(self, number: int) -> LabelledCloud:
        """Return the cloud published for frame `number`."""
        message = deserialise(bytes(self._by_stamp[POINTS][self.stamps[number]]),
                              RECORDED[POINTS])
        kinds = {2: 'u1', 6: '<u4', 7: '<f4'}
        layout = np.dtype({
            'names': [field.name for field in message.fields],
            'formats': [kinds[field.datatype] for field in message.fields],
            'offsets': [field.offset for field in message.fields],
            'itemsize': message.point_step})
        data = message.data.view(layout).reshape(message.height, message.width)
        packed = np.ascontiguousarray(data['rgb']).view(np.uint32)
        colours = np.stack([packed >> 16, packed >> 8, packed], axis=-1).astype(np.uint8)
        labels = data['label'].astype(np.int32)
        labels[labels == _UNLABELLED_16] = UNLABELLED
        points = np.stack([data['x'], data['y'], data['z']], axis=-1)
        return LabelledCloud(points, colours, labels)

    @cached_property
    def _by_stamp(self) -> dict[str, dict[int | None, memoryview]]:
        return {topic: {header_stamp(item.data): item.data
                        for item in self.spool.messages(topic)} for topic in (LABELS, POINTS)}
