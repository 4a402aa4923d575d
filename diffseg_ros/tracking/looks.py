"""
Is it the same thing? Tokens of two views matched there and back.

Source of the matches: GeoAware-SC (Zhang et al., "Telling left from right", CVPR 2024). Its
mirrored view costs another pass of the model and gave next to nothing (see studies/tracking.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from diffseg_ros.tracking.correspondence import normalised
from diffseg_ros.tracking.tracking_frame import FloatArray
import numpy as np
import numpy.typing as npt
import torch

_LARGEST = 12
_LEAST_TOKENS = 8
_HALF_WIDTH = 5
_TEMPERATURE = np.float32(0.02)
_RETURNED = 1.5


@dataclass(frozen=True, eq=False)
class Looks:
    """
    How a thing looks in one view.

    `tokens` are its (n, C) float16 features of length 1, `places` their (n, 2) float32 rows and
    columns. Of a large one every second or third token along both sides is kept, so that n is at
    most 144.
    """

    tokens: npt.NDArray[np.float16]
    places: FloatArray


def segment_looks(features: torch.Tensor, labels: npt.NDArray[np.integer],
                  count: int) -> list[Looks | None]:
    """
    Return how each segment looks, None for one of fewer than 8 tokens.

    `features` are (C, h, w), `labels` the (H, W) segments 0 to `count` - 1 of the same image.
    """
    height, width = features.shape[1:]
    rows, columns = (((np.arange(tokens) + 0.5) * pixels / tokens).astype(int)
                     for tokens, pixels in zip((height, width), labels.shape, strict=True))
    grid = normalised(features).permute(1, 2, 0).to(torch.float16).cpu().numpy()
    small = labels[np.ix_(rows, columns)]
    return [_looks(grid, np.argwhere(small == label)) for label in range(count)]


def _looks(grid: npt.NDArray[np.float16], cells: npt.NDArray[np.intp]) -> Looks | None:
    """Return the looks of some cells of an (h, w, C) grid."""
    if len(cells) < _LEAST_TOKENS:
        return None
    step = -(-int(np.ptp(cells, axis=0).max() + 1) // _LARGEST)
    kept = cells[(cells % step == 0).all(axis=1)] if step > 1 else cells
    if len(kept) < _LEAST_TOKENS:
        return None
    return Looks(grid[kept[:, 0], kept[:, 1]], (kept / step).astype(np.float32))


def similarity_there_and_back(old: Looks, new: Looks) -> float:
    """
    Return the cosine of tokens with their best match, those counting 0 that do not come back.

    A token of `old` is matched in `new`, to a fraction of a token by a softmax over a window round
    its best match; the token there is matched in `old` in the same way, and must lead to within
    1.5 tokens of where it began.
    """
    cosine = old.tokens.astype(np.float32) @ new.tokens.astype(np.float32).T
    there = _matched(cosine, new.places)
    landed = _squared_distance(there, new.places).argmin(axis=1)
    back = _matched(np.ascontiguousarray(cosine.T), old.places)[landed]
    returns = np.square(back - old.places).sum(axis=1) <= _RETURNED**2
    return float((cosine.max(axis=1) * returns).mean())


def _matched(cosine: FloatArray, places: FloatArray) -> FloatArray:
    """Return the (n, 2) places that (n, m) cosines point at, among (m, 2) places."""
    best = cosine.argmax(axis=1)
    near = (np.abs(places[None] - places[best][:, None]) <= _HALF_WIDTH).all(axis=2)
    weight = np.exp((cosine - cosine.max(axis=1, keepdims=True)) / _TEMPERATURE) * near
    matched: FloatArray = weight @ places / weight.sum(axis=1, keepdims=True)
    return matched


def _squared_distance(one: FloatArray, other: FloatArray) -> FloatArray:
    difference = one[:, None] - other[None]
    squared: FloatArray = np.square(difference).sum(axis=2)
    return squared
