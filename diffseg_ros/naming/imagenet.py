"""Names by an ImageNet classifier: a small model that needs no network, of the extra `names`."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
from diffseg_ros.backbones.efficientnet import EfficientNetLite0
from diffseg_ros.naming.base import Crop, Embeddings
from diffseg_ros.naming.imagenet_classes import classes_called
from diffseg_ros.naming.vocabulary import Concept
import numpy as np
import numpy.typing as npt
import torch

_SIDE = 224
_SURROUNDINGS = 0.1
"""Weight of a picture's pixels around the track; some of what a thing is, is told by them."""


class ImageNetModel:
    """
    EfficientNet-Lite0: a picture's embedding is what its last layer classifies.

    A concept is as likely as all of its classes together.
    """

    name = 'imagenet'

    def __init__(self, device: torch.device) -> None:
        """Load the weights; raise ModuleNotFoundError without the extra."""
        self._model = EfficientNetLite0(device)

    def embed(self, crops: Sequence[Crop]) -> Embeddings:
        """Return the (N, 1280) means of the features over the tracks' pixels."""
        return np.stack([self._embed(crop) for crop in crops])

    def _embed(self, crop: Crop) -> npt.NDArray[np.float32]:
        maps = self._model.maps(self._model.pixels(crop.rgb, _SIDE / max(crop.mask.shape)))
        head = self._model.head(maps[-1])[0].cpu().numpy()
        weight = cv2.resize(crop.mask.astype(np.float32), head.shape[:0:-1],
                            interpolation=cv2.INTER_AREA)
        weight = _SURROUNDINGS + (1 - _SURROUNDINGS) * weight
        mean: npt.NDArray[np.float32] = (head * weight).sum(axis=(1, 2)) / weight.sum()
        return mean

    def class_probabilities(self, embeddings: Embeddings) -> Embeddings:
        """Return the (N, 1000) probabilities of ImageNet's classes."""
        weight, bias = self._model.classifier
        logits = torch.from_numpy(embeddings).to(weight.device) @ weight.T + bias
        return logits.softmax(dim=1).cpu().numpy()

    def scores(self, embeddings: Embeddings, concepts: Sequence[Concept]) -> Embeddings:
        """Return the (N, W) float32 probability, 0 to 1, that each picture shows each concept."""
        members = np.zeros((1000, len(concepts)), np.float32)
        for column, concept in enumerate(concepts):
            members[_classes(concept), column] = 1
        return self.class_probabilities(embeddings) @ members

    def without_meaning(self, concepts: Sequence[Concept]) -> list[str]:
        """Return the names of the concepts that ImageNet has no class for."""
        return [concept.name for concept in concepts if not _classes(concept)]


def _classes(concept: Concept) -> list[int]:
    return classes_called(concept.classes or concept.words)
