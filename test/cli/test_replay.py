from collections import Counter
import json
from pathlib import Path
import shutil

from box_recording import FRAMES, label_images, write_sequence
import cv2
from diffseg_ros.cli.convert import main as convert
from diffseg_ros.io.messages import typestore
from diffseg_ros.io.ply import read_ply
from diffseg_ros.ros.messages import message_class
import numpy as np
import pytest
from rosbags.highlevel import AnyReader


def assert_same_labels(one, other):
    first, second = label_images(one), label_images(other)
    assert first.keys() == second.keys() and first
    for name, labels in first.items():
        np.testing.assert_array_equal(labels, second[name], err_msg=name)


def test_every_output_is_written(run, sequence):
    code, output = run(sequence)
    assert code == 0
    names = [f'{number:06d}' for number in range(FRAMES)]
    for folder, suffix in (('labels', 'png'), ('overlay', 'jpg'), ('clouds', 'ply')):
        assert sorted(path.name for path in (output / folder).iterdir()) == [
            f'{name}.{suffix}' for name in names]
    report = json.loads((output / 'report.json').read_text())
    assert (report['frames'], report['frames_failed'], report['clouds']) == (FRAMES, 0, FRAMES)
    assert report['device'] == 'cpu' and report['model'] and report['tracks'] >= 3
    assert report['model_kind'] == 'embedded'
    assert 'segmentation.method regions' in report['model_settings']
    assert 'segmentation.cut' not in report['model_settings']
    for stage in ('features', 'segmentation', 'tracking', 'total'):
        assert 0 < report['latency_ms'][stage]['p50'] <= report['latency_ms'][stage]['p95']
    for labels in label_images(output).values():
        assert labels.dtype == np.uint16 and labels.shape == (96, 128)


def test_bag_holds_the_topics_of_the_node(run, sequence):
    _, output = run(sequence)
    counts = Counter()
    stamps = set()
    with AnyReader([output / 'output.mcap'], default_typestore=typestore()) as reader:
        for connection, _, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            counts[connection.topic] += 1
            first = message.markers[0] if hasattr(message, 'markers') else message
            stamps.add(first.header.stamp.sec * 10**9 + first.header.stamp.nanosec)
            if connection.topic == '/diffseg/labels':
                assert (message.encoding, message.step) == ('16UC1', 256)
    names = ['labels', 'confidence', 'overlay', 'camera_info', 'points', 'markers',
             'objects/labels']
    if message_class('vision_msgs/msg/Detection2DArray') is not None:
        names += ['detections', 'detections_3d', 'objects']
    assert counts == {f'/diffseg/{name}': FRAMES for name in names}
    assert stamps == {10 * 10**9 + number * 10**8 for number in range(FRAMES)}


def test_two_runs_and_bags_give_the_same_labels(run, sequence, tmp_path):
    _, first = run(sequence, 'first')
    assert_same_labels(first, run(sequence, 'again')[1])
    for name in ('box.mcap', 'box.db3', 'box_folder'):
        assert convert([str(sequence), str(tmp_path / name)]) == 0
        code, output = run(tmp_path / name, f'from_{name}')
        assert code == 0
        assert_same_labels(first, output)


def test_the_moving_box_keeps_its_id(run, sequence):
    _, output = run(sequence)
    ids = {int(labels[50, 40 + 4 * number])
           for number, labels in enumerate(label_images(output).values())}
    assert len(ids) == 1


@pytest.mark.parametrize('scale', [0.5, 1.0, 1.5])
def test_points_project_onto_their_own_label(run, tmp_path, scale):
    _, output = run(write_sequence(tmp_path / 'scaled', depth_scale=scale))
    labels = label_images(output)
    for path in (output / 'clouds').iterdir():
        cloud = read_ply(path)
        x, y, z = cloud.points.T.astype(float)
        u, v = 110.0 * x / z + 63.2, 112.0 * y / z + 47.9
        assert np.abs(u - np.rint(u)).max() < 1e-3 and np.abs(v - np.rint(v)).max() < 1e-3
        values = labels[f'{path.stem}.png'][np.rint(v).astype(int), np.rint(u).astype(int)]
        np.testing.assert_array_equal(values, cloud.labels)
        assert len(z) > 96 * 128 * 0.9


def test_a_broken_image_is_counted_and_leaves_a_gap(run, sequence, capsys):
    (sequence / 'rgb' / '000002.png').write_bytes(b'not an image')
    code, output = run(sequence)
    report = json.loads((output / 'report.json').read_text())
    assert code == 0 and (report['frames'], report['frames_failed']) == (FRAMES - 1, 1)
    assert '000002.png' not in label_images(output) and '000003.png' in label_images(output)
    assert '000002' in capsys.readouterr().err


def test_without_depth_there_are_masks_and_a_line_that_says_why(run, tmp_path, capsys):
    code, output = run(write_sequence(tmp_path / 'plain', depth=False))
    report = json.loads((output / 'report.json').read_text())
    assert code == 0 and report['frames'] == FRAMES and report['clouds'] == 0
    assert not list((output / 'clouds').iterdir())
    assert any('no depth' in line for line in capsys.readouterr().err.splitlines())


def test_every_and_limit_choose_frames(run, sequence):
    _, output = run(sequence, 'out', '--every', '2', '--limit', '2', '--clouds', '0', '--no-bag')
    assert sorted(label_images(output)) == ['000000.png', '000002.png']
    assert not (output / 'output.mcap').exists() and not list((output / 'clouds').iterdir())


def test_an_earlier_replay_leaves_nothing_behind(run, sequence):
    run(sequence)
    _, output = run(sequence, 'out', '--limit', '1')
    assert list(label_images(output)) == ['000000.png']


def _missing(sequence: Path) -> Path:
    return sequence / 'nowhere'


def _unequal_counts(sequence: Path) -> Path:
    (sequence / 'depth' / '000001.png').unlink()
    return sequence


def _truncated_bag(sequence: Path) -> Path:
    bag = sequence.parent / 'cut.mcap'
    convert([str(sequence), str(bag)])
    bag.write_bytes(bag.read_bytes()[:len(bag.read_bytes()) // 2])
    return bag


def _all_broken(sequence: Path) -> Path:
    for path in (sequence / 'rgb').iterdir():
        path.write_bytes(b'')
    return sequence


@pytest.mark.parametrize('damage', [_missing, _unequal_counts, _truncated_bag, _all_broken])
def test_unusable_sources_end_with_one_line_and_code_2(run, sequence, capsys, damage):
    source = damage(sequence)
    capsys.readouterr()
    code, output = run(source)
    error = capsys.readouterr().err.strip().splitlines()
    assert code == 2 and error[-1].startswith('diffseg_replay: ')
    if damage is not _all_broken:
        assert len(error) == 1
    assert not output.exists()


def test_unusable_settings_end_with_code_2(run, sequence, capsys):
    code, output = run(sequence, 'out', '--set', 'segmentation.tau=7')
    assert code == 2 and 'tau' in capsys.readouterr().err and not output.exists()


@pytest.mark.parametrize(('name', 'shrink'), [
    ('tum_fr1_rpy', 1.0), ('redkitchen', 1.0), ('replica_office0', 1.0), ('redkitchen', 0.5)])
def test_real_recordings(run, real_sequences, tmp_path, name, shrink):
    source = tmp_path / name
    shutil.copytree(real_sequences / name, source, ignore=_all_but_first(2))
    times = (source / 'times.txt').read_text().splitlines()[:2]
    (source / 'times.txt').write_text('\n'.join(times) + '\n')
    for path in [source / 'poses.txt'] if (source / 'poses.txt').exists() else []:
        path.write_text('\n'.join(path.read_text().splitlines()[:2]) + '\n')
    for path in (source / 'depth').iterdir():
        depth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), cv2.resize(depth, None, fx=shrink, fy=shrink,
                                          interpolation=cv2.INTER_NEAREST))
    code, output = run(source)
    camera = json.loads((source / 'camera.json').read_text())
    assert code == 0
    for path in (output / 'clouds').iterdir():
        cloud = read_ply(path)
        x, y, z = cloud.points.T.astype(float)
        u = np.rint(camera['fx'] * x / z + camera['cx']).astype(int)
        v = np.rint(camera['fy'] * y / z + camera['cy']).astype(int)
        labels = cv2.imread(str(output / 'labels' / f'{path.stem}.png'), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(labels[v, u], cloud.labels)
        assert len(z) > 50_000


def _all_but_first(count):
    def ignore(folder, names):
        wanted = sorted(names)[:count]
        inside = Path(folder).name in ('rgb', 'depth', 'instances')
        return [name for name in names if inside and name not in wanted]
    return ignore


def test_memory_lasts_from_one_replay_to_the_next(run, sequence, tmp_path, capsys):
    file = tmp_path / 'memory.safetensors'
    first, second = (run(sequence, name, '--no-bag', '--set', f'memory.file={file}')
                     for name in ('first', 'second'))
    assert first[0] == second[0] == 0
    reports = [json.loads((output / 'report.json').read_text()) for _, output in (first, second)]
    assert reports[0]['memory_saved'] == reports[1]['memory_loaded'] != '0'
    assert 'tracks loaded' in capsys.readouterr().err
    file.write_text('mine')
    assert run(sequence, 'third', '--set', f'memory.file={file}')[0] == 2
    assert file.read_text() == 'mine'
