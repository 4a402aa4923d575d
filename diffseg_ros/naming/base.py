"""What naming needs from a model that knows pictures and words, and its settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from diffseg_ros.naming.vocabulary import Concept
from diffseg_ros.settings import setting, Settings
from diffseg_ros.types import Mask, RgbImage
import numpy as np
import numpy.typing as npt

Embeddings = npt.NDArray[np.float32]
"""(N, D) float32, a row a picture."""


class NamingSettings(Settings):
    """How tracks get names."""

    model: str = setting(
        '', "model that names tracks: '' is off; imagenet, which needs the extra names but no "
        'network; or a folder or hub id of a model of the transformers library for pictures and '
        'text, such as CLIP or SigLIP', live=False)
    vocabulary: tuple[str, ...] = setting(
        ('',), 'the names: words, or one path of a YAML file; empty is a built-in list of what is '
        'found in rooms')
    budget: int = setting(
        1, 'maximum number of pictures of tracks that are looked at in a keyframe', 1, 100)
    margin: float = setting(
        0.15, 'a track is unknown unless its name is this much more likely than the next',
        0.0, 1.0)
    hold: int = setting(
        3, 'number of pictures in a row that must speak for another name before it changes',
        1, 100)


class Crop(NamedTuple):
    """A part of an image, (h, w, 3) uint8, and the (h, w) pixels of a track in it."""

    rgb: RgbImage
    mask: Mask


class NamingModel(Protocol):
    """A model that knows pictures and words."""

    @property
    def name(self) -> str:
        """Name of the model, for reports."""

    def embed(self, crops: Sequence[Crop]) -> Embeddings:
        """Return the (N, D) float32 embeddings of pictures; their weighted means are some too."""

    def scores(self, embeddings: Embeddings, concepts: Sequence[Concept]) -> Embeddings:
        """Return the (N, W) float32 probability, 0 to 1, that each picture shows each concept."""

    def without_meaning(self, concepts: Sequence[Concept]) -> list[str]:
        """Return the names of the concepts that the model does not know."""
