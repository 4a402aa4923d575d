"""What the pipeline needs from a diffusion model."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from diffseg_ros.errors import DiffsegError
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


@runtime_checkable
class AttentionBackbone(Backbone, Protocol):
    """A backbone that can also tell which tokens attend to which."""

    def features_and_attention(
            self, rgb: npt.NDArray[np.uint8]) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """
        Return the feature grid of one photo and its self-attention, from one pass.

        Parameters
        ----------
        rgb
            (H, W, 3) uint8, any size.

        Returns
        -------
        tuple
            The features as `features` gives them, and for each resolution, finest first, one
            (h, w, h, w) float32 tensor on `device`: the mean over heads and layers of the
            probabilities with which the first token attends to the second.

        Raises
        ------
        DiffsegError
            The backbone was loaded without attention.

        """


def observe(backbone: Backbone, rgb: npt.NDArray[np.uint8], *,
            attention: bool) -> tuple[torch.Tensor, tuple[torch.Tensor, ...] | None]:
    """
    Return the features of a photo, and its attention maps where they are wanted, else None.

    Raises
    ------
    DiffsegError
        Attention is wanted from a backbone that has none.

    """
    if not attention:
        return backbone.features(rgb), None
    if not isinstance(backbone, AttentionBackbone):
        raise DiffsegError(f'model {backbone.name}: gives no attention maps; use '
                           'segmentation.method diffcut with segmentation.attention 0')
    return backbone.features_and_attention(rgb)
