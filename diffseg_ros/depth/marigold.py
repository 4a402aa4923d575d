"""
Depth by a diffusion model: the Marigold pipelines of diffusers.

A U-Net of Stable Diffusion 2, fine-tuned to denoise a depth image beside the latent of the colour
image. Source: Ke et al., "Repurposing diffusion-based image generators for monocular depth
estimation", CVPR 2024.
"""

from __future__ import annotations

import math
from pathlib import Path
import threading
from typing import Any

from diffseg_ros.backbones.checkpoints import create_empty, PipelineFolder, read_json
from diffseg_ros.backbones.latent import embed_empty_prompt, VAES
from diffseg_ros.backbones.preprocess import check_image, image_tensor
from diffseg_ros.depth.base import DepthKind
from diffseg_ros.depth.inference import reproducible_inference
from diffseg_ros.errors import DiffsegError
from diffseg_ros.types import RgbImage
from diffusers import DDIMScheduler, LCMScheduler, MarigoldDepthPipeline, UNet2DConditionModel
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

_KINDS = {'depth': DepthKind.AFFINE, 'disparity': DepthKind.INVERSE}
_SCHEDULERS = {'DDIMScheduler': DDIMScheduler, 'LCMScheduler': LCMScheduler}
_SIDE = 768
"""Pixels of the longer side where the pipeline says none: what Stable Diffusion 2 was made for."""
_SEED = 0


class MarigoldDepth:
    """
    A Marigold pipeline; its values, 0 to 1, become metres by a scale and a shift.

    The pipelines say whether scale or shift are known (`scale_invariant`, `shift_invariant`), but
    not the metres of 1, and so both are taken as unknown. `steps` are the denoising steps of the
    next image, 0 for what the pipeline says.
    """

    def __init__(self, name: str, folder: Path, device: torch.device, dtype: torch.dtype,
                 steps: int = 0) -> None:
        """
        Load a folder that `MarigoldDepthPipeline.save_pretrained` wrote.

        Raises
        ------
        DiffsegError
            The folder lacks something, is damaged or says what no such pipeline does.

        """
        index = read_json(folder / 'model_index.json')
        values = index.get('prediction_type', 'depth')
        if values not in _KINDS:
            raise DiffsegError(f'depth model {name}: prediction_type {values!r} in '
                               f'model_index.json; supported are {" and ".join(_KINDS)}')
        self.name, self.kind, self.steps = name, _KINDS[values], steps
        self._default_steps = index.get('default_denoising_steps')
        self._side = index.get('default_processing_resolution') or _SIDE
        for key, number in (('default_denoising_steps', self._default_steps or 1),
                            ('default_processing_resolution', self._side)):
            if type(number) is not int or number < 1:
                raise DiffsegError(f'depth model {name}: {key} {number!r} in model_index.json; a '
                                   'positive whole number is needed; download it again')
        self._device, self._dtype = device, dtype
        self._pipeline: Any = _pipeline(name, PipelineFolder(folder), device, dtype)
        self._lock = threading.Lock()

    def predict(self, rgb: RgbImage) -> npt.NDArray[np.float32]:
        """
        Return (H, W) float32 values, 0 to 1, as `DepthModel.predict` says.

        Raises DiffsegError where the array is no image, the steps are not known, the device is out
        of memory, or the arithmetic overflowed.
        """
        check_image(rgb)
        steps = self.steps or self._default_steps
        if not steps:
            raise DiffsegError(f'depth model {self.name}: its model_index.json has no '
                               'default_denoising_steps; set depth.steps, to 1 to 4 for a '
                               'consistency model, else to 10 or more')
        size = (_scaled(side, max(rgb.shape[:2]), self._side) for side in rgb.shape[:2])
        # Noise from the CPU is the same on all devices.
        noise = torch.Generator('cpu').manual_seed(_SEED)
        try:
            with self._lock, reproducible_inference(self.name, self._device):
                image = (image_tensor(rgb, *size) + 1) / 2
                small = self._pipeline(
                    image.clamp(0, 1).to(self._device, self._dtype), steps, generator=noise,
                    processing_resolution=0, match_input_resolution=False,
                    output_type='pt').prediction
                found = functional.interpolate(small.float(), rgb.shape[:2], mode='bilinear')
                values: npt.NDArray[np.float32] = found[0, 0].cpu().numpy().copy()
        except ValueError as error:  # a scheduler that cannot take so many steps
            raise DiffsegError(f'depth model {self.name}: {steps} denoising steps are not to be '
                               f'had ({error}); set depth.steps to fewer, or to 0') from error
        if not np.isfinite(values).all():
            raise DiffsegError(f'depth model {self.name}: NaN or infinite depth in '
                               f'{str(self._dtype).removeprefix("torch.")}; set '
                               'backbone.precision to float32, or download the model again')
        return values


def _scaled(side: int, longest: int, wanted: int) -> int:
    """Return the pixels of a side where the longest has `wanted`: at least 1."""
    return max(1, math.floor(side * wanted / longest))


def _pipeline(name: str, folder: PipelineFolder, device: torch.device,
              dtype: torch.dtype) -> MarigoldDepthPipeline:
    """Return the pipeline without its text encoder, whose one output it keeps."""
    unet = create_empty(UNet2DConditionModel, folder.config('unet'), folder.path / 'unet')
    config = folder.config('vae')
    kind = VAES.get(config['_class_name'])
    if kind is None:
        raise DiffsegError(f'depth model {name}: vae is a {config["_class_name"]}; supported are '
                           f'{", ".join(VAES)}')
    vae: Any = create_empty(kind, config, folder.path / 'vae')
    channels = vae.config.latent_channels
    if (unet.config.in_channels, unet.config.out_channels) != (2 * channels, channels):
        raise DiffsegError(f'depth model {name}: its U-Net takes {unet.config.in_channels} '
                           f'channels and gives {unet.config.out_channels}; {2 * channels} and '
                           f'{channels} are needed beside its VAE; download it again')
    prompt, _ = embed_empty_prompt(folder, sdxl=False)
    if prompt.shape[-1] != unet.config.cross_attention_dim:
        raise DiffsegError(f'depth model {name}: its text encoder gives {prompt.shape[-1]} '
                           f'channels, its U-Net takes {unet.config.cross_attention_dim}; they '
                           'belong to different models: download it again')
    scheduler = _scheduler(name, folder)
    folder.load_weights('unet', unet, device, dtype)
    folder.load_weights('vae', vae, device, dtype)
    pipeline = MarigoldDepthPipeline(unet, vae, scheduler, None, None, 'depth')
    # The pipeline does not pad its prompt: begin and end. What follows does not change these.
    pipeline.empty_text_embedding = prompt[:, :2]
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _scheduler(name: str, folder: PipelineFolder) -> DDIMScheduler | LCMScheduler:
    config = folder.config('scheduler')
    kind = _SCHEDULERS.get(config['_class_name'])
    if kind is None:
        raise DiffsegError(f'depth model {name}: its scheduler is a {config["_class_name"]}; '
                           f'supported are {" and ".join(_SCHEDULERS)}')
    try:
        return kind.from_config(config)
    except (TypeError, ValueError, NotImplementedError, RuntimeError) as error:
        raise DiffsegError(f'depth model {name}: its scheduler cannot be used ({error}); restore '
                           'scheduler_config.json from its source') from error
