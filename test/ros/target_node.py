"""diffseg_node with a real pipeline whose features are colours, so that no model is needed."""

from __future__ import annotations

import sys

from diffseg_ros.cli.node import main
from diffseg_ros.config import PipelineConfig
from diffseg_ros.pipeline import Pipeline
import numpy as np
import torch

SIZE = 128, 96
PAINTED = {'mug': (slice(40, 72), slice(16, 48), (230, 200, 20)),
           'lid': (slice(24, 40), slice(16, 48), (200, 20, 60)),
           'box': (slice(32, 72), slice(80, 112), (30, 210, 60))}
"""Rows, columns and colour of the things in front of a blue wall."""


def painting(shown: tuple[str, ...] = tuple(PAINTED)) -> np.ndarray:
    """Return the (H, W, 3) image of the wall and some of the things."""
    rgb = np.full((SIZE[1], SIZE[0], 3), (20, 40, 160), np.uint8)
    for name in shown:
        rows, columns, colour = PAINTED[name]
        rgb[rows, columns] = colour
    return rgb


class ColourBackbone:
    """Stands in for a diffusion model: the feature of a token is its colour."""

    name = 'colour'
    device = torch.device('cpu')

    def features(self, rgb: np.ndarray) -> torch.Tensor:
        small = torch.from_numpy(rgb[4::8, 4::8].copy()).permute(2, 0, 1).float()
        return small / 255 + 0.01


def pipeline(config: PipelineConfig, first_id: int) -> Pipeline:
    """Return a pipeline in which segments are there at once."""
    return Pipeline(config, backbone=ColourBackbone(), first_id=first_id)


if __name__ == '__main__':
    sys.exit(main(pipeline_factory=pipeline))
