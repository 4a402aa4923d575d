"""Parameter files: the defaults are the declarations, wrong files are named."""

from __future__ import annotations

from pathlib import Path

from diffseg_ros.config import PipelineConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.parameter_file import default_parameters, pipeline_config_from_file
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
    ('/**:\n  ros__parameters: {segmentation.cut.tau: 9.0}\n', 'between 0.0 and 2.0'),
    ('/**:\n  ros__parameters: {segmentation.cut.tau: high}\n', 'float is needed'),
    ('/**:\n  ros__parameters: {segmentation.refinement.dilations: 3}\n', 'p.yaml'),
    ('/**:\n  ros__parameters: [1, 2]\n', 'ros__parameters is no mapping'),
    ('/**: {ros__parameters: {segmentation.cut.tau: 0.5}\n', 'no valid YAML'),
    ('other:\n  ros__parameters: {segmentation.cut.tau: 0.5}\n',
     'no settings for the node diffseg'),
    ('just text\n', 'no settings for the node diffseg'), ('', 'no settings')])
def test_wrong_files_are_refused_in_one_line(tmp_path, text, reason):
    path = write(tmp_path / 'p.yaml', text)
    with pytest.raises(DiffsegError, match=reason) as refused:
        pipeline_config_from_file(path)
    assert str(path) in str(refused.value)
    assert '\n' not in str(refused.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(DiffsegError, match='absent.yaml: No such file'):
        pipeline_config_from_file(tmp_path / 'absent.yaml')
