"""Label images brought to the image's resolution: only pixels near borders are decided anew."""

from __future__ import annotations

import cv2
from diffseg_ros.geometry.label_images import label_borders
from diffseg_ros.types import LabelImage, RgbImage
import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.intp]

_RING = (-1, -1), (-1, 1), (1, -1), (1, 1), (0, -2), (0, 2), (-2, 0), (2, 0)
_COLOUR_SPREAD = 20.0
_BLOCK = 8192
_BEYOND = np.int16(1000)


def upsample_labels(rgb: RgbImage,
                    labels: LabelImage) -> tuple[LabelImage, npt.NDArray[np.float32]]:
    """
    Return (H, W) int32 labels whose borders follow the image's edges, and their float32 margin.

    A pixel near a border has its own label or the strongest other one of 8 neighbours on two
    rings, weighted by how alike the colours are: joint bilateral upsampling (Kopf et al., SIGGRAPH
    2007) without a map per label. The margin of the votes is from 0 to 1, 1 away from borders.
    """
    height, width = rgb.shape[:2]
    large = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
    reach = max(1, round(width / labels.shape[1]))
    border = label_borders(large, both_sides=True).view(np.uint8)
    around = np.ones((2 * reach - 1,) * 2, np.uint8)
    band = np.flatnonzero(cv2.dilate(border, around).view(bool))
    margin = np.ones((height, width), np.float32)
    if len(band):
        winner, clear = _vote(rgb, large, band, reach)
        large.ravel()[band] = winner
        margin.ravel()[band] = clear
    return large, margin


def _vote(rgb: RgbImage, labels: LabelImage, band: Indices,
          reach: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Return the winning label and the margin at each of the (p,) pixels of the band."""
    pad = 2 * reach
    width = labels.shape[1]
    stride = width + 2 * pad
    colours = cv2.copyMakeBorder(rgb, *(pad,) * 4, cv2.BORDER_REPLICATE)
    # A fourth channel makes a pixel one number, which is fetched at once.
    pixels = cv2.cvtColor(colours, cv2.COLOR_RGB2RGBA).view(np.uint32).ravel()
    names = cv2.copyMakeBorder(labels, *(pad,) * 4, cv2.BORDER_REPLICATE).ravel()
    places = band + band // width * (2 * pad) + (stride + 1) * pad
    steps = np.array([(down * stride + right) * reach for down, right in _RING])
    # Blocks that stay in the processor's cache.
    blocks = [_decide(pixels, names, part, steps)
              for part in np.array_split(places, 1 + len(places) // _BLOCK)]
    winner, margin = (np.concatenate(values) for values in zip(*blocks, strict=True))
    return winner, margin


def _decide(pixels: npt.NDArray[np.uint32], names: npt.NDArray[np.int32], here: Indices,
            steps: Indices) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Return the winning label and the margin at (p,) places in a flat image, by 8 steps."""
    places = here + steps[:, None]
    around, own = names.take(places), names.take(here)
    difference = cv2.absdiff(pixels.take(places).view(np.uint8),
                             np.tile(pixels.take(here).view(np.uint8), (len(steps), 1)))
    red, green, blue, _ = cv2.split(difference.reshape(-1, 1, 4))
    apart = (red.astype(np.int16) + green + blue).reshape(places.shape)
    weight = np.exp(apart.astype(np.float32) / np.float32(-3 * _COLOUR_SPREAD))
    mine = around == own
    # The first of the least differences from others; NumPy's argmin takes many times as long.
    rank = 8 * (apart + mine * _BEYOND) + np.arange(8, dtype=np.int16)[:, None]
    nearest = rank.min(axis=0) % 8
    other = names.take(here + steps.take(nearest))
    # The pixel's own label has a vote as well, with full weight.
    for_own = 1 + np.einsum('np,np->p', weight, mine)
    for_other = np.einsum('np,np->p', weight, around == other) * (other != own)
    winner = np.where(for_other > for_own, other, own)
    return winner, np.abs(for_own - for_other) / (for_own + for_other)
