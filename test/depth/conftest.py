"""What the tests of depth share."""

from __future__ import annotations

from collections.abc import Iterator
import gc
from pathlib import Path
import sys

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'backbones'))
"""The tests of the backbones have small diffusion models."""


@pytest.fixture(autouse=True, scope='package')
def nothing_old_to_collect() -> Iterator[None]:
    """Keep what is imported out of the collections of garbage that end the load of a pipeline."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True, scope='package')
def one_thread() -> Iterator[None]:
    """Compute on one thread: for models this small, waiting for a second one costs more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
