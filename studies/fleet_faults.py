"""
Backbones that end or stop their process where a picture asks for it, to try diffseg_relabel.

The upper left pixel of a picture says so. `installed` makes a folder for PYTHONPATH where it is
found as a plugin's would be.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
import time

from diffseg_ros.backbones.base import BackboneSettings
from diffseg_ros.backbones.loader import load_backbone
from diffseg_ros.model_defaults import EMBEDDED
from diffseg_ros.registry import register_backbone
from diffseg_ros.types import RgbImage
import numpy as np
import torch

EXIT, CRASH, HANG = (1, 2, 3), (3, 2, 1), (2, 2, 2)
"""Pixels that end the process, make it crash, and make it hang."""


@register_backbone('faulty')
class Faulty:
    """Mean colours on the token grid, fast; its faults are those of the pictures."""

    name = 'faulty'

    def __init__(self, settings: None, config: BackboneSettings) -> None:
        self.device = torch.device('cpu')
        self._tokens = config.tokens or 768

    def features(self, rgb: RgbImage) -> torch.Tensor:
        """Return the (3, h, w) float32 mean colours."""
        act_out(rgb)
        height, width = rgb.shape[:2]
        side = (height * width / self._tokens) ** 0.5
        image = torch.tensor(rgb).permute(2, 0, 1)[None].float() / 255
        grid = max(1, round(height / side)), max(1, round(width / side))
        found: torch.Tensor = torch.nn.functional.interpolate(image, grid, mode='area')[0]
        return found


@register_backbone('faulty_embedded')
class FaultyEmbedded:
    """The embedded model, with the faults of the pictures."""

    kind = EMBEDDED

    def __init__(self, settings: None, config: BackboneSettings) -> None:
        self._backbone = load_backbone(config.replace(model=EMBEDDED))
        self.name, self.device = self._backbone.name, self._backbone.device

    def features(self, rgb: RgbImage) -> torch.Tensor:
        """Return the features of the embedded model."""
        act_out(rgb)
        return self._backbone.features(rgb)


def act_out(rgb: RgbImage) -> None:
    """End, crash or stop the process where the upper left pixel of a picture asks for it."""
    pixel = tuple(np.asarray(rgb[0, 0]).tolist())
    if pixel == EXIT:
        os._exit(7)
    if pixel == CRASH:
        ctypes.string_at(0)
    if pixel == HANG:
        time.sleep(1e6)


def installed(folder: Path) -> Path:
    """Make a folder for PYTHONPATH that registers the backbones, and return it."""
    information = folder / 'fleet_faults-1.0.dist-info'
    information.mkdir(parents=True)
    (information / 'METADATA').write_text('Metadata-Version: 2.1\nName: fleet-faults\n'
                                          'Version: 1.0\n')
    (information / 'entry_points.txt').write_text(
        '[diffseg_ros.backbones]\nfaulty = studies.fleet_faults\n'
        'faulty_embedded = studies.fleet_faults\n')
    return folder
