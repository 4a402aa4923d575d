"""Registers the ImageNet classifier as a backbone; the model's libraries are loaded with it."""

from __future__ import annotations

from diffseg_ros.backbones.base import Backbone, BackboneSettings
from diffseg_ros.model_defaults import IMAGENET
from diffseg_ros.registry import register_backbone


@register_backbone(IMAGENET, kind=IMAGENET)
def create_imagenet(settings: None, config: BackboneSettings) -> Backbone:
    """Load the classifier; raise DiffsegError where its weights are missing or damaged."""
    from diffseg_ros.backbones.imagenet_features import ImagenetBackbone

    return ImagenetBackbone(config)
