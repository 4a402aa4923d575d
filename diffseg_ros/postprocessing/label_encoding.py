"""Track ids as pixel values of a label image."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TYPE_CHECKING

from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.label_images import distinct_labels
from diffseg_ros.types import IDS_BESIDE_A_CLASS, LabelImage
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from diffseg_ros.config import NodeConfig, PipelineConfig

SEGMENT_CLASS = 0
"""Class of a segment without a name."""

_DTYPES: dict[str, np.dtype[Any]] = {
    '16UC1': np.dtype('<u2'), 'mono8': np.dtype('u1'), '32SC1': np.dtype('<i4')}
_POOL_SIZE_8BIT = 255
_CLASS_BITS = 16
_LARGEST_TABLE = 2**24


class LabelEncoder:
    """
    Turns ids into the values of one image encoding, the same for label images and points.

    16UC1 and 32SC1 carry the ids themselves. With a pool of values, which mono8 always has, each
    live id is allocated one until it was not seen for `max_misses` frames; the value that was
    free for longest comes first. Ids without a value become unlabelled.

    With a class beside it the id takes one half of 32 bits: its own value where that is free, else
    one of a pool.

    Parameters
    ----------
    encoding
        Of the label image: 16UC1, mono8 or 32SC1.
    unlabelled_value
        Of pixels without a segment; -1 is all bits set.
    pool_size
        Number of values: the lowest that are not the unlabelled one. 0 is 255 for mono8, all
        that fit beside a class, and no pool otherwise.
    content
        'id', 'class' (that of each segment instead of its id), 'class_and_id' (the class times
        65536 plus the id) or 'id_and_class' (the other way round).

    Attributes
    ----------
    unencodable
        Number of ids without a value in the frame encoded last.

    """

    def __init__(self, encoding: str = '16UC1', unlabelled_value: int = -1,
                 max_misses: int = 15, *, pool_size: int = 0, content: str = 'id') -> None:
        self.encoding = encoding
        self.dtype = _DTYPES[encoding]
        self.unlabelled = int(np.array(unlabelled_value, np.int64).astype(self.dtype))
        self.max_misses = max_misses
        self.unencodable = 0
        self._content = content
        self._pool_size = pool_size or IDS_BESIDE_A_CLASS.get(
            content, _POOL_SIZE_8BIT if encoding == 'mono8' else 0)
        self._free = deque([value for value in range(self._pool_size + 1)
                            if value != self.unlabelled][:self._pool_size])
        self._allocated: dict[int, int] = {}
        self._seen: dict[int, int] = {}
        self._frame = 0
        self._ids: npt.NDArray[np.int32] = np.zeros(0, np.int32)
        self._values: npt.NDArray[Any] = np.zeros(0, self.dtype)
        self._table: npt.NDArray[Any] | None = None

    @classmethod
    def from_config(cls, config: NodeConfig, max_misses: int = 15) -> LabelEncoder:
        """Return the encoder that the node's settings ask for."""
        return cls(config.labels_encoding, config.unlabelled_value, max_misses,
                   pool_size=config.label_pool_size, content=config.labels_content)

    def encode(self, labels: LabelImage,
               classes: Mapping[int, int] = MappingProxyType({})) -> npt.NDArray[Any]:
        """
        Return the (H, W) values of the next frame's label image, in `dtype`.

        `classes` are those of the ids that have one; the others are of SEGMENT_CLASS.
        """
        ids = distinct_labels(labels)
        ids = ids[ids >= 0]
        self._frame += 1
        self.unencodable = 0
        if self._content == 'class':
            values = self._classes(ids, classes)
        else:
            values = self._allocate(ids) if self._pool_size else self._own_values(ids)
            self.unencodable = int(np.count_nonzero(values == self.unlabelled))
        if self._content in IDS_BESIDE_A_CLASS:
            halves = [self._classes(ids, classes), values]
            high, low = halves if self._content == 'class_and_id' else halves[::-1]
            values = np.where(values, high << _CLASS_BITS | low, 0)
        self._ids, self._values, self._table = ids, values, None
        if ids.size and ids[-1] - ids[0] < _LARGEST_TABLE:
            self._table = np.full(ids[-1] - ids[0] + 2, self.unlabelled, self.dtype)
            self._table[ids - (ids[0] - 1)] = values
        return self.values(labels)

    def values(self, labels: npt.NDArray[np.int32]) -> npt.NDArray[Any]:
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

    def _classes(self, ids: npt.NDArray[np.int32],
                 classes: Mapping[int, int]) -> npt.NDArray[Any]:
        return np.array([classes.get(identity, SEGMENT_CLASS) for identity in ids.tolist()],
                        self.dtype)

    def _own_values(self, ids: npt.NDArray[np.int32]) -> npt.NDArray[Any]:
        fits = (ids <= np.iinfo(self.dtype).max) & (ids != self.unlabelled)
        return np.where(fits, ids, self.unlabelled).astype(self.dtype)

    def _allocate(self, ids: npt.NDArray[np.int32]) -> npt.NDArray[Any]:
        in_view = ids.tolist()
        self._seen.update(dict.fromkeys(in_view, self._frame))
        for identity in [identity for identity, seen in self._seen.items()
                         if self._frame - seen > self.max_misses]:
            del self._seen[identity]
            if identity in self._allocated:
                self._free.append(self._allocated.pop(identity))
        for identity in in_view:
            if identity not in self._allocated and self._free:
                self._allocated[identity] = self._take(identity)
        return np.array([self._allocated.get(identity, self.unlabelled) for identity in in_view],
                        self.dtype)

    def _take(self, identity: int) -> int:
        """Take a value for an id from the pool: beside a class its own where that is free."""
        if self._content in IDS_BESIDE_A_CLASS and identity in self._free:
            self._free.remove(identity)
            return identity
        return self._free.popleft()


def check_classes(node: NodeConfig, pipeline: PipelineConfig) -> None:
    """
    Check that every class of the vocabulary has a value in ~/labels.

    Raises
    ------
    DiffsegError
        A class does not fit the encoding, or is the unlabelled value.

    """
    if pipeline.vocabulary is None or node.labels_content != 'class':
        return
    encoder = LabelEncoder.from_config(node)
    largest = np.iinfo(encoder.dtype).max
    for concept in pipeline.vocabulary.concepts:
        if concept.id > largest:
            raise DiffsegError(f'parameter naming.vocabulary: the id of {concept.name} is '
                               f'{concept.id}; with labels_content class {encoder.encoding} holds '
                               f'at most {largest}: lower it, or set labels_encoding')
        if concept.id == encoder.unlabelled:
            raise DiffsegError(f'parameter naming.vocabulary: the id of {concept.name} is '
                               f'{concept.id}, which means unlabelled; give it another, or set '
                               'unlabelled_value')
