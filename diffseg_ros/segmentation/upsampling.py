"""From soft segments on a coarse grid to one segment a pixel, along the photo's edges."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
from diffseg_ros.segmentation.base import SegmentationSettings
from diffseg_ros.segmentation.boundary_refinement import sharpened
from diffseg_ros.segmentation.refinement import pamr
from diffseg_ros.segmentation.region_graph import region_graph, RegionGraph
from diffseg_ros.segmentation.small_segments import rename_specks, without_specks
from diffseg_ros.segmentation.superpixels import gradient_basins, lab_image
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

Pixels = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class TokenScores:
    """
    How well each token fits each segment.

    Attributes
    ----------
    values
        (K, h, w) float32; on the tokens' grid, on any device.
    temperature
        The shares are the softmax of the values over it; None where the values are shares
        themselves, up to a common factor of each token, raised to `power`.

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


def to_pixels(rgb: npt.NDArray[np.uint8], scores: TokenScores,
              config: SegmentationSettings) -> Pixels:
    """
    Return the best segment of every pixel and its margin to the second.

    Parameters
    ----------
    rgb
        (H, W, 3) uint8.
    scores
        Of the same view.
    config
        `refinement` chooses between PAMR, which spreads the shares of pixels along the photo's
        edges on the scores' device, and basins, which spreads those of small regions on the host
        and then decides the pixels near borders anew. Either way, connected patches below
        `min_size` of the image, on the grid that is refined, go to the neighbour of the
        longest border, with next to no margin.

    Returns
    -------
    tuple
        (H, W) int32 labels, 0 to K - 1, and (H, W) float32 margin from 0 to 1.

    """
    if config.refinement.method == 'basins':
        return _by_basins(rgb, scores, config)
    return _by_pamr(rgb, scores, config)


def _by_pamr(rgb: npt.NDArray[np.uint8], scores: TokenScores,
             config: SegmentationSettings) -> Pixels:
    height, width = rgb.shape[:2]
    grid_width = min(config.refinement.width, width)
    grid = max(1, round(height * grid_width / width)), grid_width
    shares = scores.shares(functional.interpolate(scores.values[None], grid, mode='bilinear')[0])
    small = cv2.resize(rgb, grid[::-1], interpolation=cv2.INTER_AREA)
    image = torch.from_numpy(small).to(shares.device).permute(2, 0, 1).float() / 255
    refined = pamr(image, shares, config.refinement.iterations, config.refinement.dilations)
    refined = _without_specks(refined, config.min_size)
    enlarge = enlarged if refined.device.type == 'cpu' else enlarged_on_device
    labels, margin = enlarge(refined, (height, width))
    return cv2.medianBlur(labels, 3).astype(np.int32), margin


def _by_basins(rgb: npt.NDArray[np.uint8], scores: TokenScores,
               config: SegmentationSettings) -> Pixels:
    """
    Let every basin of the photo choose, after a few rounds of listening to its neighbours.

    Each round mixes a basin's shares with its neighbours', by likeness of colour and length of
    the common border.
    """
    lab = lab_image(rgb, config.refinement.width)
    basins = gradient_basins(lab)
    graph = region_graph(lab, basins, scores.values.cpu().numpy())
    mixed = torch.from_numpy((graph.features / graph.size[:, None]).T)
    shares = _heard(scores.shares(mixed).T.numpy(), graph)
    ahead = np.ones(len(shares))
    if shares.shape[1] > 1:
        runner_up, best = np.partition(shares, -2, axis=1)[:, -2:].T
        ahead = best - runner_up
    chosen = shares.argmax(axis=1).astype(np.int32)
    names = rename_specks(chosen, graph.size, graph.edges, graph.length,
                          config.min_size * basins.size)
    ahead[names != chosen] = 0
    labels, clear = sharpened(rgb, names[basins])
    margin = cv2.resize(ahead.astype(np.float32)[basins], labels.shape[::-1],
                        interpolation=cv2.INTER_NEAREST)
    return labels, margin.clip(0, 1) * clear


def _without_specks(shares: torch.Tensor, least: float) -> torch.Tensor:
    """Return (K, h, w) shares of which, in patches that are too small, another one is first."""
    if least * shares[0].numel() <= 1:
        return shares
    labels = shares.argmax(dim=0).to(torch.int32).cpu().numpy()
    whole = without_specks(labels, least * labels.size)
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


def _heard(shares: npt.NDArray[np.float64], graph: RegionGraph) -> npt.NDArray[np.float64]:
    """Return the (n, K) shares of basins after they listened to their neighbours'."""
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


def enlarged(shares: torch.Tensor, shape: tuple[int, int],
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


def enlarged_on_device(shares: torch.Tensor, shape: tuple[int, int],
                       ) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.float32]]:
    """Do as `enlarged`, several maps at a time; only the two results leave the device."""
    best = shares.new_zeros(2, *shape)
    labels = torch.zeros(shape, dtype=torch.int64, device=shares.device)
    for begin in range(0, len(shares), _MAPS_AT_A_TIME):
        large = functional.interpolate(shares[None, begin:begin + _MAPS_AT_A_TIME], shape,
                                       mode='bilinear')[0]
        best, place = torch.cat([best, large]).topk(2, dim=0)
        labels = torch.where(place[0] < 2, labels, place[0] + (begin - 2))
    margin = (best[0] - best[1]).clamp_(0, 1)
    return labels.cpu().numpy().astype(np.uint16), margin.cpu().numpy()
