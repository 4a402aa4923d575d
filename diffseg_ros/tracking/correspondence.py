"""Feature correspondence: which earlier tokens of the diffusion features match each one now."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

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
_LEAST_SIMILARITY = 0.8

Ids = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class _Memory:
    """Features (C, h, w) of length 1 per token, and (4 h, 4 w) ids."""

    features: torch.Tensor
    ids: Ids


class Match(NamedTuple):
    """The (4 h, 4 w) int32 ids that earlier frames suggest, and the share (0 to 1) that agrees."""

    ids: Ids
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
        self._anchor: _Memory | None = None
        self._recent: deque[_Memory] = deque(maxlen=_RECENT)
        self._sparse: deque[_Memory] = deque(maxlen=_SPARSE)
        self._count = 0

    def remember(self, features: torch.Tensor, ids: Ids) -> None:
        """Keep the (C, h, w) float32 features of a keyframe, and the ids of its label cells."""
        memory = _Memory(_normalised(features), ids)
        if self._anchor is None or self._anchor.features.shape != features.shape:
            self._recent.clear()
            self._sparse.clear()
            self._anchor = memory
        if self._count % _SPARSE_EVERY == 0:
            self._sparse.append(memory)
        self._recent.append(memory)
        self._count += 1

    def match(self, features: torch.Tensor, radius: float) -> Match | None:
        """
        Return what earlier frames suggest for a frame's (C, h, w) float32 features.

        None where nothing of this shape is remembered. Tokens moved at most `radius` widths of the
        image since the last frames; the anchor and the sparse frames are searched as a whole.
        """
        if self._anchor is None or self._anchor.features.shape != features.shape:
            return None
        now = _normalised(features)
        height, width = features.shape[1:]
        near = _within(height, width, radius, now.device)
        frames = list(dict.fromkeys((self._anchor, *self._sparse, *self._recent)))
        scores = now.flatten(1).T @ torch.cat([frame.features.flatten(1) for frame in frames], 1)
        by_frame = dict(zip(frames, scores.split(len(near), dim=1), strict=True))
        for frame in self._recent:
            by_frame[frame].masked_fill_(~near, -1.0)
        ids, share = self._vote(frames, scores)
        latest = self._recent[-1]
        fine_ids = self._sample(latest.ids, by_frame[latest], height, width)
        agrees = self._token_ids(fine_ids) == ids
        return Match(np.where(self._cells(agrees), fine_ids, self._cells(ids)),
                     self._cells(share.astype(np.float32)))

    def _cells(self, tokens: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return (h, w) values of tokens at each of their label cells."""
        return tokens.repeat(self.FINE, 0).repeat(self.FINE, 1)

    def _token_ids(self, ids: Ids) -> Ids:
        """Return the (h, w) id in the middle of each token."""
        return ids[self.FINE // 2::self.FINE, self.FINE // 2::self.FINE]

    def _vote(self, frames: list[_Memory],
              scores: torch.Tensor) -> tuple[Ids, npt.NDArray[np.float64]]:
        """
        Return (h, w) ids that most of the similar tokens have, and their share.

        It is 0 where the best match has a better one elsewhere, as for what just came into view.
        """
        shape = frames[0].features.shape[1:]
        similarity, places = scores.topk(min(_NEIGHBOURS, scores.shape[1]), dim=1)
        returned = scores[:, places[:, 0]].argmax(dim=0).cpu().numpy()
        sure = (_token_distance(returned, shape[1]) <= _CYCLE_TOKENS) & (
            similarity[:, 0].cpu().numpy() >= _LEAST_SIMILARITY)
        weight = torch.softmax(similarity / _TEMPERATURE, dim=1).cpu().numpy()
        known = np.concatenate([self._token_ids(frame.ids).ravel() for frame in frames])
        votes = known[places.cpu().numpy()]
        same = votes[:, :, None] == votes[:, None, :]
        total = (same * weight[:, None, :]).sum(axis=2)
        best = np.arange(len(votes)), total.argmax(axis=1)
        share = np.where(sure, total[best], 0)
        return votes[best].reshape(shape), share.reshape(shape)

    def _sample(self, ids: Ids, scores: torch.Tensor, height: int, width: int) -> Ids:
        """Return the (4 h, 4 w) ids at the matched places of a frame, -1 without a match."""
        best = scores.argmax(dim=1)
        returned = scores[:, best].argmax(dim=0).cpu().numpy()
        matched = _token_distance(returned, width) <= _CYCLE_TOKENS
        target = _window_mean(scores, best, height, width)
        offsets = (np.arange(self.FINE) + 0.5) / self.FINE
        rows, columns = (
            np.floor((target[:, axis, None] + offsets) * self.FINE).astype(int).clip(0, size - 1)
            for axis, size in enumerate(ids.shape))
        sampled = ids[rows[:, :, None], columns[:, None, :]]
        sampled = np.where(matched[:, None, None], sampled, np.int32(-1))
        return sampled.reshape(height, width, self.FINE, self.FINE).swapaxes(1, 2).reshape(
            ids.shape)


def _normalised(features: torch.Tensor) -> torch.Tensor:
    """Return the features less their mean over the image, of length 1."""
    return functional.normalize(features - features.mean(dim=(1, 2), keepdim=True), dim=0)


def _token_distance(places: npt.NDArray[np.int64], width: int) -> npt.NDArray[np.float64]:
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
    similarity = scores.gather(1, places).masked_fill(~inside.flatten(1), -torch.inf)
    weight = torch.softmax(similarity / _WINDOW_TEMPERATURE, dim=1)
    row = (weight * (places // width)).sum(dim=1)
    column = (weight * (places % width)).sum(dim=1)
    return torch.stack([row, column], dim=1).double().cpu().numpy()
