"""From token labels to pixels: high-resolution assignment and pixel-adaptive refinement."""

from __future__ import annotations

from collections.abc import Sequence

from diffseg_ros.segmentation.graph_utils import membership_matrix
import torch
from torch.nn import functional


def segment_means(features: torch.Tensor, labels: torch.Tensor, count: int) -> torch.Tensor:
    """
    Return the mean direction of each segment's features.

    Source: DiffCut (Couairon et al., NeurIPS 2024), masked spatial marginal mean.

    Parameters
    ----------
    features
        (C, h, w) float32.
    labels
        (h * w,) int64 segment of each token.
    count
        Number of segments, numbered from 0, each with a token.

    Returns
    -------
    torch.Tensor
        (K, C) float32 of length 1.

    """
    members = membership_matrix(labels, count, features.dtype)
    return functional.normalize(members @ _unit(features).T, dim=1)


def assignment_scores(features: torch.Tensor, means: torch.Tensor) -> torch.Tensor:
    """
    Return how well every token fits every segment.

    The dot product of bilinearly upsampled features with the segments' mean features is the
    upsampled dot product, so DiffCut's high-resolution assignment only has to upsample these
    scores, one map a segment instead of one a channel.

    Parameters
    ----------
    features
        (C, h, w) float32.
    means
        (K, C) float32 from `segment_means`.

    Returns
    -------
    torch.Tensor
        (K, h, w) float32 cosine of each token with each segment's mean feature.

    """
    return (means @ _unit(features)).unflatten(1, features.shape[1:])


def _unit(features: torch.Tensor) -> torch.Tensor:
    return functional.normalize(features.flatten(1), dim=0)


def pamr(image: torch.Tensor, masks: torch.Tensor, iterations: int,
         dilations: Sequence[int]) -> torch.Tensor:
    """
    Refine soft masks along the image's edges.

    Every iteration replaces a pixel's mask values by the mean over its neighbours at the given
    dilations, weighted by colour likeness relative to the local contrast.
    Source: PAMR (Araslanov and Roth, CVPR 2020).

    Parameters
    ----------
    image
        (3, H, W) float32 colour.
    masks
        (K, H, W) float32.
    iterations
        How often; 0 returns the masks as they are.
    dilations
        Distances of the 8 neighbours in pixels.

    Returns
    -------
    torch.Tensor
        (K, H, W) float32; sums over K are kept.

    """
    if not iterations or not dilations:
        return masks
    weights = _pamr_weights(image, dilations)
    offsets = _offsets(dilations)
    reach = max(dilations)
    height, width = image.shape[1:]
    for _ in range(iterations):
        padded = functional.pad(masks[None], (reach,) * 4, mode='replicate')[0]
        refined = torch.zeros_like(masks)
        for weight, (dy, dx) in zip(weights, offsets, strict=True):
            refined.addcmul_(padded[:, reach + dy:reach + dy + height,
                                    reach + dx:reach + dx + width], weight)
        masks = refined
    return masks


def _offsets(dilations: Sequence[int]) -> list[tuple[int, int]]:
    ring = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
    return [(dy * step, dx * step) for step in dilations for dy, dx in ring]


def _pamr_weights(image: torch.Tensor, dilations: Sequence[int]) -> torch.Tensor:
    """Return (8 * len(dilations), H, W) neighbour weights that sum to 1 at every pixel."""
    reach = max(dilations)
    height, width = image.shape[1:]
    padded = functional.pad(image[None], (reach,) * 4, mode='replicate')[0]
    neighbours = torch.stack([padded[:, reach + dy:reach + dy + height,
                                     reach + dx:reach + dx + width]
                              for dy, dx in _offsets(dilations)])
    mean = neighbours.mean(dim=0)
    contrast = (neighbours.square().mean(dim=0) - mean.square()).clamp_(min=0).sqrt_()
    sharpness = 1 / (1e-4 + 0.1 * contrast)
    distance = neighbours.sub_(image).abs_().mul_(sharpness).mean(dim=1)
    return torch.softmax(-distance, dim=0)
