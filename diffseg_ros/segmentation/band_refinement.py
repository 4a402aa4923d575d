"""Label images brought to the photo's resolution: only pixels near borders are decided anew."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int32]

_RING = (-1, -1), (-1, 1), (1, -1), (1, 1), (0, -2), (0, 2), (-2, 0), (2, 0)
_COLOUR_SPREAD = 20.0


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
    large = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
    margin = np.ones((height, width), np.float32)
    reach = max(1, round(width / labels.shape[1]))
    band = np.flatnonzero(_near_borders(large, reach))
    if len(band):
        winner, clear = _vote(rgb, large, band, reach)
        large = large.copy()
        large.ravel()[band] = winner
        margin.ravel()[band] = clear
    return large, margin


def _near_borders(labels: Labels, reach: int) -> npt.NDArray[np.bool_]:
    border = np.zeros(labels.shape, np.uint8)
    across = labels[:, :-1] != labels[:, 1:]
    down = labels[:-1] != labels[1:]
    border[:, :-1] |= across
    border[:, 1:] |= across
    border[:-1] |= down
    border[1:] |= down
    return cv2.dilate(border, np.ones((2 * reach - 1,) * 2, np.uint8)).astype(bool)


def _vote(rgb: npt.NDArray[np.uint8], labels: Labels, band: npt.NDArray[np.intp],
          reach: int) -> tuple[Labels, npt.NDArray[np.float32]]:
    """Return the winning label and the margin at each of the (p,) pixels of the band."""
    pad = 2 * reach
    stride = labels.shape[1] + 2 * pad
    colours = cv2.copyMakeBorder(rgb, *(pad,) * 4, cv2.BORDER_REPLICATE)
    around = cv2.copyMakeBorder(labels, *(pad,) * 4, cv2.BORDER_REPLICATE).ravel()
    rows, columns = np.divmod(band, labels.shape[1])
    here = (rows + pad) * stride + columns + pad
    steps = np.array([(dy * stride + dx) * reach for dy, dx in _RING])
    places = here + steps[:, None]
    weight = _likeness(colours, here, places)
    names, own = around[places], around[here]
    mine = names == own
    # The pixel's own label has a vote as well, with full weight.
    for_own = 1 + np.einsum('np,np->p', weight, mine)
    weight[mine] = 0
    other = names[weight.argmax(axis=0), np.arange(len(band))]
    for_other = np.einsum('np,np->p', weight, names == other)
    winner = np.where(for_other > for_own, other, own)
    return winner, np.abs(for_own - for_other) / (for_own + for_other)


def _likeness(colours: npt.NDArray[np.uint8], here: npt.NDArray[np.intp],
              places: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
    """Return the (8, p) weights of the neighbours' colours."""
    apart = np.zeros(places.shape, np.int16)
    for plane in cv2.split(colours):
        values = plane.ravel().astype(np.int16)
        apart += np.abs(values[places] - values[here])
    table = np.exp(-np.arange(766, dtype=np.float32) / (3 * _COLOUR_SPREAD))
    return table[apart]
