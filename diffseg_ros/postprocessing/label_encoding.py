"""Track ids as pixel values of a label image."""

from __future__ import annotations

from collections import deque
from typing import Any

from diffseg_ros.config import NodeConfig
from diffseg_ros.geometry.label_images import distinct_labels
import numpy as np
import numpy.typing as npt

_DTYPES: dict[str, np.dtype[Any]] = {
    '16UC1': np.dtype('<u2'), 'mono8': np.dtype('u1'), '32SC1': np.dtype('<i4')}
_SLOTS_8BIT = 255
SEGMENT_CLASS = 0
"""Class of a segment that nothing has named."""
_LARGEST_TABLE = 2**24


class LabelEncoder:
    """
    Turns ids into the values of one image encoding, the same for labels and points.

    16UC1 and 32SC1 carry the ids themselves. With slots, of which mono8 has 255, each live id is
    lent one and gives it back when it was not seen for `max_misses` frames; the slot that was
    free for longest is lent first. Ids without a value become unlabelled and are counted in
    `unencodable`.
    """

    def __init__(self, encoding: str = '16UC1', unlabelled_value: int = -1,
                 max_misses: int = 15, *, slots: int = 0, by_class: bool = False) -> None:
        """
        Choose the values.

        Parameters
        ----------
        encoding
            Of the label image: 16UC1, mono8 or 32SC1.
        unlabelled_value
            Of pixels without a segment; -1 is all bits set.
        max_misses
            Frames a slot stays lent to an id that is not seen.
        slots
            Number of values lent to ids: the lowest that are not the unlabelled one. 0 is 255 in
            mono8, and the ids themselves otherwise.
        by_class
            Give the class of each segment instead of its id.

        """
        self.encoding = encoding
        self.dtype = _DTYPES[encoding]
        self.unlabelled = int(np.array(unlabelled_value, np.int64).astype(self.dtype))
        self.max_misses = max_misses
        self.unencodable = 0
        self._by_class = by_class
        slots = slots or (_SLOTS_8BIT if encoding == 'mono8' else 0)
        self._lends = bool(slots)
        self._free = deque([slot for slot in range(slots + 1) if slot != self.unlabelled][:slots])
        self._slots: dict[int, int] = {}
        self._seen: dict[int, int] = {}
        self._frame = 0
        self._ids: npt.NDArray[np.int32] = np.zeros(0, np.int32)
        self._values = np.zeros(0, self.dtype)
        self._table: npt.NDArray[np.integer] | None = None

    @classmethod
    def from_config(cls, config: NodeConfig, max_misses: int = 15) -> LabelEncoder:
        """Return the encoder that the node's settings ask for."""
        return cls(config.labels_encoding, config.unlabelled_value, max_misses,
                   slots=config.label_pool_size, by_class=config.labels_content == 'class')

    def encode(self, labels: npt.NDArray[np.int32]) -> npt.NDArray[np.integer]:
        """
        Return the values of the next frame's label image, in `dtype`.

        Parameters
        ----------
        labels
            (H, W) int32 ids, UNLABELLED (-1) where there is none. `unencodable` becomes the
            number of this frame's ids that have no value.

        """
        ids = distinct_labels(labels)
        ids = ids[ids >= 0]
        self._frame += 1
        if self._by_class:
            values = np.full(ids.shape, SEGMENT_CLASS, self.dtype)
        elif self._lends:
            values = self._lend(ids)
        else:
            fits = (ids <= np.iinfo(self.dtype).max) & (ids != self.unlabelled)
            values = np.where(fits, ids, self.unlabelled)
        self.unencodable = (0 if self._by_class
                            else int(np.count_nonzero(values == self.unlabelled)))
        self._ids, self._values = ids, values.astype(self.dtype)
        self._table = None
        if ids.size and ids[-1] - ids[0] < _LARGEST_TABLE:
            self._table = np.full(ids[-1] - ids[0] + 2, self.unlabelled, self.dtype)
            self._table[ids - (ids[0] - 1)] = values
        return self.values(labels)

    def values(self, labels: npt.NDArray[np.int32]) -> npt.NDArray[np.integer]:
        """Return the values of ids of the frame encoded last, whatever the array's shape."""
        if not self._ids.size:
            return np.full(labels.shape, self.unlabelled, self.dtype)
        if self._table is not None:
            return self._table.take(labels - (self._ids[0] - 1), mode='clip')
        values = self._values.take(np.searchsorted(self._ids, labels), mode='clip')
        values[labels < 0] = self.unlabelled
        return values

    def point_values(self, labels: npt.NDArray[np.int32]) -> npt.NDArray[np.uint32]:
        """Return the same values as unsigned 32 bit; -1 becomes 4294967295."""
        values = self.values(labels)
        return values.view(np.uint32) if values.dtype.itemsize == 4 else values.astype(np.uint32)

    def _lend(self, ids: npt.NDArray[np.int32]) -> npt.NDArray[np.integer]:
        known = ids.tolist()
        self._seen.update(dict.fromkeys(known, self._frame))
        gone = [identity for identity, seen in self._seen.items()
                if self._frame - seen > self.max_misses]
        for identity in gone:
            del self._seen[identity]
            if identity in self._slots:
                self._free.append(self._slots.pop(identity))
        for identity in known:
            if identity not in self._slots and self._free:
                self._slots[identity] = self._free.popleft()
        return np.array([self._slots.get(identity, self.unlabelled) for identity in known],
                        self.dtype)
