"""The table of names: the last of each track, with the classes of the vocabulary."""

from __future__ import annotations

from diffseg_ros.naming.vocabulary import load_vocabulary
from diffseg_ros.postprocessing.name_table import NameTable
from diffseg_ros.types import SegmentKind, Track, TrackState


def track(identity, name, score=0.5, kind=SegmentKind.UNKNOWN):
    return Track(identity, TrackState.CONFIRMED, 5, 0, 60, kind=kind, name=name, name_score=score)


def test_a_row_a_track_with_its_last_name(tmp_path):
    table = NameTable(load_vocabulary(['chair', 'sofa, old']))
    table.add([track(9, 'sofa, old', 0.81234), track(2, 'chair'), track(4, '')])
    table.add([track(2, 'unknown', 0.25), track(7, 'floor', 1.0, SegmentKind.FLOOR)])
    assert [(row['id'], row['class_id'], row['name']) for row in table.rows()] == [
        (2, 0, 'unknown'), (7, 0, 'floor'), (9, 2, 'sofa, old')]
    table.write(tmp_path / 'names.csv')
    assert (tmp_path / 'names.csv').read_text() == (
        'id,class_id,name,score,kind\n2,0,unknown,0.25,\n7,0,floor,1.0,floor\n'
        '9,2,"sofa, old",0.8123,\n')
