"""Names by a model of the transformers library for pictures and text, such as CLIP or SigLIP."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
from diffseg_ros.backbones.transformers_model import load_transformers_model
from diffseg_ros.error_text import describe_error
from diffseg_ros.errors import DiffsegError
from diffseg_ros.naming.base import Crop, Embeddings
from diffseg_ros.naming.vocabulary import Concept
from diffseg_ros.types import RgbImage
import numpy as np
import torch

_SURROUNDINGS = 0.5
"""Contrast of what is around the track, so that the picture is of the track."""
_GREY = 127.0
_SOFT_BORDER = 2.0
_NOTHING = Concept(name='nothing', synonyms=('object', 'things', 'stuff', 'texture'),
                   templates=('{}',))
"""What fits everything: a picture that no concept fits better is unknown (Kerr et al., "LERF",
ICCV 2023)."""


class PictureTextModel:
    """A model with embeddings of pictures and of text in one space, (D,) of length 1."""

    def __init__(self, name: str, folder: Path, device: torch.device, dtype: torch.dtype) -> None:
        """
        Load a folder that `save_pretrained` wrote.

        Raises
        ------
        DiffsegError
            The folder lacks something, is damaged or holds another kind of model.

        """
        from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

        source: dict[str, Any] = {'pretrained_model_name_or_path': folder,
                                  'local_files_only': True}
        self._model: Any = load_transformers_model(AutoModel, folder, dtype, use_safetensors=True,
                                                   **source)
        if not hasattr(self._model, 'get_text_features'):
            raise DiffsegError(f'naming model {name}: a {type(self._model).__name__} has no '
                               'embeddings of text; give a model such as CLIP or SigLIP')
        try:
            self._pixels: Any = AutoImageProcessor.from_pretrained(**source)
            self._tokens: Any = AutoTokenizer.from_pretrained(**source)
        except Exception as error:  # transformers raises its own, and those of what it calls
            raise DiffsegError(f'model folder {folder}: cannot be loaded '
                               f'({describe_error(error).splitlines()[0]}); download it '
                               'again') from error
        self._model.requires_grad_(False).to(device)
        self.name = name
        self._device = device
        # SigLIP was trained on sentences of one length.
        siglip = str(self._model.config.model_type).startswith('siglip')
        self._padding = 'max_length' if siglip else 'longest'
        self._length = self._model.config.text_config.max_position_embeddings
        self._texts: dict[tuple[str, ...], Embeddings] = {}

    def embed(self, crops: Sequence[Crop]) -> Embeddings:
        """Return the (N, D) embeddings of the tracks, each before dimmed surroundings."""
        pictures = [_before_grey(crop) for crop in crops]
        inputs = self._pixels(images=pictures, return_tensors='pt')
        return self._normalised(self._model.get_image_features, inputs)

    def embed_text(self, sentences: Sequence[str]) -> Embeddings:
        """Return the (N, D) embeddings of sentences."""
        inputs = self._tokens(list(sentences), padding=self._padding, truncation=True,
                              max_length=self._length, return_tensors='pt')
        return self._normalised(self._model.get_text_features, inputs)

    def logits(self, embeddings: Embeddings, text: Embeddings) -> Embeddings:
        """Return the (N, W) logits that the model itself gives pictures and sentences."""
        bias = getattr(self._model, 'logit_bias', None)
        scale = float(self._model.logit_scale.float().exp())
        return embeddings @ text.T * np.float32(scale) + np.float32(0 if bias is None else bias)

    def scores(self, embeddings: Embeddings, concepts: Sequence[Concept]) -> Embeddings:
        """Return the (N, W) float32 probability, 0 to 1, that each picture shows each concept."""
        lengths = np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
        logits = np.stack([self.logits(embeddings / lengths, self._text(concept)).max(axis=1)
                           for concept in (*concepts, _NOTHING)], axis=1)
        found: Embeddings = torch.from_numpy(logits).softmax(dim=1).numpy()[:, :-1]
        return found

    def without_meaning(self, concepts: Sequence[Concept]) -> list[str]:
        """Return nothing: every word has an embedding."""
        return []

    def _text(self, concept: Concept) -> Embeddings:
        """Return the (S, D) embeddings of the words of a concept, means over the templates."""
        key = (*concept.templates, '', *concept.words)
        if key not in self._texts:
            words = [np.mean(self.embed_text([template.format(word)
                                              for template in concept.templates]), axis=0)
                     for word in concept.words]
            self._texts[key] = np.stack([word / np.linalg.norm(word) for word in words])
        return self._texts[key]

    def _normalised(self, embed: Any, inputs: Any) -> Embeddings:
        inputs = {key: value.to(self._device, self._model.dtype)
                  if value.is_floating_point() else value.to(self._device)
                  for key, value in inputs.items()}
        with torch.inference_mode():
            found = embed(**inputs).pooler_output.float()
            return np.asarray((found / found.norm(dim=1, keepdim=True)).cpu())


def _before_grey(crop: Crop) -> RgbImage:
    """Return a crop in which the contrast of what is around the track is less."""
    mask = cv2.GaussianBlur(crop.mask.astype(np.float32), (0, 0), _SOFT_BORDER)[..., None]
    weight = _SURROUNDINGS + (1 - _SURROUNDINGS) * mask
    return (crop.rgb * weight + _GREY * (1 - weight)).astype(np.uint8)
