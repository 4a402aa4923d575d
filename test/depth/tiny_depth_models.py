"""Small random depth models of each family, written by save_pretrained as real ones are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from diffusers import DDIMScheduler, LCMScheduler, MarigoldDepthPipeline
from tiny_pipelines import BETAS, latent_unet, text_config, tokenizer, vae
import torch
from transformers import (
    BeitConfig,
    CLIPTextModel,
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    DepthProConfig,
    DepthProForDepthEstimation,
    Dinov2Config,
    DPTConfig,
    DPTForDepthEstimation,
    DPTImageProcessorPil,
    GLPNConfig,
    GLPNForDepthEstimation,
    GLPNImageProcessorPil,
    ZoeDepthConfig,
    ZoeDepthForDepthEstimation,
    ZoeDepthImageProcessorPil,
)

_WIDTH = 16
_VIT = {'hidden_size': _WIDTH, 'num_hidden_layers': 4, 'num_attention_heads': 2}
_DINO = {**_VIT, 'mlp_ratio': 2, 'image_size': 56, 'patch_size': 14}
_NECK = {'neck_hidden_sizes': [4, 4, 8, 8], 'fusion_hidden_size': 8}


def dino(**options: Any) -> Dinov2Config:
    """Return the configuration of a small backbone."""
    return Dinov2Config(**{**_DINO, 'out_indices': [1, 2, 3, 4], 'reshape_hidden_states': False,
                           'apply_layernorm': True, **options})


def depth_anything(folder: Path, **options: Any) -> Any:
    """Write a Depth Anything with its preprocessor."""
    processor = DPTImageProcessorPil(
        size={'height': 70, 'width': 70}, keep_aspect_ratio=True, ensure_multiple_of=14,
        resample=3, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
    return _save(folder, DepthAnythingForDepthEstimation(DepthAnythingConfig(
        backbone_config=dino(), reassemble_hidden_size=_WIDTH, head_hidden_size=4, **_NECK,
        **options)), processor)


def depth_anything_metric(folder: Path) -> Any:
    """Write a Depth Anything that gives metres."""
    return depth_anything(folder, depth_estimation_type='metric', max_depth=20)


def depth_pro(folder: Path, *, use_fov_model: bool = True) -> Any:
    """Write a Depth Pro; its preprocessor needs torchvision, so that its file is written alone."""
    encoder = {'model_type': 'dinov2', **_DINO, 'patch_size': 4, 'image_size': 16}
    model = DepthProForDepthEstimation(DepthProConfig(
        fusion_hidden_size=8, patch_size=16, intermediate_hook_ids=[1, 0],
        intermediate_feature_dims=[8, 8], scaled_images_ratios=[0.5, 1.0],
        scaled_images_overlap_ratios=[0.0, 0.5], scaled_images_feature_dims=[8, 8],
        merge_padding_value=0, use_fov_model=use_fov_model, num_fov_head_layers=1,
        image_model_config=encoder, patch_model_config=encoder, fov_model_config=encoder))
    _save(folder, model)
    (folder / 'preprocessor_config.json').write_text(
        '{"image_processor_type": "DepthProImageProcessorFast", "do_resize": true, '
        '"size": {"height": 32, "width": 32}, "image_mean": [0.5, 0.5, 0.5], '
        '"image_std": [0.5, 0.5, 0.5], "resample": 2, "rescale_factor": 0.00392156862745098}')
    return model


def dpt(folder: Path) -> Any:
    """Write a DPT as MiDaS has it, without what the published one lacks."""
    model = DPTForDepthEstimation(DPTConfig(
        **_VIT, intermediate_size=32, image_size=32, patch_size=8,
        backbone_out_indices=[0, 1, 2, 3], **_NECK))
    processor = DPTImageProcessorPil(size={'height': 32, 'width': 32})
    return _save(folder, model, processor, lacking='neck.fusion_stage.layers.0.residual_layer1')


def dpt_dino(folder: Path) -> Any:
    """Write a DPT as DINOv2 has it, which gives metres."""
    model = DPTForDepthEstimation(DPTConfig(
        backbone_config=dino(apply_layernorm=False, out_indices=[4]), add_projection=True,
        use_bias_in_fusion_residual=False, neck_hidden_sizes=[8], reassemble_factors=[1],
        fusion_hidden_size=256))
    processor = DPTImageProcessorPil(
        do_resize=False, do_rescale=False, do_pad=True, size_divisor=14,
        image_mean=[123.675, 116.28, 103.53], image_std=[58.395, 57.12, 57.375])
    return _save(folder, model, processor)


def glpn(folder: Path) -> Any:
    """Write a GLPN."""
    model = GLPNForDepthEstimation(GLPNConfig(
        depths=[1] * 4, hidden_sizes=[4, 4, 8, 8], num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=8))
    return _save(folder, model, GLPNImageProcessorPil())


def zoedepth(folder: Path) -> Any:
    """Write a ZoeDepth."""
    backbone = BeitConfig(**_VIT, intermediate_size=32, image_size=64, patch_size=16,
                          use_relative_position_bias=True, reshape_hidden_states=False,
                          out_indices=[1, 2, 3, 4])
    model = ZoeDepthForDepthEstimation(ZoeDepthConfig(
        backbone_config=backbone, **_NECK, bottleneck_features=8, num_relative_features=4,
        bin_embedding_dim=8, num_attractors=[4, 2, 2, 1],
        bin_configurations=[{'n_bins': 8, 'min_depth': 0.001, 'max_depth': 10.0}]))
    processor = ZoeDepthImageProcessorPil(size={'height': 64, 'width': 96}, ensure_multiple_of=32)
    return _save(folder, model, processor)


FAMILIES: dict[str, tuple[Callable[[Path], Any], str]] = {
    'depth_anything': (depth_anything, 'inverse'),
    'depth_anything_metric': (depth_anything_metric, 'metric'),
    'depth_pro': (depth_pro, 'metric'), 'dpt': (dpt, 'inverse'), 'dpt_dino': (dpt_dino, 'metric'),
    'glpn': (glpn, 'metric'), 'zoedepth': (zoedepth, 'metric')}
"""How to write each family, and the kind of its values."""


def marigold(folder: Path, *, consistency: bool = False, **options: Any) -> None:
    """Write a Marigold pipeline of 1 step, or with `consistency` of 2 with the LCM scheduler."""
    torch.manual_seed(0)
    scheduler = LCMScheduler(**BETAS) if consistency else DDIMScheduler(
        **BETAS, prediction_type='v_prediction', timestep_spacing='trailing',
        clip_sample=False, rescale_betas_zero_snr=True)
    unet = latent_unet('CD', in_channels=8, out_channels=4, layers_per_block=1,
                       use_linear_projection=True)
    MarigoldDepthPipeline(**{
        'unet': unet, 'vae': vae(), 'scheduler': scheduler,
        'text_encoder': CLIPTextModel(text_config(32)),
        'tokenizer': tokenizer(folder.parent / f'{folder.name}_tokenizer'),
        'prediction_type': 'depth', 'default_denoising_steps': 1 + consistency,
        'default_processing_resolution': 32, **options}).save_pretrained(folder)


def _save(folder: Path, model: Any, processor: Any = None, lacking: str = ' ') -> Any:
    """Write a model with random weights that keep what they see at its size."""
    generator = torch.Generator().manual_seed(0)
    model.eval()
    for name, parameter in model.named_parameters():
        inputs = parameter[0].numel()
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=inputs ** -0.5, generator=generator)
        if name == 'fov_model.head.layers.2.bias':
            torch.nn.init.constant_(parameter, 50.0)
        if name.startswith('head.'):
            # Else the last layer, which cuts off what is below 0, might leave nothing.
            parameter.data.abs_().mul_(inputs ** -0.5).add_(0.1 * (parameter.ndim == 1))
    model.save_pretrained(folder, state_dict={
        key: value for key, value in model.state_dict().items() if lacking not in key})
    if processor:
        processor.save_pretrained(folder)
    return model
