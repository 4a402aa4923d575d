"""diffseg_replay --rerun writes what the viewer shows; read back with the viewer's own library."""

from __future__ import annotations

from collections import defaultdict
import json
import sys

from box_recording import FRAMES, label_images, write_sequence
from diffseg_ros.io.ply import read_ply
import numpy as np
import pytest

STAMPS = [10_000_000_000 + number * 100_000_000 for number in range(FRAMES)]


def read_back(path):
    """Return [(stamp, {component: values})] by entity."""
    rerun = pytest.importorskip('rerun', reason='needs the extra viewer')
    rows = defaultdict(list)
    for chunk in rerun.chunk.RrdReader(path).stream().to_chunks():
        assert set(chunk.timeline_names) <= {'stamp'}
        batch = chunk.to_record_batch()
        stamps = [None] * chunk.num_rows
        if not chunk.is_static:
            stamps = batch.column('stamp').cast('int64').to_pylist()
        data = batch.select([name for name in batch.schema.names if ':' in name])
        for stamp, row in zip(stamps, data.to_pylist()):
            rows[chunk.entity_path].append((stamp, {
                name.partition(':')[2]: value for name, value in row.items()}))
    return {entity: sorted(found, key=lambda item: item[0] or 0) for entity, found in rows.items()}


def test_everything_is_on_the_timeline_of_the_stamps(run, sequence, tmp_path):
    file = tmp_path / 'view' / 'box.rrd'
    code, output = run(sequence, 'out', '--rerun', str(file), '--no-bag', '--clouds', '2')
    assert code == 0
    found = read_back(file)
    for entity, stamps in (('/world/camera/image/labels', STAMPS), ('/world/camera/boxes', STAMPS),
                           ('/world/camera/points', STAMPS[::2]),
                           ('/milliseconds/total', STAMPS)):
        assert [stamp for stamp, _ in found[entity]] == stamps, entity
    for (_, data), labels in zip(found['/world/camera/image/labels'],
                                 label_images(output).values()):
        buffer = np.array(data['buffer'][0], np.uint8).view('<u2').reshape(96, 128)
        np.testing.assert_array_equal(buffer, labels)
    pinhole = next(data for _, data in found['/world/camera/image'] if data.get('resolution'))
    np.testing.assert_allclose(pinhole['image_from_camera'][0],
                               [110, 0, 0, 0, 112, 0, 63.7, 48.4, 1], rtol=1e-6)
    totals = [data['scalars'][0] for _, data in found['/milliseconds/total']]
    report = json.loads((output / 'report.json').read_text())
    assert np.mean(totals) == pytest.approx(report['latency_ms']['total']['mean'])


def test_points_and_boxes_carry_the_values_of_the_labels(run, sequence, tmp_path):
    _, output = run(sequence, 'out', '--rerun', str(tmp_path / 'box.rrd'), '--no-bag')
    found = read_back(tmp_path / 'box.rrd')
    cloud = read_ply(output / 'clouds' / '000000.ply')
    places = {tuple(point): label for point, label in zip(cloud.points.tolist(),
                                                          cloud.labels.tolist())}
    _, points = found['/world/camera/points'][0]
    assert len(points['positions']) > 2500
    for point, label in zip(points['positions'], points['class_ids']):
        assert places[tuple(point)] == label
    _, boxes = found['/world/camera/boxes'][-1]
    assert [int(label) for label in boxes['labels']] == boxes['class_ids']
    assert set(boxes['class_ids']) <= set(np.unique(label_images(output)['000004.png']).tolist())
    classes = {entry['class_description']['info']['id']: entry['class_description']['info']
               for _, data in found['/world'] for entry in (data.get('context') or [[]])[0]}
    assert set(boxes['class_ids']) <= set(classes) and classes[65535]['color'] == 0
    assert all(classes[value]['label'] == str(value) for value in boxes['class_ids'])


def test_poses_place_the_camera(run, tmp_path):
    sequence = write_sequence(tmp_path / 'posed')
    (sequence / 'poses.txt').write_text(''.join(
        f'{number} 2 3 0.5 0.5 0.5 0.5\n' for number in range(FRAMES)))
    code, _ = run(sequence, 'out', '--rerun', str(tmp_path / 'box.rrd'), '--no-bag')
    found = read_back(tmp_path / 'box.rrd')['/world/camera']
    assert code == 0
    assert [data['translation'][0] for _, data in found] == [
        [number, 2.0, 3.0] for number in range(FRAMES)]
    np.testing.assert_array_equal(np.reshape(found[0][1]['mat3x3'][0], (3, 3)).T,
                                  [[0, 0, 1], [1, 0, 0], [0, 1, 0]])


def test_without_depth_and_camera_there_are_images_and_labels(run, tmp_path):
    sequence = write_sequence(tmp_path / 'plain', depth=False)
    code, _ = run(sequence, 'out', '--rerun', str(tmp_path / 'box.rrd'), '--no-bag')
    found = read_back(tmp_path / 'box.rrd')
    assert code == 0 and len(found['/world/camera/image/labels']) == FRAMES
    assert not {'/world/camera/boxes', '/world/camera/points'} & set(found)


def test_only_a_file_of_an_earlier_replay_is_written_over(run, sequence, tmp_path, capsys):
    options = ('--limit', '1', '--no-bag')
    file = tmp_path / 'out' / 'box.rrd'
    assert run(sequence, 'out', '--rerun', str(file), *options)[0] == 0
    before = file.stat().st_mtime_ns
    assert run(sequence, 'out', '--rerun', str(file), *options)[0] == 0
    assert file.stat().st_mtime_ns > before
    file.write_bytes(b'my notes')
    capsys.readouterr()
    assert run(sequence, 'out', '--rerun', str(file), *options)[0] == 2
    line, = capsys.readouterr().err.splitlines()
    assert f'{file}: cannot be written over' in line
    assert file.read_bytes() == b'my notes'


def test_a_replay_that_fails_leaves_no_file(run, sequence, tmp_path):
    for path in (sequence / 'rgb').iterdir():
        path.write_bytes(b'')
    assert run(sequence, 'out', '--rerun', str(tmp_path / 'view' / 'box.rrd'))[0] == 2
    assert not (tmp_path / 'view').exists()


@pytest.mark.parametrize(('name', 'words'), [('box.mcap', 'a file that ends in .rrd'),
                                             ('folder.rrd', 'a file that ends in .rrd')])
def test_other_names_are_refused(run, sequence, tmp_path, capsys, name, words):
    (tmp_path / 'folder.rrd').mkdir()
    assert run(sequence, 'out', '--rerun', str(tmp_path / name))[0] == 2
    line, = capsys.readouterr().err.splitlines()
    assert words in line and name in line


def test_without_the_extra_one_line_says_what_is_missing(run, sequence, tmp_path, capsys,
                                                         monkeypatch):
    monkeypatch.setitem(sys.modules, 'rerun', None)
    assert run(sequence, 'out', '--rerun', str(tmp_path / 'box.rrd'))[0] == 2
    line, = capsys.readouterr().err.splitlines()
    assert 'rerun is not installed' in line and 'requirements/viewer.txt' in line
    assert not (tmp_path / 'out').exists()


def test_a_file_that_was_cut_off_is_an_error_and_is_not_left(run, sequence, tmp_path, capsys,
                                                             monkeypatch):
    rerun = pytest.importorskip('rerun', reason='needs the extra viewer')
    finish = rerun.RecordingStream.disconnect

    def cut(stream):
        finish(stream)
        for partial in tmp_path.glob('.box.rrd.*.partial'):
            partial.write_bytes(partial.read_bytes()[:-40])

    monkeypatch.setattr(rerun.RecordingStream, 'disconnect', cut)
    code, output = run(sequence, 'out', '--rerun', str(tmp_path / 'box.rrd'), '--no-bag')
    assert code == 2 and 'box.rrd: cannot be written (it is cut off)' in capsys.readouterr().err
    assert not list(tmp_path.glob('*box.rrd*')) and (output / 'report.json').exists()


def test_a_place_that_cannot_be_written_to_is_named(run, sequence, tmp_path, capsys):
    name = 'a' * 240 + '.rrd'
    assert run(sequence, 'out', '--rerun', str(tmp_path / 'view' / name))[0] == 2
    line, = capsys.readouterr().err.splitlines()
    assert f'{name}: cannot be written (' in line and not (tmp_path / 'view').exists()
