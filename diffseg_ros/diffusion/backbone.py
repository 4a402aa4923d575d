"""What the pipeline needs from a diffusion model."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch


class Backbone(Protocol):
    """A diffusion U-Net that turns a photo into a grid of feature vectors."""

    @property
    def name(self) -> str:
        """Name of the model, for reports."""

    @property
    def device(self) -> torch.device:
        """Where the model runs."""

    def features(self, rgb: npt.NDArray[np.uint8]) -> torch.Tensor:
        """
        Return the feature grid of one photo.

        Parameters
        ----------
        rgb
            (H, W, 3) uint8, any size.

        Returns
        -------
        torch.Tensor
            (C, h, w) float32 on `device`, in the photo's aspect ratio, not normalised. The
            same photo gives the same tensor every time.

        """
