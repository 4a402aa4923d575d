"""The tables over all recordings: index.parquet, a row each, and tracks.parquet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
import json
from pathlib import Path
from typing import Any

from diffseg_ros.errors import DiffsegError, WriteError
from diffseg_ros.fleet.track_table import TRACK_SCHEMA
from diffseg_ros.io.images import write_bytes
import pyarrow as pa
import pyarrow.parquet as pq

INDEX, TRACKS, ROW = 'index.parquet', 'tracks.parquet', 'row.json'
_TYPES = {'str': pa.string(), 'int': pa.int64(), 'float': pa.float64()}


@dataclass(frozen=True)
class Row:
    """
    What became of one recording.

    Attributes
    ----------
    recording
        Its name, that of the folder with its results.
    source
        Its path or URL.
    input_digest, settings_digest
        Hashes of the names, sizes and times of its files, and of all settings and the model's
        files.
    model, version
        Name of the model, and the release of diffseg_ros.
    frames, failed, tracks
        Frames written, frames that could not be, and tracks started.
    seconds
        How long it took its worker, without loading the model.
    worker
        Host and process.
    error
        Why there are no results, '' where there are.

    """

    recording: str
    source: str
    input_digest: str
    settings_digest: str
    model: str
    version: str
    frames: int = 0
    failed: int = 0
    tracks: int = 0
    seconds: float = 0.0
    worker: str = ''
    error: str = ''

    def same_work(self, other: Row) -> bool:
        """Return whether both are of the same input, settings and release."""
        return all(getattr(self, name) == getattr(other, name) for name in (
            'source', 'input_digest', 'settings_digest', 'version'))


INDEX_SCHEMA = pa.schema([(column.name, _TYPES[str(column.type)]) for column in fields(Row)])


def write_row(folder: Path, row: Row) -> None:
    """Write the row of a recording beside its results; raise WriteError if that fails."""
    write_bytes(folder / ROW, (json.dumps(asdict(row), indent=2) + '\n').encode())


def read_row(folder: Path) -> Row | None:
    """Return the row beside the results of a recording, None where there is none to read."""
    try:
        return Row(**json.loads((folder / ROW).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def write_index(output: Path, rows: Iterable[Row]) -> None:
    """Write index.parquet, by recording, whole or not at all."""
    ordered = sorted(rows, key=lambda row: row.recording)
    table = pa.table({name: [getattr(row, name) for row in ordered]
                      for name in INDEX_SCHEMA.names}, schema=INDEX_SCHEMA)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    write_bytes(output / INDEX, memoryview(sink.getvalue()))


def read_index(output: Path) -> dict[str, Row]:
    """
    Return the rows of index.parquet by recording, none where there is no such file.

    Raises
    ------
    DiffsegError
        There is another file of that name, or tracks.parquet without it: they are not ours.

    """
    path = output / INDEX
    if not path.exists():
        if (output / TRACKS).exists():
            raise DiffsegError(f'{output / TRACKS}: is there without {INDEX} and would be written '
                               'over; name another folder, or move it away')
        return {}
    try:
        table = pq.read_table(path.absolute()).select(INDEX_SCHEMA.names).cast(INDEX_SCHEMA)
        rows: list[dict[str, Any]] = table.to_pylist()
        return {values['recording']: Row(**values) for values in rows}
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise DiffsegError(f'{path}: is no index of diffseg_relabel; name another folder, or '
                           'move it away') from error


def write_tracks(output: Path, rows: Iterable[Row]) -> None:
    """
    Write tracks.parquet from the tables of the recordings, a group of rows each.

    Raises
    ------
    DiffsegError
        The table of a recording cannot be read.
    WriteError
        The disk is full.

    """
    output = output.absolute()  # PyArrow takes run:1/... for a URL
    partial = output / f'.{TRACKS}.partial'  # a later run writes over that of a killed one
    try:
        with pq.ParquetWriter(partial, TRACK_SCHEMA) as writer:
            for row in sorted(rows, key=lambda row: row.recording):
                table = output / row.recording / TRACKS
                if not row.error and table.exists():
                    writer.write_table(_read_tracks(table))
        partial.replace(output / TRACKS)
    except OSError as error:
        raise WriteError(f'{output / TRACKS}: cannot be written ({error.strerror or error}); '
                         'check the permissions and the space on the disk') from error
    finally:
        partial.unlink(missing_ok=True)


def _read_tracks(path: Path) -> pa.Table:
    try:
        return pq.read_table(path, schema=TRACK_SCHEMA)
    except (OSError, ValueError, TypeError) as error:
        reason = ' '.join(str(error).split())
        raise DiffsegError(f'{path}: cannot be read ({reason}); remove its folder and run again '
                           f'with --resume: {TRACKS} is not written without it') from error


def write_track_table(folder: Path, table: pa.Table) -> None:
    """Write the tracks of one recording beside its results."""
    pq.write_table(table, folder.absolute() / TRACKS)
