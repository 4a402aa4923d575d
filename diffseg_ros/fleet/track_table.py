"""The tracks of a recording as a table, from running sums over its frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from diffseg_ros.geometry.label_images import compact
from diffseg_ros.postprocessing.output_context import OutputContext
import numpy as np
import numpy.typing as npt
import pyarrow as pa

_BOX = ('box_x', 'box_y', 'box_width', 'box_height')
_SIZE = ('size_x', 'size_y', 'size_z')
TRACK_SCHEMA = pa.schema([
    ('recording', pa.string()), ('id', pa.int32()), ('first_stamp', pa.int64()),
    ('last_stamp', pa.int64()), ('frames', pa.int32()), *((name, pa.float32()) for name in _BOX),
    ('pixels', pa.float32()), *((name, pa.float32()) for name in _SIZE),
    ('frames_with_size', pa.int32()), ('embedding', pa.list_(pa.float32())),
    ('name', pa.string()), ('name_score', pa.float32())])
"""A row a track; docs/fleet.md says what the columns hold."""


@dataclass
class _Sums:
    first: int
    last: int = 0
    frames: int = 0
    box: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(4))
    pixels: int = 0
    size: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    sized: int = 0
    name: str = ''
    score: float = 0.0
    embedding: npt.NDArray[np.float32] | None = None

    def row(self) -> dict[str, Any]:
        """Return the means, by column."""
        size = self.size / self.sized if self.sized else [None] * 3
        return {'first_stamp': self.first, 'last_stamp': self.last, 'frames': self.frames,
                **dict(zip(_BOX, self.box / self.frames, strict=True)),
                'pixels': self.pixels / self.frames,
                **dict(zip(_SIZE, size, strict=True)), 'frames_with_size': self.sized,
                'embedding': self.embedding, 'name': self.name or None,
                'name_score': self.score if self.name else None}


class TrackTable:
    """Gathers what `TRACK_SCHEMA` says of the tracks of one recording."""

    def __init__(self) -> None:
        self._sums: dict[int, _Sums] = {}

    def add(self, context: OutputContext) -> None:
        """Take the next frame."""
        stamp, regions = context.frame.stamp, context.regions
        counts = np.bincount(compact(context.labels).ravel())[-len(regions.ids):]
        for identity, box, pixels in zip(regions.ids.tolist(), regions.boxes, counts.tolist()):
            sums = self._sums.setdefault(identity, _Sums(stamp))
            sums.last = stamp
            sums.frames += 1
            sums.box += box
            sums.pixels += pixels
        for segment in context.boxes if context.has_points else []:
            sums = self._sums[segment.id]
            sums.size += segment.size
            sums.sized += 1
        for identity, track in context.named.items():
            if identity in self._sums:
                sums = self._sums[identity]
                sums.name, sums.score, sums.embedding = (
                    track.name, track.name_score, track.embedding)

    def table(self, recording: str) -> pa.Table:
        """Return the rows, by id."""
        return pa.Table.from_pylist(
            [{'recording': recording, 'id': identity, **sums.row()}
             for identity, sums in sorted(self._sums.items())], schema=TRACK_SCHEMA)
