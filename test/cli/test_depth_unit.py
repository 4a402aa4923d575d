"""`depth_scale`, by --set or in a parameter file, is the unit of a bag's 16-bit depth."""

from __future__ import annotations

from pathlib import Path

from diffseg_ros.cli import convert, evaluate, evaluate_tracks
from diffseg_ros.io.bag_writer import BagWriter
from diffseg_ros.io.message_stream import frame_messages
from diffseg_ros.io.messages import image_message
from diffseg_ros.io.ply import read_ply
from diffseg_ros.io.source import open_source
import numpy as np
import pytest

PARAMETERS = {
    'all nodes': '/**:\n  ros__parameters:\n    depth_scale: 0.0001\n    max_rate: 5.0\n',
    'node': 'diffseg:\n  ros__parameters: {depth_scale: 0.0001}\n'
            'camera:\n  ros__parameters: {depth_scale: 0.001}\n',
    'old and new': '/**:\n  ros__parameters: {depth_scale: 0.001}\n'
                   '/robot/diffseg:\n  ros__parameters: {depth_scale: 0.0001}\n'}


@pytest.fixture
def bag(sequence: Path, tmp_path: Path) -> Path:
    """Return a bag whose 16UC1 depth counts 0.1 mm."""
    with BagWriter(tmp_path / 'd405.mcap') as writer:
        for frame in open_source(sequence):
            for topic, message in frame_messages(frame).items():
                if topic.startswith('depth'):
                    units = np.rint(np.nan_to_num(frame.depth) * 10_000).astype(np.uint16)
                    message = image_message(units, frame.stamp, frame.frame_id)
                writer.write(f'/{topic.lstrip("/")}', message, frame.stamp)
    return tmp_path / 'd405.mcap'


def depths(output: Path) -> set[float]:
    return set(read_ply(output / 'clouds/000000.ply').points[:, 2].astype(float).round(3))


@pytest.mark.parametrize('form', PARAMETERS)
def test_parameter_file_says_the_unit(run, bag, tmp_path, form):
    (tmp_path / 'p.yaml').write_text(PARAMETERS[form])
    code, output = run(bag, 'out', '--params', str(tmp_path / 'p.yaml'), '--limit', '1')
    assert code == 0 and depths(output) == {1.5, 3.0}


def test_option_wins_over_the_file_and_millimetres_are_the_default(run, bag, tmp_path):
    (tmp_path / 'p.yaml').write_text('/**:\n  ros__parameters: {depth_scale: 0.001}\n')
    _, output = run(bag, 'out', '--params', str(tmp_path / 'p.yaml'), '--limit', '1', '--set',
                    'depth_scale=0.0001')
    assert depths(output) == {1.5, 3.0}
    assert depths(run(bag, 'plain', '--limit', '1')[1]) == {15.0, 30.0}


def test_tracks_are_evaluated_with_the_unit(bag, weights, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(evaluate_tracks.Variant, 'seen',
                        lambda _, frame: seen.append(np.nanmax(frame.depth)) or frame)
    assert evaluate.main(['tracks', str(bag), '--limit', '1', '--set', 'depth_scale=0.0001',
                          '--set', f'backbone.model={weights}']) == 0
    assert seen == [3.0] and 'd405: no tf: frames have no pose' in capsys.readouterr().err


def test_parameter_file_of_another_node_is_refused_by_its_name(run, bag, tmp_path, capsys):
    (tmp_path / 'p.yaml').write_text('/**/yolo:\n  ros__parameters: {depth_scale: 0.0001}\n')
    assert run(bag, 'out', '--params', str(tmp_path / 'p.yaml'))[0] == 2
    line, = capsys.readouterr().err.strip().splitlines()
    assert f'parameter file {tmp_path / "p.yaml"}: no settings for' in line
    assert 'for /**/yolo' in line


@pytest.mark.parametrize(('value', 'words'), [
    ('0', 'between 1e-06 and 0.01'), ('0.1mm', 'float is needed'), ('1', 'between')])
def test_unit_that_cannot_be_is_refused(run, bag, capsys, value, words):
    assert run(bag, 'out', '--set', f'depth_scale={value}')[0] == 2
    line, = capsys.readouterr().err.strip().splitlines()
    assert 'depth_scale' in line and words in line


def test_folder_says_its_unit_itself(run, sequence, tmp_path, capsys):
    _, output = run(sequence, 'out', '--limit', '1', '--set', 'depth_scale=0.0001')
    assert depths(output) == {1.5, 3.0}
    assert ('depth_scale 0.0001 is for bags and not used: camera.json says the unit of depth/ by '
            'its own "depth_scale", in units per metre: 10000') in capsys.readouterr().err
    text = (sequence / 'camera.json').read_text()
    (sequence / 'camera.json').write_text(text.replace('1000}', '10000}'))
    assert convert.main([str(sequence), str(tmp_path / 'x.mcap')]) == 0
    assert depths(run(tmp_path / 'x.mcap', 'again', '--limit', '1')[1]) == {0.15, 0.3}
