"""What all tests share: repeatable random examples, and where the real data lies."""

import os
from pathlib import Path

from hypothesis import settings
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

settings.register_profile('repeatable', derandomize=True, deadline=None)
settings.load_profile('repeatable')


def _real(part):
    """Return a folder of the real data; skip where it is not on this machine."""
    data = Path(os.environ.get('DIFFSEG_DATA', REPOSITORY.parent / 'shared' / 'data'))
    if not (data / part).is_dir():
        pytest.skip(f'no real data at {data / part}; set DIFFSEG_DATA')
    return data / part


@pytest.fixture(scope='session')
def real_sequences():
    """Return the folder of real recordings."""
    return _real('sequences')


@pytest.fixture(scope='session')
def real_masks():
    """Return the folder of real mask data sets."""
    return _real('masks')
