"""Rigs that start nodes on a domain of their own and end them with the test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from node_rig import Rig


@contextmanager
def _rig(folder: Path, *, reliable: bool = False) -> Iterator[Rig]:
    pytest.importorskip('rclpy', reason='rclpy is not installed')
    from node_rig import own_domain, Rig

    with own_domain() as domain:
        rig = Rig(domain, folder, reliable=reliable)
        yield rig
        rig.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Yield a rig that loses no message, also on busy cores."""
    with _rig(tmp_path, reliable=True) as rig:
        yield rig


@pytest.fixture
def best_effort_rig(tmp_path: Path) -> Iterator[Rig]:
    """Yield a rig whose topics are as a camera's."""
    with _rig(tmp_path) as rig:
        yield rig
