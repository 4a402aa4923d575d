"""Small randomly initialised vision transformers of the families that are supported, on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
)

CHANNELS = 32
_SIZES = {'hidden_size': CHANNELS, 'num_hidden_layers': 2, 'num_attention_heads': 4}
_OLD = {**_SIZES, 'image_size': 70, 'patch_size': 14, 'mlp_ratio': 2}

FAMILIES: dict[str, tuple[Any, Any]] = {
    'dinov2': (Dinov2Model, Dinov2Config(**_OLD)),
    'dinov2_with_registers': (Dinov2WithRegistersModel,
                              Dinov2WithRegistersConfig(**_OLD, num_register_tokens=4)),
    'dinov3_vit': (DINOv3ViTModel, DINOv3ViTConfig(
        **_SIZES, intermediate_size=2 * CHANNELS, patch_size=16, num_register_tokens=4))}
"""Class and configuration by the family's name in config.json."""


def save_tiny(folder: Path, family: str = 'dinov2', **options: Any) -> Any:
    """Write a random model of a family and return it."""
    kind, config = FAMILIES[family]
    torch.manual_seed(0)
    model = kind(config).eval()
    # As they start, layers change next to nothing.
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder, **options)
    return model
