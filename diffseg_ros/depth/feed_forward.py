"""
Depth in one pass: the depth models of the transformers library.

Sources: Yang et al., "Depth Anything V2", NeurIPS 2024; Bochkovskii et al., "Depth Pro", ICLR
2025; Ranftl et al., "Vision transformers for dense prediction" (DPT), ICCV 2021; Kim et al.,
"Global-local path networks" (GLPN), 2022; Bhat et al., "ZoeDepth", 2023.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffseg_ros.backbones.checkpoints import (
    check_weights,
    find_weights,
    read_json,
    TRANSFORMERS_STEM,
)
from diffseg_ros.backbones.preprocess import check_image
from diffseg_ros.backbones.transformers_model import load_transformers_model
from diffseg_ros.depth.base import DepthKind
from diffseg_ros.depth.inference import reproducible_inference
from diffseg_ros.depth.preprocessing import Preprocessing
from diffseg_ros.errors import DiffsegError
from diffseg_ros.types import RgbImage
import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModelForDepthEstimation

FAMILIES = 'depth_anything', 'depth_pro', 'dpt', 'glpn', 'zoedepth'
"""`model_type` in config.json. Prompt Depth Anything wants a sensor's depth beside the image, and
CHMv2 predicts the height of trees."""

_NEVER_COMPUTED = 'fusion_stage.layers.0.residual_layer1.'
"""Weights that published DPT models lack: their first layer has nothing to add."""
_FARTHEST = 1e4
"""Metres at which Depth Pro's values end."""


class FeedForwardDepth:
    """A depth model of transformers; `kind` is told by its family and configuration."""

    def __init__(self, name: str, folder: Path, device: torch.device, dtype: torch.dtype) -> None:
        """
        Load a folder that `save_pretrained` wrote, of one of the FAMILIES.

        Raises
        ------
        DiffsegError
            The folder lacks something or is damaged.

        """
        config = read_json(folder / 'config.json')
        if config.get('backbone') and not config.get('backbone_config'):
            # transformers would ask the hub for it.
            raise DiffsegError(f'depth model {name}: config.json only names its backbone, '
                               f'{config["backbone"]}, and has no backbone_config; give a model '
                               'whose config.json is complete')
        files, variant = find_weights(folder, TRANSFORMERS_STEM, dtype)
        check_weights(files)
        self._model: Any = load_transformers_model(
            AutoModelForDepthEstimation, folder, dtype, never_computed=_NEVER_COMPUTED,
            pretrained_model_name_or_path=folder, variant=variant, use_safetensors=True,
            local_files_only=True)
        self._model.requires_grad_(False).to(device)
        self._device, self._dtype = device, dtype
        self._preprocessing = Preprocessing(folder, self._model.config.model_type)
        self.name, self.kind = name, _kind(self._model.config)

    def predict(self, rgb: RgbImage) -> npt.NDArray[np.float32]:
        """
        Return (H, W) float32 values, as `DepthModel.predict` says.

        Raises DiffsegError where the array is no image, the device is out of memory, or the model
        gives nothing finite.
        """
        check_image(rgb)
        height, width = rgb.shape[:2]
        with reproducible_inference(self.name, self._device):
            found = self._model(self._preprocessing.tensor(rgb).to(self._device, self._dtype))
            values = found.predicted_depth[0].float()
            angle = getattr(found, 'field_of_view', None)
            if angle is not None:
                # Depth Pro gives 1 / metres of a camera whose focal length is its width.
                values = values * (2 * torch.tan(torch.deg2rad(angle.float()) / 2))
            result = self._preprocessing.restore(values, height, width)
        if angle is not None:
            result = np.reciprocal(np.maximum(result, np.float32(1 / _FARTHEST)))
        if self.kind == DepthKind.METRIC:
            result[~((result > 0) & (result < _FARTHEST))] = np.nan
        result[~np.isfinite(result)] = np.nan
        if np.isnan(result).all():
            raise DiffsegError(f'depth model {self.name}: no pixel with depth, in '
                               f'{str(self._dtype).removeprefix("torch.")}; set '
                               'backbone.precision to float32, or download the model again')
        return result


def _kind(config: Any) -> DepthKind:
    """
    Return what the values of a model are.

    Those of DPT are inverse depth as its authors trained it (MiDaS), and metres in the DPT heads
    of DINOv2, which alone have a projection. Depth Pro without its field of view lacks the focal
    length, and so the scale.
    """
    metric = {'depth_anything': getattr(config, 'depth_estimation_type', None) == 'metric',
              'depth_pro': getattr(config, 'use_fov_model', False),
              'dpt': getattr(config, 'add_projection', False), 'glpn': True, 'zoedepth': True}
    return DepthKind.METRIC if metric[config.model_type] else DepthKind.INVERSE
