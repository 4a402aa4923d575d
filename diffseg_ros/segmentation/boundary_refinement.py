"""Label images brought to the photo's resolution: only pixels near borders are decided anew."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int32]
Names = npt.NDArray[np.signedinteger]
Indices = npt.NDArray[np.intp]

_RING = (-1, -1), (-1, 1), (1, -1), (1, 1), (0, -2), (0, 2), (-2, 0), (2, 0)
_COLOUR_SPREAD = 20.0
_BLOCK = 16384


def sharpened(rgb: npt.NDArray[np.uint8],
              labels: Labels) -> tuple[Labels, npt.NDArray[np.float32]]:
    """
    Return labels at the photo's size whose borders follow its edges, and how clear they are.

    Every pixel near a border compares its own label with the strongest other one around it. The
    votes are the labels of 8 neighbours on two rings, and weigh as much as the neighbours'
    colours are like the pixel's: joint bilateral upsampling (Kopf et al., SIGGRAPH 2007) of a
    label image, without a map for each label.

    Parameters
    ----------
    rgb
        (H, W, 3) uint8.
    labels
        (h, w) int32 of the same view at the same or a lower resolution.

    Returns
    -------
    tuple
        (H, W) int32 labels, and (H, W) float32 margin of the votes from 0 to 1; 1 away from
        borders.

    """
    height, width = rgb.shape[:2]
    # Half the bytes where the numbers allow it: the time goes into fetching them.
    narrow = labels.astype(np.int16 if labels.max() < 2**15 else np.int32)
    large = cv2.resize(narrow, (width, height), interpolation=cv2.INTER_NEAREST)
    margin = np.ones((height, width), np.float32)
    reach = max(1, round(width / labels.shape[1]))
    band = np.flatnonzero(_near_borders(large, reach))
    if len(band):
        winner, clear = _vote(rgb, large, band, reach)
        large.ravel()[band] = winner
        margin.ravel()[band] = clear
    return large.astype(np.int32), margin


def _near_borders(labels: Names, reach: int) -> npt.NDArray[np.bool_]:
    border = np.zeros(labels.shape, bool)
    across = labels[:, :-1] != labels[:, 1:]
    down = labels[:-1] != labels[1:]
    border[:, :-1] |= across
    border[:, 1:] |= across
    border[:-1] |= down
    border[1:] |= down
    around = np.ones((2 * reach - 1,) * 2, np.uint8)
    return cv2.dilate(border.view(np.uint8), around).view(bool)


def _vote(rgb: npt.NDArray[np.uint8], labels: Names, band: Indices,
          reach: int) -> tuple[Names, npt.NDArray[np.float32]]:
    """Return the winning label and the margin at each of the (p,) pixels of the band."""
    pad = 2 * reach
    width = labels.shape[1]
    stride = width + 2 * pad
    # A fourth channel, the same everywhere, makes a pixel one number.
    colours = cv2.copyMakeBorder(cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA), *(pad,) * 4,
                                 cv2.BORDER_REPLICATE).view(np.uint32).ravel()
    names = cv2.copyMakeBorder(labels, *(pad,) * 4, cv2.BORDER_REPLICATE).ravel()
    here = band + band // width * (2 * pad) + (stride + 1) * pad
    steps = np.array([(dy * stride + dx) * reach for dy, dx in _RING])
    # Blocks that stay in the processor's cache.
    blocks = [_decided(colours, names, part, steps)
              for part in np.array_split(here, 1 + len(here) // _BLOCK)]
    winner, margin = (np.concatenate(values) for values in zip(*blocks, strict=True))
    return winner, margin


def _decided(colours: npt.NDArray[np.uint32], names: Names, here: Indices,
             steps: Indices) -> tuple[Names, npt.NDArray[np.float32]]:
    """Return the winning label and the margin at (p,) places in a flat image, by 8 steps."""
    places = here + steps[:, None]
    apart = _colour_steps(colours.take(places), colours.take(here))
    weight = np.exp(apart.astype(np.float32) / np.float32(-3 * _COLOUR_SPREAD))
    around, own = names.take(places), names.take(here)
    mine = around == own
    other = names.take(here + steps.take(_nearest(apart, mine)))
    # The pixel's own label has a vote as well, with full weight.
    for_own = 1 + np.einsum('np,np->p', weight, mine)
    for_other = np.einsum('np,np->p', weight, around == other) * (other != own)
    winner = np.where(for_other > for_own, other, own)
    return winner, np.abs(for_own - for_other) / (for_own + for_other)


def _colour_steps(first: npt.NDArray[np.uint32],
                  second: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint16]:
    """Return (8, p) sums of the channels' differences, of packed (8, p) and (p,) colours."""
    step = cv2.absdiff(first.view(np.uint8), np.tile(second.view(np.uint8), (len(first), 1)))
    red, green, blue, _ = cv2.split(step.reshape(-1, 1, 4))
    total = np.add(red, green, dtype=np.uint16)
    total += blue
    return total.reshape(first.shape)


def _nearest(apart: npt.NDArray[np.uint16], excluded: npt.NDArray[np.bool_]) -> Indices:
    """Return the (p,) first of the least of (8, p) numbers below 2**13 that are not excluded."""
    # Many times as fast as argmin along the first axis.
    keys = apart << 3 | np.arange(8, dtype=np.uint16)[:, None]
    keys |= excluded.astype(np.uint16) << 13
    return (keys.min(axis=0) & 7).astype(np.intp)
