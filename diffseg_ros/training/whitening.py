"""The whitening matrix that goes with trained weights."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from diffseg_ros.backbones.embedded import load_pixel_backbone
from diffseg_ros.backbones.whitening import fit_whitening, save_whitening
from diffseg_ros.config import BackboneConfig
import numpy as np
import numpy.typing as npt
import torch


def write_whitening(folder: Path, photos: Iterable[npt.NDArray[np.uint8]],
                    device: torch.device) -> None:
    """
    Fit the matrix for the weights in `folder` and write it beside them.

    Parameters
    ----------
    folder
        As `save_weights` wrote it.
    photos
        (H, W, 3) RGB uint8 of what the model will see; some fifty are enough.
    device
        Where the model runs.

    Raises
    ------
    DiffsegError
        The weights are damaged, or the photos give no features to fit.

    """
    backbone = load_pixel_backbone(folder.name, folder, folder / 'scheduler_config.json',
                                   BackboneConfig(whiten=False), device, torch.float32)
    save_whitening(folder, backbone.block,
                   fit_whitening(backbone.features(photo) for photo in photos))
