"""A recording of a moving scene and weights nobody trained, for the commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from box_recording import write_sequence
import pytest


@pytest.fixture(scope='session')
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a randomly initialised model in the embedded model's format."""
    from diffseg_ros.training.checkpoint import create_model, save_weights
    import torch

    folder = tmp_path_factory.mktemp('weights')
    torch.manual_seed(0)
    save_weights(create_model(), folder)
    return folder


@pytest.fixture
def sequence(tmp_path: Path) -> Path:
    """Return a sequence folder of five RGB-D frames."""
    return write_sequence(tmp_path / 'box')


@pytest.fixture
def run(weights: Path, tmp_path: Path) -> Callable[..., tuple[int, Path]]:
    """Return a function that replays a source and gives the exit code and the output folder."""
    from diffseg_ros.cli.replay import main as replay

    def call(source: Path, name: str = 'out', *options: str) -> tuple[int, Path]:
        output = tmp_path / name
        code = replay([str(source), '--output', str(output),
                       '--set', f'backbone.model={weights}', *options])
        return code, output
    return call
