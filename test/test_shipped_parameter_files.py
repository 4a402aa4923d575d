"""Every parameter file that comes with the package can be read."""

from pathlib import Path

from diffseg_ros.config import PipelineConfig
from diffseg_ros.parameter_file import pipeline_config_from_file
import pytest

CONFIG = Path(__file__).resolve().parents[1] / 'config'


@pytest.mark.parametrize('path', sorted(CONFIG.glob('*.yaml')), ids=lambda path: path.stem)
def test_file_is_accepted(path):
    config = pipeline_config_from_file(path)
    assert (config == PipelineConfig()) == (path.stem == 'default')
