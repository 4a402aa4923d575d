"""Commands on recordings without depth, with a model in place of a real one."""

from __future__ import annotations

import json

from box_recording import write_sequence
from diffseg_ros import pipeline
from diffseg_ros.cli.replay import _why_no_cloud
from diffseg_ros.config import PipelineConfig
from diffseg_ros.depth.base import DepthKind
from diffseg_ros.io.images import write_image
from diffseg_ros.io.ply import read_ply
from diffseg_ros.io.source import open_source
from diffseg_ros.settings import updated
import numpy as np
import pytest

CAMERA = {'width': 128, 'height': 96, 'fx': 110.0, 'fy': 112.0, 'cx': 63.2, 'cy': 47.9}


class SlantedModel:
    """Sees a slanted wall wherever it looks."""

    def __init__(self, name, *_):
        self.name, self.kind = name, DepthKind(name)

    def predict(self, rgb):
        rows = np.linspace(3, 1, len(rgb), dtype=np.float32)
        return np.repeat(rows[:, None], rgb.shape[1], axis=1)


@pytest.fixture(autouse=True)
def models(monkeypatch):
    """Load stand-ins for the models 'metric' and 'inverse'."""
    monkeypatch.setattr(pipeline, 'load_depth_model', SlantedModel)


@pytest.fixture
def colour_only(tmp_path):
    return write_sequence(tmp_path / 'colour', depth=False)


def report_of(output):
    return json.loads((output / 'report.json').read_text())


def test_a_metric_model_gives_clouds_that_are_marked(run, colour_only):
    (colour_only / 'camera.json').write_text(json.dumps(CAMERA))
    code, output = run(colour_only, 'out', '--set', 'depth.model=metric')
    report = report_of(output)
    assert code == 0 and report['clouds'] == 5 and report['frames_without_cloud'] == 0
    assert report['depth']['kind'] == 'metric' and report['depth']['scale_source'] == 'model'
    assert report['predicted_share'] == 1.0 and 'depth' in report['latency_ms']
    for path in sorted((output / 'clouds').iterdir()):
        cloud = read_ply(path)
        assert len(cloud) > 1000 and (cloud.confidence < 1).all()


def test_the_last_line_says_what_is_missing(run, colour_only, capsys):
    code, output = run(colour_only, 'out', '--set', 'depth.model=metric')
    assert code == 0 and report_of(output)['clouds'] == 0
    last = capsys.readouterr().err.splitlines()[-1]
    assert '5 frames without cloud: the camera has no intrinsics: write them to' in last
    assert str(colour_only / 'camera.json') in last
    (colour_only / 'camera.json').write_text(json.dumps(CAMERA))
    code, output = run(colour_only, 'out', '--set', 'depth.model=inverse')
    assert code == 0 and report_of(output)['clouds'] == 0
    last = capsys.readouterr().err.splitlines()[-1]
    assert '5 frames without cloud: no scale: the model gives relative depth; give ' in last


@pytest.mark.parametrize('command', ['replay', 'map'])
def test_holes_that_stay_are_told(run, weights, tmp_path, capsys, command):
    from diffseg_ros.cli.map import main as build_map

    folder = write_sequence(tmp_path / 'moving')
    (folder / 'poses.txt').write_text('0 0 0 0 0 0 1\n' * 5)
    for file in (folder / 'depth').iterdir():  # all of one depth, which tells no scale
        write_image(file, np.full((96, 128), 2000, np.uint16))
    words = ['--set', 'depth.model=inverse', '--set', 'depth.use=fill']
    if command == 'replay':
        assert run(folder, 'out', *words)[0] == 0
    else:
        assert build_map([str(folder), '--output', str(tmp_path / 'map.ply'),
                          '--set', f'backbone.model={weights}', *words]) == 0
    assert 'no depth was predicted: no scale: ' in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(('in_points', 'reason'), [
    (True, 'they lack predicted depth, or the intrinsics'), (False, 'depth.in_points is off')])
def test_frames_without_cloud_where_nothing_failed(sequence, in_points, reason):
    config = updated(PipelineConfig(), {'depth.in_points': in_points})
    report = {'depth': {'missing': ''}, 'frames_without_cloud': 3}
    line = _why_no_cloud(report, open_source(sequence), config)
    assert line.startswith('3 frames without cloud: ') and reason in line


def test_a_map_of_predicted_depth_says_so(weights, colour_only, tmp_path):
    from diffseg_ros.cli.map import main

    (colour_only / 'camera.json').write_text(json.dumps(CAMERA))
    (colour_only / 'poses.txt').write_text('0 0 0 0 0 0 1\n' * 5)
    path = tmp_path / 'map.ply'
    assert main([str(colour_only), '--output', str(path), '--json', str(tmp_path / 'map.json'),
                 '--max-depth', '0', '--set', f'backbone.model={weights}',
                 '--set', 'depth.model=metric']) == 0
    report = json.loads((tmp_path / 'map.json').read_text())
    assert report['predicted_share'] == 1.0 and report['frames_without_depth'] == 0
    cloud = read_ply(path)
    assert len(cloud) and (cloud.confidence < 1).all()
