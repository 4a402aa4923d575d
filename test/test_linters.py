"""The linters of a ROS distribution; elsewhere `make lint` checks the same rules with ruff."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = [str(ROOT / name) for name in ('diffseg_ros', 'launch', 'test', 'setup.py')]


@pytest.mark.linter
@pytest.mark.flake8
def test_flake8():
    flake8 = pytest.importorskip('ament_flake8.main', reason='ament_flake8 comes with ROS')
    count, errors = flake8.main_with_errors(argv=FOLDERS)
    assert count == 0, '\n'.join(errors)


@pytest.mark.linter
@pytest.mark.pep257
def test_pep257():
    pep257 = pytest.importorskip('ament_pep257.main', reason='ament_pep257 comes with ROS')
    assert pep257.main(argv=FOLDERS) == 0
