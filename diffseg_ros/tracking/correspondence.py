"""Labels by likeness: which earlier tokens of the diffusion features look like each one now."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import lru_cache

from diffseg_ros.tracking.tracking_frame import FloatArray
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

_TEMPERATURE = 0.1
_NEIGHBOURS = 10
_WINDOW = 2
_WINDOW_TEMPERATURE = 0.02
_RECENT = 2
_SPARSE = 1
_SPARSE_EVERY = 8
_CYCLE_TOKENS = 1.5
_LIKE = 0.8


@dataclass(frozen=True)
class _Memory:
    """Features (C, h, w) of length 1 a token, and the (h, w, p, p) ids of each token's pixels."""

    features: torch.Tensor
    ids: npt.NDArray[np.int32]
    number: int


@dataclass(frozen=True)
class Match:
    """
    What earlier frames say of a frame's tokens.

    Attributes
    ----------
    ids
        (h * p, w * p) int32 track ids on a grid p times as fine as the tokens.
    share
        (h * p, w * p) float32: agreement of the like tokens on that id, 0 to 1.

    """

    ids: npt.NDArray[np.int32]
    share: FloatArray


class Correspondence:
    """
    Finds a frame's tokens again in an anchor, recent frames and sparse older ones.

    Each token takes the ids of its 10 most similar tokens within a radius, weighted by
    exp(cosine / 0.1). Where the latest frame agrees, the ids inside a token are those at the
    match's place there, found to a fraction of a token by a softmax over a window around the
    best match.
    Sources: DIFT (Tang et al., NeurIPS 2023) for the propagation, GeoAware-SC (Zhang et al.,
    CVPR 2024) for the window.
    """

    FINE = 4
    """Label cells along each side of a token."""

    def __init__(self) -> None:
        """Start without frames."""
        self._anchor: _Memory | None = None
        self._recent: deque[_Memory] = deque(maxlen=_RECENT)
        self._sparse: deque[_Memory] = deque(maxlen=_SPARSE)
        self._count = 0

    def clear(self) -> None:
        """Forget all frames."""
        self._anchor = None
        self._recent.clear()
        self._sparse.clear()

    def remember(self, features: torch.Tensor, ids: npt.NDArray[np.int32]) -> None:
        """
        Keep a segmented frame.

        Parameters
        ----------
        features
            (C, h, w) float32.
        ids
            (4 h, 4 w) int32 track of each label cell.

        """
        height, width = features.shape[1:]
        fine = self.FINE
        memory = _Memory(_unit(features), ids.reshape(height, fine, width, fine).swapaxes(1, 2),
                         self._count)
        if self._anchor is None or self._anchor.features.shape != memory.features.shape:
            self.clear()
            self._anchor = memory
        if self._count % _SPARSE_EVERY == 0:
            self._sparse.append(memory)
        self._recent.append(memory)
        self._count += 1

    def match(self, features: torch.Tensor, radius: float) -> Match | None:
        """
        Return the ids that earlier frames give to a frame's (C, h, w) float32 features.

        `radius` is how far, in widths of the image, a token may have moved since the last
        frames; the anchor and the sparse frames are searched as a whole. None where nothing is
        remembered of this shape.
        """
        if self._anchor is None or self._anchor.features.shape != features.shape:
            return None
        now = _unit(features)
        latest = self._recent[-1]
        near = _within(features.shape[1], features.shape[2], radius, now.device)
        frames = {memory.number: memory for memory in
                  (self._anchor, *self._sparse, *self._recent)}
        recent = {memory.number for memory in self._recent}
        known = torch.cat([memory.features.flatten(1) for memory in frames.values()], dim=1)
        scores = now.flatten(1).T @ known
        tokens = near.shape[0]
        parts = dict(zip(frames, scores.split(tokens, dim=1), strict=True))
        for number in recent:
            parts[number].masked_fill_(~near, -1.0)
        ids, share = self._vote(list(frames.values()), scores)
        fine = self._inside(latest, parts[latest.number], features.shape[1:])
        middle = self.FINE // 2
        agrees = (fine[:, :, middle, middle] == ids)[:, :, None, None]
        chosen = np.where(agrees, fine, ids[:, :, None, None])
        weight = np.broadcast_to(share[:, :, None, None], chosen.shape)
        height, width = features.shape[1] * self.FINE, features.shape[2] * self.FINE
        return Match(chosen.swapaxes(1, 2).reshape(height, width),
                     weight.swapaxes(1, 2).reshape(height, width).astype(np.float32))

    def _vote(self, frames: list[_Memory],
              scores: torch.Tensor) -> tuple[npt.NDArray[np.int32], FloatArray]:
        """
        Return (h, w) ids that most of the like tokens have, and their share.

        The share is 0 where the best match has a better one elsewhere: what comes into view is
        like something seen before without being it.
        """
        shape = frames[0].features.shape[1:]
        likeness, places = scores.topk(min(_NEIGHBOURS, scores.shape[1]), dim=1)
        best_back = scores[:, places[:, 0]].argmax(dim=0).cpu().numpy()
        sure = (_apart(best_back, shape[1]) <= _CYCLE_TOKENS) & (
            likeness[:, 0].cpu().numpy() >= _LIKE)
        weight = torch.softmax(likeness / _TEMPERATURE, dim=1).cpu().numpy()
        middle = self.FINE // 2
        known = np.concatenate([memory.ids[:, :, middle, middle].ravel() for memory in frames])
        votes = known[places.cpu().numpy()]
        same = votes[:, :, None] == votes[:, None, :]
        total = (same * weight[:, None, :]).sum(axis=2)
        best = total.argmax(axis=1)
        rows = np.arange(len(votes))
        share = np.where(sure, total[rows, best], 0)
        return votes[rows, best].reshape(shape), share.reshape(shape)

    def _inside(self, latest: _Memory, scores: torch.Tensor,
                shape: torch.Size) -> npt.NDArray[np.int32]:
        """Return (h, w, p, p) ids at the matched places of the latest frame, -1 unmatched."""
        height, width = shape
        best = scores.argmax(dim=1)
        returned = scores[:, best].argmax(dim=0).cpu().numpy()
        target = _window_mean(scores, best, height, width)
        cycle = _apart(returned, width)
        fine = self.FINE
        ticks = (np.arange(fine) + 0.5) / fine
        row = np.floor((target[:, 0, None] + ticks) * fine).astype(int)
        column = np.floor((target[:, 1, None] + ticks) * fine).astype(int)
        grid = latest.ids.swapaxes(1, 2).reshape(height * fine, width * fine)
        ids = grid[row.clip(0, height * fine - 1)[:, :, None],
                   column.clip(0, width * fine - 1)[:, None, :]]
        ids = np.where((cycle <= _CYCLE_TOKENS)[:, None, None], ids, -1)
        return ids.reshape(height, width, fine, fine).astype(np.int32)


def _unit(features: torch.Tensor) -> torch.Tensor:
    centred = features - features.mean(dim=(1, 2), keepdim=True)
    return functional.normalize(centred, dim=0)


def _apart(places: npt.NDArray[np.int64], width: int) -> npt.NDArray[np.float64]:
    """Return how many tokens lie between each of (n,) places and the token it is for."""
    rows, columns = np.divmod(places, width)
    own_rows, own_columns = np.divmod(np.arange(len(places)), width)
    return np.hypot(rows - own_rows, columns - own_columns)


@lru_cache(maxsize=4)
def _within(height: int, width: int, radius: float, device: torch.device) -> torch.Tensor:
    """Return (n, n) bool: whether two tokens lie within a radius, in widths of the image."""
    rows, columns = torch.meshgrid(torch.arange(height, device=device),
                                   torch.arange(width, device=device), indexing='ij')
    places = torch.stack([rows.flatten(), columns.flatten()], dim=1).float()
    return torch.cdist(places, places) <= max(radius * width, 1.0)


def _window_mean(scores: torch.Tensor, best: torch.Tensor, height: int,
                 width: int) -> npt.NDArray[np.float64]:
    """Return (n, 2) rows and columns of the matches, to a fraction of a token."""
    steps = torch.arange(-_WINDOW, _WINDOW + 1, device=scores.device)
    rows = (best // width)[:, None, None] + steps[None, :, None]
    columns = (best % width)[:, None, None] + steps[None, None, :]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    places = (rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)).flatten(1)
    likeness = scores.gather(1, places).masked_fill(~inside.flatten(1), -torch.inf)
    weight = torch.softmax(likeness / _WINDOW_TEMPERATURE, dim=1)
    row = (weight * (places // width)).sum(dim=1)
    column = (weight * (places % width)).sum(dim=1)
    return torch.stack([row, column], dim=1).double().cpu().numpy()
