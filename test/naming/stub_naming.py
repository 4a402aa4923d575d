"""Models that see colours: one to segment by, and one that knows the words for them."""

from __future__ import annotations

import threading

from diffseg_ros.naming import imagenet_classes  # noqa: F401
import numpy as np
import torch

COLOURS = 'red', 'green', 'blue'


class ColourBackbone:
    """The feature of a token is its colour."""

    name, device = 'colour', torch.device('cpu')

    def features(self, rgb):
        return torch.from_numpy(rgb[::8, ::8].copy()).permute(2, 0, 1).float() / 255 + 0.01

class ColourModel:
    """Its embedding is the mean colour of the track's pixels, 0 to 1."""

    name = 'colours'

    def __init__(self):
        self.looked = 0
        self.free = threading.Event()
        self.free.set()
        self.broken = False

    def embed(self, crops):
        self.free.wait(60)
        if self.broken:
            raise RuntimeError('the model is broken')
        self.looked += len(crops)
        return np.stack([crop.rgb[crop.mask].mean(axis=0) / 255 for crop in crops]
                        ).astype(np.float32)

    def scores(self, embeddings, concepts):
        share = embeddings / np.maximum(embeddings.sum(axis=1, keepdims=True), 1e-6)
        return np.stack([self._score(share, concept) for concept in concepts], axis=1)

    def _score(self, share, concept):
        known = [COLOURS.index(word) for word in concept.words if word in COLOURS]
        return share[:, known].sum(axis=1)

    def without_meaning(self, concepts):
        return [concept.name for concept in concepts if not set(concept.words) & set(COLOURS)]
