"""A third party's package adds a method, a backbone, an output and a measure, one file each."""

from __future__ import annotations

import json
import os
from pathlib import Path
import subprocess
import sys

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='module')
def environment(plugin_site):
    """Return an environment in which the plugin package is installed."""
    return {**os.environ, 'PYTHONPATH': f'{plugin_site}{os.pathsep}{ROOT}'}


@pytest.fixture(scope='module')
def image(tmp_path_factory):
    """Return the path of an image of two colours."""
    path = tmp_path_factory.mktemp('images') / 'two.png'
    pixels = np.full((96, 128, 3), 40, np.uint8)
    pixels[:, 64:] = (60, 200, 220)
    cv2.imwrite(str(path), pixels)
    return path


def run(environment, command, *arguments):
    program = [sys.executable, '-m', f'diffseg_ros.cli.{command}', *map(str, arguments)]
    return subprocess.run(program, env=environment, capture_output=True, text=True, timeout=120)


def test_a_method_with_its_own_settings(environment, image, tmp_path):
    done = run(environment, 'segment', image, '--output', tmp_path,
               '--set', 'segmentation.method=grid', '--set', 'segmentation.grid.cells=3')
    assert done.returncode == 0, done.stderr
    labels = cv2.imread(str(tmp_path / 'labels' / 'two.png'), cv2.IMREAD_UNCHANGED)
    assert len(np.unique(labels)) == 9
    refused = run(environment, 'segment', image, '--output', tmp_path,
                  '--set', 'segmentation.grid.cells=99')
    assert refused.returncode == 2
    assert 'parameter segmentation.grid.cells: got 99; it must lie between 1 and 64' in (
        refused.stderr)


def test_a_backbone_with_its_own_settings(environment, image, tmp_path):
    done = run(environment, 'segment', image, '--output', tmp_path, '--json', tmp_path / 'r.json',
               '--set', 'backbone.model=colour', '--set', 'backbone.colour.gain=2')
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / 'r.json').read_text())['model'] == 'colour'


def test_a_plugin_that_is_broken_costs_only_itself(environment, image, tmp_path):
    done = run(environment, 'segment', image, '--output', tmp_path,
               '--set', 'backbone.model=damaged')
    assert done.returncode == 2 and 'Traceback' not in done.stderr
    assert 'damaged' in done.stderr and 'a_package_that_is_not_installed' in done.stderr


def test_a_measure_in_table_and_json(environment, tmp_path):
    for part in ('images', 'labels'):
        (tmp_path / 'set' / part).mkdir(parents=True)
    truth = np.zeros((48, 64), np.uint8)
    truth[:, 32:] = 1
    cv2.imwrite(str(tmp_path / 'set' / 'labels' / 'a.png'), truth)
    cv2.imwrite(str(tmp_path / 'set' / 'images' / 'a.png'), np.dstack([truth * 200] * 3))
    done = run(environment, 'evaluate', 'masks', tmp_path / 'set', '--json', tmp_path / 'r.json',
               '--set', 'measures.coverage.scale=100')
    assert done.returncode == 0, done.stderr
    assert 'coverage' in done.stdout
    assert json.loads((tmp_path / 'r.json').read_text())['coverage'] == 100.0


def test_an_output_of_the_node_and_in_the_recording_of_a_replay(environment, tmp_path):
    pytest.importorskip('rclpy')
    from rosbags.highlevel import AnyReader

    source = tmp_path / 'sequence' / 'rgb'
    source.mkdir(parents=True)
    for number in range(2):
        cv2.imwrite(str(source / f'{number:06d}.png'), np.full((48, 64, 3), 90, np.uint8))
    done = run(environment, 'replay', source.parent, '--output', tmp_path / 'out',
               '--set', 'outputs.track_count.lost_too=false')
    assert done.returncode == 0, done.stderr
    with AnyReader([tmp_path / 'out' / 'output.mcap']) as reader:
        assert reader.topics['/diffseg/track_count'].msgcount == 2
