"""The files of the profiles: read without ROS, complete, and settings that exist."""

from __future__ import annotations

from pathlib import Path
import re

from diffseg_ros import config_files
from diffseg_ros.config import NodeConfig
from diffseg_ros.config_files import load_profile, profile_names
from diffseg_ros.errors import DiffsegError
from diffseg_ros.naming.vocabulary import load_vocabulary
from diffseg_ros.parameter_file import all_parameters, pipeline_config_from_file
from diffseg_ros.settings import updated
import pytest
import yaml

FOLDER = Path(__file__).resolve().parents[1] / 'config' / 'profiles'
NAMES = ['hydra', 'khronos', 'kimera', 'nav2', 'nvblox', 'octomap', 'rtabmap']
OUTPUTS = {'~/labels', '~/confidence', '~/overlay', '~/mask', '~/camera_info', '~/points',
           '~/depth_filtered', '~/markers', '~/features', '~/detections', '~/detections_3d',
           '~/label_info'}


def leaves(tree: dict, prefix: str = ''):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f'{prefix}{key}.')
        else:
            yield f'{prefix}{key}', value


def test_names_are_those_of_the_consumers():
    assert profile_names() == NAMES


@pytest.mark.parametrize('name', NAMES)
def test_settings_exist_and_are_valid(name):
    profile = load_profile(name)
    assert profile.parameter_file == FOLDER / f'{name}.yaml'
    document = yaml.safe_load(profile.parameter_file.read_text())
    values = dict(leaves(document['/**']['ros__parameters']))
    assert set(values) <= {key for key, _, _ in all_parameters()}
    updated(NodeConfig(), {key: value for key, value in values.items()
                           if key in NodeConfig.model_fields})
    pipeline_config_from_file(profile.parameter_file)


@pytest.mark.parametrize('name', NAMES)
def test_remaps_lead_from_outputs_to_relative_names(name):
    profile = load_profile(name)
    assert {source for source, _ in profile.remaps} <= OUTPUTS
    assert not [target for _, target in profile.remaps if target.startswith('/')]


def test_every_profile_is_described():
    text = (FOLDER.parents[1] / 'docs' / 'profiles.md').read_text()
    for name in NAMES:
        assert f'profile:={name}' in text
        for _, target in load_profile(name).remaps:
            assert f'`{target}`' in text


def test_costs_of_nav2_are_those_of_known_names():
    text = (FOLDER.parents[1] / 'docs' / 'profiles.md').read_text()
    blocks = [yaml.safe_load(block) for block in re.findall(r'```yaml\n(.*?)```', text, re.S)]
    cameras = [block['semantic_segmentation_layer']['camera'] for block in blocks
               if 'semantic_segmentation_layer' in block]
    without, with_names = ([name for kind in camera['class_types']
                            for name in camera[kind]['classes']] for camera in cameras)
    assert without == ['segment']
    known = {concept.name for concept in load_vocabulary([]).concepts} | {'unknown'}
    assert set(with_names) <= known and len(with_names) == len(set(with_names)) > 10
    for camera in cameras:
        for kind in camera['class_types']:
            assert 0 <= camera[kind]['base_cost'] <= camera[kind]['max_cost'] <= 254


def test_unknown_profile_is_refused_with_the_choices():
    with pytest.raises(DiffsegError, match="profile 'nav3': unknown; choose one of hydra, .*nav2"):
        load_profile('nav3')


@pytest.mark.parametrize('text', ['- a\n', '~/labels: 3\n', 'a: b: c\n'])
def test_damaged_remaps_are_refused_by_name(tmp_path, monkeypatch, text):
    folder = tmp_path / 'profiles'
    folder.mkdir()
    (folder / 'nav2.yaml').write_text('/**:\n  ros__parameters: {}\n')
    (folder / 'nav2.remaps.yaml').write_text(text)
    monkeypatch.setattr(config_files, 'config_file', lambda name: tmp_path / name)
    with pytest.raises(DiffsegError, match='profile nav2: .*nav2.remaps.yaml'):
        load_profile('nav2')
