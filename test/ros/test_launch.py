"""The launch file: against the real launch where it is installed, else as far as it parses."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

LAUNCH_FILE = Path(__file__).resolve().parents[2] / 'launch' / 'segmentation.launch.py'
ARGUMENTS = {'namespace', 'use_sim_time', 'params_file', 'autostart', 'use_respawn', 'log_level'}


def _calls(name: str) -> list[ast.Call]:
    tree = ast.parse(LAUNCH_FILE.read_text())
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name) and node.func.id == name]


def _keywords(call: ast.Call) -> dict[str, ast.expr]:
    return {keyword.arg or '**': keyword.value for keyword in call.keywords}


def test_every_argument_is_declared_with_a_description_and_a_default():
    declared = {}
    for call in _calls('DeclareLaunchArgument'):
        declared[ast.literal_eval(call.args[0])] = _keywords(call)
    assert set(declared) == ARGUMENTS
    for name, keywords in declared.items():
        assert len(ast.literal_eval(keywords['description'])) > 10, name
        assert 'default_value' in keywords, name


def test_every_argument_is_used_and_no_other():
    used = {ast.literal_eval(call.args[0]) for call in _calls('LaunchConfiguration')}
    assert used == ARGUMENTS


def test_tf_follows_the_namespace():
    node, = _calls('Node')
    keywords = _keywords(node)
    assert ast.literal_eval(keywords['remappings']) == [('/tf', 'tf'), ('/tf_static', 'tf_static')]
    assert ast.literal_eval(keywords['executable']) == 'diffseg_node'


def test_named_configuration_files_exist():
    config = LAUNCH_FILE.parents[1] / 'config'
    names = {item.value for item in ast.walk(ast.parse(LAUNCH_FILE.read_text()))
             if isinstance(item, ast.Constant) and str(item.value).endswith(('.yaml', '.xml'))}
    assert names
    assert all((config / name).is_file() for name in names)


@pytest.mark.skipif(importlib.util.find_spec('launch_ros') is None,
                    reason='launch and launch_ros are not installed: they come with a ROS '
                           'distribution, not from PyPI')
def test_real_launch_accepts_the_description():
    from launch.actions import DeclareLaunchArgument

    specification = importlib.util.spec_from_file_location('segmentation_launch', LAUNCH_FILE)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    description = module.generate_launch_description()
    names = {entity.name for entity in description.entities
             if isinstance(entity, DeclareLaunchArgument)}
    assert names == ARGUMENTS
