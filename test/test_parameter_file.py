"""Parameter files: the defaults are the declarations, wrong files are named."""

from __future__ import annotations

from pathlib import Path

from diffseg_ros.config import PipelineConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.parameter_file import (
    default_parameters,
    node_settings,
    pipeline_config_from_file,
)
from diffseg_ros.settings import updated
import pytest
import yaml

DEFAULTS = Path(__file__).resolve().parents[1] / 'config' / 'default.yaml'


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_default_file_is_what_the_declarations_say():
    assert DEFAULTS.read_text() == default_parameters()


def test_default_file_gives_the_default_settings():
    assert pipeline_config_from_file(DEFAULTS) == PipelineConfig()


@pytest.mark.parametrize('text', [
    '/**:\n  ros__parameters:\n    segmentation:\n      cut: {tau: 0.7}\n',
    '/**:\n  ros__parameters:\n    segmentation.cut.tau: 0.7\n',
    'diffseg:\n  ros__parameters: {segmentation.cut.tau: 0.7, autostart: false}\n',
    '/robot/diffseg:\n  ros__parameters: {segmentation: {cut: {tau: 0.7}}}\n',
    'robot:\n  diffseg:\n    ros__parameters: {segmentation: {cut: {tau: 0.7}}, '
    'use_sim_time: true}\n',
    '/**:\n  ros__parameters: {segmentation.cut.tau: 0.1}\n'
    'diffseg:\n  ros__parameters: {segmentation.cut.tau: 0.7}\n'
    'other:\n  ros__parameters: {nonsense: 1}\n'])
def test_ordinary_forms_are_read(tmp_path, text):
    config = pipeline_config_from_file(write(tmp_path / 'p.yaml', text))
    assert config.segmentation.cut.tau == 0.7
    assert config.tracking == PipelineConfig().tracking


def test_lists_are_read(tmp_path):
    text = yaml.safe_dump({'/**': {'ros__parameters': {
        'segmentation': {'refinement': {'dilations': [2, 4]}}}}})
    config = pipeline_config_from_file(write(tmp_path / 'p.yaml', text))
    assert config.segmentation.refinement.dilations == (2, 4)


@pytest.mark.parametrize(('text', 'reason'), [
    ('/**:\n  ros__parameters: {segmentation.taw: 1.0}\n', 'segmentation.taw: unknown'),
    ('/**:\n  ros__parameters: {segmentation.cut.tau: 9.0}\n', 'between -1.0 and 2.0'),
    ('/**:\n  ros__parameters: {segmentation.cut.tau: high}\n', 'float is needed'),
    ('/**:\n  ros__parameters: {segmentation.refinement.dilations: 3}\n', 'p.yaml'),
    ('/**:\n  ros__parameters: [1, 2]\n', 'ros__parameters is no mapping'),
    ('/**: {ros__parameters: {segmentation.cut.tau: 0.5}\n', 'no valid YAML'),
    ('other:\n  ros__parameters: {segmentation.cut.tau: 0.5}\n',
     'no settings for the node diffseg'),
    ('just text\n', "no 'ros__parameters:' below the name"), ('', 'it is empty; write'),
    ('diffseg_node:\n  ros__parameters: {segmentation.cut.tau: 0.5}\n',
     "its settings are for /diffseg_node; write '/\\*\\*:'"),
    ('/**:\n  ros__parameters: {use_sim_time: true}\n'
     'diffseg_node:\n  ros__parameters: {segmentation.cut.tau: 0.5}\n', 'for /diffseg_node'),
    ('segmentation: {cut: {tau: 0.5}}\n', "has no 'ros__parameters:'"),
    ('/**:\n  segmentation: {cut: {tau: 0.5}}\n', "has no 'ros__parameters:'"),
    ('ros__parameters: {segmentation.cut.tau: 0.5}\n', "has no 'ros__parameters:'"),
    ('/**:\n  ros__parameters: {segmentation.cut.tau: 0.5}\n  backbone: {tokens: 256}\n',
     'backbone.tokens is not below'),
    ('/**:\n\tros__parameters:\n', 'indent with spaces')])
def test_wrong_files_are_refused_in_one_line(tmp_path, text, reason):
    path = write(tmp_path / 'p.yaml', text)
    with pytest.raises(DiffsegError, match=reason) as refused:
        pipeline_config_from_file(path)
    assert str(path) in str(refused.value)
    assert '\n' not in str(refused.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(DiffsegError, match='absent.yaml: No such file'):
        pipeline_config_from_file(tmp_path / 'absent.yaml')


@pytest.mark.parametrize(('section', 'node', 'meant'), [
    ('/**', '/diffseg', True), ('/*', '/diffseg', True), ('/*', '/robot/diffseg', False),
    ('/**/diffseg', '/a/b/diffseg', True), ('/**/diffseg', '/diffseg', True),
    ('/*/diffseg', '/robot/diffseg', True), ('diffseg', '/diffseg', True),
    ('diffseg', '/robot/diffseg', False), ('/robot', '/robot/diffseg', False),
    ('left', '/left', True), ('diffseg_node', '/diffseg', False)])
def test_sections_are_matched_with_a_node_as_ros_does(section, node, meant):
    document = {section: {'ros__parameters': {'max_rate': 5.0}}}
    if meant:
        assert node_settings(document, node) == {'max_rate': 5.0}
    else:
        with pytest.raises(DiffsegError, match=f'for the node {node}: its settings are for /'):
            node_settings(document, node)


@pytest.mark.parametrize(('misspelt', 'meant'), [
    ('segmentation.max_segmens', 'segmentation.max_segments'),
    ('max_segments', 'segmentation.max_segments'), ('backbone.token', 'backbone.tokens'),
    ('segmentation.taw', 'segmentation.cut.tau'), ('backbon.modell', 'backbone.model')])
def test_misspelt_name_is_answered_with_the_nearest(misspelt, meant):
    with pytest.raises(DiffsegError, match='nearest are') as refused:
        updated(PipelineConfig(), {misspelt: 1})
    names = str(refused.value).partition('nearest are ')[2].split(', ')
    assert meant in names
    assert len(names) == 3
