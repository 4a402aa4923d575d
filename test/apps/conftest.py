"""A recording of a moving scene and weights nobody trained, for the commands."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

FRAMES = 5


@pytest.fixture(scope='session')
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a randomly initialised model in the embedded model's format."""
    from diffseg_ros.training.checkpoint import save_weights
    from diffseg_ros.training.model import create_unet
    import torch

    folder = tmp_path_factory.mktemp('weights')
    torch.manual_seed(0)
    save_weights(create_unet(), folder)
    return folder


def write_sequence(folder: Path, *, depth_scale: float = 1.0, depth: bool = True) -> Path:
    """Write a sequence of a bright box that moves over a dark wall."""
    for part in ('rgb', 'depth') if depth else ('rgb',):
        (folder / part).mkdir(parents=True)
    for number in range(FRAMES):
        rgb = np.full((96, 128, 3), (40, 60, 90), np.uint8)
        rgb[:, 64:] = (120, 80, 40)
        units = np.full((96, 128), 3000, np.uint16)
        left = 20 + 4 * number
        rgb[30:70, left:left + 40] = (30, 220, 240)
        units[30:70, left:left + 40] = 1500
        units[:4] = 0
        name = f'{number:06d}.png'
        cv2.imwrite(str(folder / 'rgb' / name), rgb)
        if depth:
            units = cv2.resize(units, None, fx=depth_scale, fy=depth_scale,
                               interpolation=cv2.INTER_NEAREST)
            cv2.imwrite(str(folder / 'depth' / name), units)
    (folder / 'times.txt').write_text(''.join(f'{10 + number / 10}\n' for number in range(FRAMES)))
    if depth:
        (folder / 'camera.json').write_text(json.dumps({
            'width': 128, 'height': 96, 'fx': 110.0, 'fy': 112.0, 'cx': 63.2, 'cy': 47.9,
            'depth_scale': 1000}))
    return folder


@pytest.fixture
def sequence(tmp_path: Path) -> Path:
    """Return a sequence folder of five RGB-D frames."""
    return write_sequence(tmp_path / 'box')


def label_images(folder: Path) -> dict[str, np.ndarray]:
    """Return the label images of a replay by name."""
    return {path.name: cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            for path in sorted((folder / 'labels').iterdir())}


@pytest.fixture
def run(weights: Path, tmp_path: Path) -> Callable[..., tuple[int, Path]]:
    """Return a function that replays a source and gives the exit code and the output folder."""
    from diffseg_ros.apps.replay import main as replay

    def call(source: Path, name: str = 'out', *options: str) -> tuple[int, Path]:
        output = tmp_path / name
        code = replay([str(source), '--output', str(output),
                       '--set', f'backbone.model={weights}', *options])
        return code, output
    return call
