"""The questions of docs/fleet.md, answered in DuckDB from tables with known answers."""

from pathlib import Path
import re

from diffseg_ros.fleet.index import Row, write_index, write_track_table, write_tracks
from diffseg_ros.fleet.track_table import TRACK_SCHEMA
import pyarrow as pa
import pytest

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'fleet.md'
SECOND = 10**9


def test_the_three_questions(tmp_path, monkeypatch):
    duckdb = pytest.importorskip('duckdb', reason='duckdb is not installed')
    rows = [Row('steady', 's3://b/steady', '', '', '', '', frames=10),
            Row('jumpy', 's3://b/jumpy', '', '', '', '', frames=10),
            Row('broken', 's3://b/broken', '', '', '', '', error='truncated')]
    tracks = {'steady': [(1, 0, 3 * SECOND, 10, 0.10), (2, 0, SECOND // 2, 10, 0.08)],
              'jumpy': [(number, 0, SECOND, 2, 0.9) for number in range(5)]}
    for name, listed in tracks.items():
        (tmp_path / name).mkdir()
        write_track_table(tmp_path / name, pa.Table.from_pylist(
            [{'recording': name, 'id': identity, 'first_stamp': first, 'last_stamp': last,
              'frames': frames, 'size_x': size, 'size_y': size / 2}
             for identity, first, last, frames, size in listed], schema=TRACK_SCHEMA))
    write_index(tmp_path, rows)
    write_tracks(tmp_path, rows)
    monkeypatch.chdir(tmp_path)
    questions = re.findall(r'```sql\n(.*?)```', PAGE.read_text(), re.DOTALL)
    failed, restless, mugs = [duckdb.sql(question).fetchall() for question in questions]
    assert failed == [('s3://b/broken', 'truncated')]
    assert restless == [('jumpy', 5, pytest.approx(0.2)), ('steady', 2, pytest.approx(1.0))]
    assert mugs == [('steady', 1, 3.0, None)]
