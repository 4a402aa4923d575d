"""What the tests of the backbones share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True, scope='package')
def one_thread() -> Iterator[None]:
    """Compute on one thread: for models this small, waiting for a second one costs more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
