"""The index and the tracks: what is written, and what is refused."""

import os
from pathlib import Path

from diffseg_ros.config import PipelineConfig
from diffseg_ros.errors import DiffsegError, WriteError
from diffseg_ros.fleet.index import (
    read_index,
    read_row,
    Row,
    write_index,
    write_row,
    write_track_table,
    write_tracks,
)
from diffseg_ros.fleet.track_table import TRACK_SCHEMA, TrackTable
from diffseg_ros.postprocessing.label_encoding import LabelEncoder
from diffseg_ros.postprocessing.output_context import OutputContext
from diffseg_ros.types import Frame, Intrinsics, Result, Track, TrackState
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

CAMERA = Intrinsics(64, 48, 50.0, 50.0, 31.5, 23.5)


def context(stamp: int, left: int, name: str = '', depth: float = 2.0) -> OutputContext:
    """Return a frame with a 10x20 segment 7 at a column and nothing else labelled."""
    labels = np.full((48, 64), -1, np.int32)
    labels[10:30, left:left + 10] = 7
    frame = Frame(np.zeros((48, 64, 3), np.uint8), stamp,
                  depth=np.full((48, 64), depth, np.float32) if depth else None,
                  intrinsics=CAMERA)
    track = Track(7, TrackState.CONFIRMED, 1, 0, 200, name=name, name_score=0.5 if name else 0.0,
                  embedding=np.ones(3, np.float32) if name else None)
    result = Result(frame, labels, np.full((48, 64), 255, np.uint8), 0, tracks=(track,))
    return OutputContext(result, LabelEncoder(), PipelineConfig())


def test_tracks_are_means_over_their_frames():
    table = TrackTable()
    table.add(context(100, 0))
    table.add(context(200, 4, depth=0.0))
    table.add(context(300, 8, 'mug'))
    (row,) = table.table('a').to_pylist()
    assert row['recording'] == 'a' and row['id'] == 7
    assert (row['first_stamp'], row['last_stamp'], row['frames']) == (100, 300, 3)
    assert [row[f'box_{name}'] for name in ('x', 'y', 'width', 'height')] == [8.5, 19.5, 10, 20]
    assert row['pixels'] == 200 and row['frames_with_size'] == 2
    # 9 and 19 steps of 2 m / 50 between the middles of the outermost pixels.
    size = sorted(row[f'size_{axis}'] for axis in 'xyz')
    assert size == pytest.approx([0, 0.36, 0.76], abs=1e-3)
    assert row['name'] == 'mug' and row['embedding'] == [1, 1, 1]


def test_a_frame_without_labels_adds_nothing():
    table = TrackTable()
    empty = context(100, 0)
    empty.result.labels[:] = -1
    table.add(empty)
    assert table.table('a').num_rows == 0


def test_rows_and_index_come_back(tmp_path):
    rows = [Row(name, f'/data/{name}', 'i', 's', 'embedded', '1', frames=3) for name in 'ba']
    write_index(tmp_path, rows)
    assert list(read_index(tmp_path).values()) == rows[::-1]
    write_row(tmp_path, rows[0])
    assert read_row(tmp_path) == rows[0]
    (tmp_path / 'row.json').write_text('{"recording": 1')
    assert read_row(tmp_path) is None


def test_tracks_of_all_recordings_that_have_results(tmp_path):
    rows = []
    for name in ('b', 'a', 'c'):
        table = TrackTable()
        table.add(context(100, 0))
        (tmp_path / name).mkdir()
        write_track_table(tmp_path / name, table.table(name))
        rows.append(Row(name, name, '', '', '', '', error='broken' if name == 'c' else ''))
    write_tracks(tmp_path, rows)
    assert pq.read_table(tmp_path / 'tracks.parquet')['recording'].to_pylist() == ['a', 'b']


def test_a_full_disk_is_told_with_the_name_of_the_table(tmp_path):
    (tmp_path / '.tracks.parquet.partial').symlink_to('/dev/full')
    with pytest.raises(WriteError, match=r'tracks.parquet: cannot be written \(.*No space left'):
        write_tracks(tmp_path, [])


def test_a_folder_with_a_colon_is_no_url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path('run:1')
    (folder / 'a').mkdir(parents=True)
    table = TrackTable()
    table.add(context(100, 0))
    write_track_table(folder / 'a', table.table('a'))
    rows = [Row('a', '/data/a', '', '', '', '')]
    write_index(folder, rows)
    write_tracks(folder, rows)
    assert list(read_index(folder).values()) == rows
    assert pq.read_table(tmp_path / folder / 'tracks.parquet').num_rows == 1


def test_a_broken_table_of_a_recording_is_told(tmp_path):
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a' / 'tracks.parquet').write_bytes(b'PAR1')
    with pytest.raises(DiffsegError, match='a/tracks.parquet: cannot be read'):
        write_tracks(tmp_path, [Row('a', '/data/a', '', '', '', '')])
    assert [path.name for path in tmp_path.iterdir()] == ['a']


def test_columns_without_any_value_keep_their_types(tmp_path):
    row = Row('a', '/data/a', '', '', '', '')
    (tmp_path / 'a').mkdir()
    table = TrackTable()
    table.add(context(100, 0, depth=0.0))
    write_track_table(tmp_path / 'a', table.table('a'))
    write_tracks(tmp_path, [row])
    assert pq.read_schema(tmp_path / 'tracks.parquet').equals(TRACK_SCHEMA)


def test_a_killed_run_leaves_no_second_file(tmp_path, monkeypatch):
    def kill(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, 'replace', kill)
        patched.setattr(Path, 'unlink', lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            write_tracks(tmp_path, [])
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr(os, 'getpid', lambda: 1)
    write_tracks(tmp_path, [])
    assert [path.name for path in tmp_path.iterdir()] == ['tracks.parquet']


@pytest.mark.parametrize('name', ['index.parquet', 'tracks.parquet'])
@pytest.mark.parametrize('kind', ['text', 'table'])
def test_tables_of_others_are_refused(tmp_path, name, kind):
    if kind == 'text':
        (tmp_path / name).write_text('mine')
    else:
        pq.write_table(pa.table({'recording': ['a'], 'mine': [1]}), tmp_path / name)
    with pytest.raises(DiffsegError, match=name):
        read_index(tmp_path)
