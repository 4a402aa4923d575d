"""
What lasts of a tracker, as one safetensors file: tracks, how they look, and where they are.

A newer release may add arrays, which are ignored here; what older ones would misread raises the
format number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.images import write_bytes
from diffseg_ros.tracking.label_map import CAPACITY
from diffseg_ros.tracking.saved_places import SavedPlaces
from diffseg_ros.tracking.track_manager import LONG_LOSS, TrackManager
from diffseg_ros.tracking.world_map import MOST_VOTES, Position, VoxelLabels
from diffseg_ros.types import Mask
import numpy as np
import numpy.typing as npt
from safetensors import safe_open, SafetensorError
from safetensors.numpy import save

FORMAT = 1
_KEY = 'diffseg_ros_memory'
_LARGEST = 2**31 - 1

Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Memory:
    """
    What lasts of a tracker with N tracks.

    Attributes
    ----------
    features
        What the embeddings are of: the model, and its settings that change them.
    fixed_frame
        The world of positions and voxels; '' where they have none that lasts.
    next_id
        Above all ids that were ever given.
    ids, age, unseen, hits
        (N,) int32, the first 1 to `next_id` - 1; parts of one object share theirs. Frames since
        the start and since the track was last in view; keyframes in which it was.
    confirmed, dynamic
        (N,) bool.
    embeddings
        (N, C) float32 of length 1, or 0 where unknown.
    positions
        (N, 2, 3) float64 world metres, NaN where unknown: mean and standard deviation.
    voxel_keys, voxel_ids, voxel_votes
        (V,) int64, int32 and int16: the voxel map, with ids among those of the tracks.

    """

    features: str
    fixed_frame: str
    next_id: int
    ids: Ints
    age: Ints
    unseen: Ints
    hits: Ints
    confirmed: Mask
    dynamic: Mask
    embeddings: npt.NDArray[np.float32]
    positions: npt.NDArray[np.float64]
    voxel_keys: npt.NDArray[np.int64]
    voxel_ids: Ints
    voxel_votes: npt.NDArray[np.int16]

    @property
    def voxels(self) -> VoxelLabels:
        """The voxel map."""
        return VoxelLabels(self.voxel_keys, self.voxel_ids, self.voxel_votes)

    @classmethod
    def of(cls, tracks: TrackManager, features: str, fixed_frame: str, voxels: VoxelLabels,
           positions: Mapping[int, Position]) -> Memory:
        """Return what lasts of tracks, with positions by their numbers."""
        every = list(tracks)

        def ints(values: Iterable[int]) -> Ints:
            return np.array([min(value, _LARGEST) for value in values], np.int32)

        shape = next((track.embedding.shape for track in every if track.embedding is not None),
                     (0,))
        unknown = np.zeros(shape, np.float32), np.full((2, 3), np.nan)
        ids = ints(track.id for track in every)
        voxels = voxels.of(ids)
        return cls(
            features, fixed_frame, tracks.next_id, ids,
            ints(tracks.frame - track.started for track in every),
            ints(tracks.frame - track.last_seen for track in every),
            ints(track.hits for track in every),
            np.array([track.confirmed for track in every], bool),
            np.array([track.dynamic for track in every], bool),
            np.array([unknown[0] if track.embedding is None or track.embedding.shape != shape
                      else track.embedding for track in every], np.float32
                     ).reshape(len(ids), *shape),
            np.array([positions.get(track.number, unknown[1]) for track in every]
                     ).reshape(-1, 2, 3), *voxels)

    def restore(self, tracks: TrackManager) -> SavedPlaces:
        """Start the tracks as lost ones without positions; return the places, to be checked."""
        positions = {}
        next_id = max(tracks.next_id, self.next_id)
        for row, track_id in enumerate(self.ids.tolist()):
            track = tracks.start()
            assert track is not None
            track.id, track.loaded = track_id, True
            # A restart is a long loss.
            track.started = tracks.frame - int(self.age[row]) - LONG_LOSS - 1
            track.last_seen = tracks.frame - int(self.unseen[row]) - LONG_LOSS - 1
            track.hits = int(self.hits[row])
            track.confirmed, track.dynamic = bool(self.confirmed[row]), bool(self.dynamic[row])
            if self.embeddings[row].any():
                track.embedding = self.embeddings[row]
            if np.isfinite(self.positions[row]).all():
                positions[track.number] = self.positions[row]
        tracks.next_id = next_id
        return SavedPlaces(self.fixed_frame, self.voxels, positions)


_SHAPES: dict[str, tuple[str, tuple[str | int, ...]]] = {
    **dict.fromkeys(('ids', 'age', 'unseen', 'hits'), ('I32', ('N',))),
    **dict.fromkeys(('confirmed', 'dynamic'), ('BOOL', ('N',))),
    'embeddings': ('F32', ('N', 'C')), 'positions': ('F64', ('N', 2, 3)),
    'voxel_keys': ('I64', ('V',)), 'voxel_ids': ('I32', ('V',)), 'voxel_votes': ('I16', ('V',))}
"""Each array's type in safetensors, and its shape."""


def write_memory(path: Path, memory: Memory) -> None:
    """
    Write a memory file; it appears whole or not at all.

    Raises
    ------
    DiffsegError
        There is a file that is no memory file of this format: it stays as it is.
    WriteError
        The file cannot be written.

    """
    if path.exists():
        try:
            _header(path)
        except DiffsegError as error:
            raise DiffsegError(f'{error}; it is not overwritten') from None
    # One text, as safetensors keeps no order of several: the same memory gives the same file.
    metadata = {_KEY: json.dumps({'format': FORMAT, 'features': memory.features,
                                  'fixed_frame': memory.fixed_frame, 'next_id': memory.next_id})}
    arrays = {name: np.ascontiguousarray(getattr(memory, name)) for name in _SHAPES}
    write_bytes(path, save(arrays, metadata))


def read_memory(path: Path) -> Memory:
    """
    Return the content of a memory file, all of it checked.

    Raises
    ------
    DiffsegError
        It cannot be read, is truncated, is another file or of a newer format, or a value in it is
        out of range.

    """
    header = _header(path)
    arrays = {}
    sizes: dict[str | int, int] = {}
    with safe_open(path, 'numpy') as file:
        for name, (kind, shape) in _SHAPES.items():
            if name not in file.keys():  # noqa: SIM118
                raise _damaged(path, f'{name} is missing')
            found = file.get_slice(name)
            got = found.get_shape()
            expected = [axis if isinstance(axis, int) else sizes.setdefault(axis, length)
                        for axis, length in zip(shape, got, strict=False)]
            if (found.get_dtype(), len(got), got) != (kind, len(shape), expected):
                raise _damaged(path, f'{name} is {found.get_dtype()} {got}')
            arrays[name] = file.get_tensor(name)
    memory = Memory(header['features'], header['fixed_frame'], header['next_id'], **arrays)
    if wrong := _wrong_values(memory):
        raise _damaged(path, wrong)
    return memory


def _wrong_values(memory: Memory) -> str:
    """Return what is out of range, '' if nothing is."""
    ids, known = memory.ids, ~np.isnan(memory.positions)
    length = np.linalg.norm(memory.embeddings, axis=1)
    checks = {
        f'next_id is {memory.next_id}': 1 <= memory.next_id <= _LARGEST,
        f'it has {len(ids)} tracks': len(ids) <= CAPACITY,
        'an id is out of range': ((ids >= 1) & (ids < memory.next_id)).all(),
        'a count of frames is below 0': all((one >= 0).all() for one in (
            memory.age, memory.unseen, memory.hits)),
        'an embedding is not of length 1': ((length == 0) | (np.abs(length - 1) < 0.01)).all(),
        'a position is not finite': (
            not np.isinf(memory.positions).any()
            and (known.all(axis=(1, 2)) == known.any(axis=(1, 2))).all()),
        'a voxel belongs to no track': np.isin(memory.voxel_ids, ids).all(),
        'a vote is out of range': ((memory.voxel_votes >= 1)
                                   & (memory.voxel_votes <= MOST_VOTES)).all()}
    return next((text for text, right in checks.items() if not right), '')


def _header(path: Path) -> dict[str, Any]:
    """Return the metadata of a memory file of this format, or raise DiffsegError."""
    if not path.is_file():
        raise _unusable(path, 'a folder' if path.is_dir() else 'no such file')
    try:
        with safe_open(path, 'numpy') as file:
            metadata = file.metadata() or {}
    except OSError as error:
        raise _unusable(path, f'cannot be read ({error})') from error
    except SafetensorError as error:
        raise _unusable(path, f'truncated, or no safetensors file ({error})') from error
    if _KEY not in metadata:
        raise _unusable(path, 'a safetensors file with something else')
    try:
        header: dict[str, Any] = json.loads(metadata[_KEY])
        number = header['format']
    except (ValueError, TypeError, KeyError):
        raise _damaged(path, 'its format is unknown') from None
    if number != FORMAT:
        raise DiffsegError(f'memory file {path}: format {number!r}; this release reads {FORMAT}: '
                           'update diffseg_ros, or give another file')
    for name, kind in (('features', str), ('fixed_frame', str), ('next_id', int)):
        if type(header.get(name)) is not kind:
            raise _damaged(path, f'{name} is {header.get(name)!r}')
    return header


def _unusable(path: Path, what: str) -> DiffsegError:
    return DiffsegError(f'memory file {path}: {what}; give one that diffseg_ros saved')


def _damaged(path: Path, what: str) -> DiffsegError:
    return _unusable(path, f'damaged: {what}')
