"""From soft segments on a coarse grid to one segment a pixel, along the image's edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
from diffseg_ros.segmentation.base import SegmentationSettings
from diffseg_ros.segmentation.boundary_refinement import upsample_labels
from diffseg_ros.segmentation.region_graph import region_graph, RegionGraph
from diffseg_ros.segmentation.small_segments import remove_small_segments, rename_small
from diffseg_ros.segmentation.superpixels import lab_image, watershed
from diffseg_ros.types import LabelImage, RgbImage
import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
import torch
from torch.nn import functional

_ROUNDS = 10
_TINY = 1e-30
_MAPS_AT_A_TIME = 16
_COLOUR_SPREAD = 0.1
_JUST_BEHIND = 0.999

Pixels = tuple[LabelImage, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class TokenScores:
    """
    How well each token fits each segment: (K, h, w) float32 values, on any device.

    The shares are the softmax of the values over the `temperature`; without one the values are
    shares themselves, up to a common factor of each token, and raised to `power`.
    """

    values: torch.Tensor
    temperature: float | None = None
    power: float = 1.0

    def shares(self, mixed: torch.Tensor) -> torch.Tensor:
        """Return the shares, sums over the first axis 1, for mixtures of the tokens' values."""
        if self.temperature is not None:
            return torch.softmax(mixed / self.temperature, dim=0)
        # Powers of what is at most 1 do not overflow.
        powers = (mixed / mixed.amax(dim=0).clamp_min(_TINY)) ** self.power
        return powers / powers.sum(dim=0).clamp_min(_TINY)


def assignment_scores(features: torch.Tensor, labels: npt.NDArray[np.int32],
                      vote: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Return the (K, h, w) scores of tokens for segments, and the (K, C) segments' mean directions.

    `features` are (C, h, w), `labels` the (h * w,) segment of each token. A score is the mean
    cosine with the segment's tokens; `vote` is added to a token's score for its own. The dot
    product of upsampled features with the means is the upsampled dot product, so later only one
    map a segment is upsampled instead of one a channel.
    Source: DiffCut (Couairon et al., NeurIPS 2024), masked spatial marginal mean.
    """
    members = torch.from_numpy(labels == np.arange(labels.max() + 1)[:, None]).to(features)
    unit = functional.normalize(features.flatten(1), dim=0)
    means = members @ unit.T / members.sum(dim=1, keepdim=True)
    scores = means @ unit
    if vote:
        scores += vote * members
    return scores.unflatten(1, features.shape[1:]), functional.normalize(means, dim=1)


def upsample_scores(rgb: RgbImage, scores: TokenScores, settings: SegmentationSettings) -> Pixels:
    """
    Return the best segment of every pixel and its margin to the second.

    `refinement` chooses between PAMR, which spreads the shares of pixels along the image's edges
    on the scores' device, and basins, which spreads those of superpixels on the host and then
    decides pixels near borders anew. Either way, connected patches below `min_size`, on the grid
    that is refined, go to the neighbour of the longest border, with next to no margin. Results are
    (H, W) int32 labels, 0 to K - 1, and (H, W) float32 margins from 0 to 1.
    """
    by = _by_basins if settings.refinement.method == 'basins' else _by_pamr
    return by(rgb, scores, settings)


def _by_basins(rgb: RgbImage, scores: TokenScores, settings: SegmentationSettings) -> Pixels:
    """Let superpixels choose, after mixing shares by colour likeness and border length."""
    lab = lab_image(rgb, settings.refinement.width)
    basins = watershed(lab)
    graph = region_graph(lab, basins, scores.values.cpu().numpy())
    mixed = torch.from_numpy((graph.features / graph.size[:, None]).T)
    shares = _propagate(scores.shares(mixed).T.numpy(), graph)
    ahead = np.ones(len(shares))
    if shares.shape[1] > 1:
        runner_up, best = np.partition(shares, -2, axis=1)[:, -2:].T
        ahead = best - runner_up
    chosen = shares.argmax(axis=1).astype(np.int32)
    names = rename_small(chosen, graph.size, graph.edges, graph.length,
                         settings.min_size * basins.size)
    ahead[names != chosen] = 0
    labels, clear = upsample_labels(rgb, names[basins])
    margin = cv2.resize(ahead.astype(np.float32)[basins], labels.shape[::-1],
                        interpolation=cv2.INTER_NEAREST)
    return labels, margin.clip(0, 1) * clear


def _propagate(shares: npt.NDArray[np.float64], graph: RegionGraph) -> npt.NDArray[np.float64]:
    """Return the (n, K) shares of superpixels, mixed with their neighbours' round by round."""
    means = graph.colour / graph.size[:, None]
    first, second = graph.edges.T
    weight = graph.length * np.exp(
        -np.linalg.norm(means[first] - means[second], axis=1) / _COLOUR_SPREAD)
    count = len(shares)
    ways = coo_matrix((np.tile(weight, 2), (np.r_[first, second], np.r_[second, first])),
                      shape=(count, count)).tocsr()
    around = np.bincount(graph.edges.ravel(), np.repeat(graph.length, 2), count)[:, None]
    step = 0.5 / np.maximum(around, 1)
    staying = 1 - step * np.asarray(ways.sum(axis=1)).reshape(-1, 1)
    for _ in range(_ROUNDS):
        shares = staying * shares + step * (ways @ shares)
    return shares


def _by_pamr(rgb: RgbImage, scores: TokenScores, settings: SegmentationSettings) -> Pixels:
    height, width = rgb.shape[:2]
    grid_width = min(settings.refinement.width, width)
    grid = max(1, round(height * grid_width / width)), grid_width
    values = functional.interpolate(scores.values[None], grid, mode='bilinear')[0]
    refines = settings.refinement.iterations and settings.refinement.dilations
    if refines:
        small = cv2.resize(rgb, grid[::-1], interpolation=cv2.INTER_AREA)
        image = torch.from_numpy(small).to(values.device).permute(2, 0, 1).float() / 255
        numbers = torch.arange(len(values), device=values.device)[:, None, None]
        masks = (values.argmax(dim=0) == numbers).float()
        shares = pamr(image, masks, settings.refinement.iterations, settings.refinement.dilations)
    else:
        shares = scores.shares(values)
    shares = _without_small_segments(shares, settings.min_size)
    enlarge = enlarge_on_host if shares.device.type == 'cpu' else enlarge_on_device
    labels, margin = enlarge(shares, (height, width))
    return (cv2.medianBlur(labels, 3) if refines else labels).astype(np.int32), margin


def _without_small_segments(shares: torch.Tensor, least: float) -> torch.Tensor:
    """Return (K, h, w) shares of which, in patches that are too small, another one is first."""
    if least * shares[0].numel() <= 1:
        return shares
    labels = shares.argmax(dim=0).to(torch.int32).cpu().numpy()
    whole = remove_small_segments(labels, least * labels.size)
    changed = np.flatnonzero(whole != labels)
    if len(changed):
        places, first, winner = (torch.from_numpy(item.astype(np.int64)).to(shares.device)
                                 for item in (changed, labels.take(changed), whole.take(changed)))
        shares = shares.clone()
        flat = shares.flatten(1)
        best = flat[first, places]
        flat[first, places] = best * _JUST_BEHIND
        flat[winner, places] = best
    return shares


def pamr(image: torch.Tensor, masks: torch.Tensor, iterations: int,
         dilations: Sequence[int]) -> torch.Tensor:
    """
    Refine soft masks along the image's edges.

    Every iteration replaces a pixel's mask values by the mean over its 8 neighbours at each of the
    `dilations` (pixels), weighted by colour likeness relative to the local contrast, in which the
    pixel itself counts once a dilation. `image` is (3, H, W), `masks` (K, H, W) float32; sums over
    K are kept.
    Source: PAMR (Araslanov and Roth, CVPR 2020).
    """
    if not iterations or not dilations:
        return masks
    neighbours = torch.stack(_shifted(image, dilations))
    contrast = torch.cat([neighbours, image.expand(len(dilations), *image.shape)]).std(dim=0)
    sharpness = 1 / (1e-8 + 0.1 * contrast)
    distance = neighbours.sub_(image).abs_().mul_(sharpness).mean(dim=1)
    weights = torch.softmax(-distance, dim=0)
    for _ in range(iterations):
        refined = torch.zeros_like(masks)
        for weight, neighbour in zip(weights, _shifted(masks, dilations), strict=True):
            refined.addcmul_(neighbour, weight)
        masks = refined
    return masks


def _shifted(maps: torch.Tensor, dilations: Sequence[int]) -> list[torch.Tensor]:
    """Return views of (C, H, W) maps in which each pixel has the value of one neighbour."""
    reach = max(dilations)
    height, width = maps.shape[1:]
    padded = functional.pad(maps[None], (reach,) * 4, mode='replicate')[0]
    return [padded[:, reach + down * step:reach + down * step + height,
                   reach + right * step:reach + right * step + width]
            for step in dilations for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right]


def enlarge_on_host(shares: torch.Tensor, shape: tuple[int, int],
                    ) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.float32]]:
    """
    Return the best of (K, h, w) shares at every pixel, and its margin to the second.

    One map after the other stays in the cache; that is ten times faster on a CPU than
    upsampling all (K, H, W) and sorting.
    """
    best, second = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    labels = np.zeros(shape, np.uint16)
    for segment, small in enumerate(shares.numpy()):
        current = cv2.resize(small, shape[::-1], interpolation=cv2.INTER_LINEAR)
        np.maximum(second, np.minimum(current, best), out=second)
        labels[current > best] = segment
        np.maximum(best, current, out=best)
    return labels, (best - second).clip(0, 1)


def enlarge_on_device(shares: torch.Tensor, shape: tuple[int, int],
                      ) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.float32]]:
    """Do as `enlarge_on_host`, several maps at a time; only the results leave the device."""
    best = shares.new_zeros(2, *shape)
    labels = torch.zeros(shape, dtype=torch.int64, device=shares.device)
    for begin in range(0, len(shares), _MAPS_AT_A_TIME):
        large = functional.interpolate(shares[None, begin:begin + _MAPS_AT_A_TIME], shape,
                                       mode='bilinear')[0]
        best, place = torch.cat([best, large]).topk(2, dim=0)
        labels = torch.where(place[0] < 2, labels, place[0] + (begin - 2))
    margin = (best[0] - best[1]).clamp_(0, 1)
    return labels.cpu().numpy().astype(np.uint16), margin.cpu().numpy()
