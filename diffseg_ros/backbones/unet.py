"""One pass of a U-Net over a photo, as far as one self-attention block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import threading
from typing import Any, Protocol

from diffseg_ros.backbones.attention import AttentionCapture
from diffseg_ros.backbones.capture import (
    BlockCapture,
    feature_grid,
    grid_stride,
    last_computed,
    size_multiple,
)
from diffseg_ros.backbones.device import deterministic_kernels
from diffseg_ros.backbones.noise import FixedNoise
from diffseg_ros.backbones.preprocess import check_photo, choose_grid, photo_tensor
from diffseg_ros.backbones.whitening import whiten
from diffseg_ros.config import BackboneConfig
from diffseg_ros.errors import DiffsegError
import numpy as np
import numpy.typing as npt
import torch
from torch import nn


class ImageEncoder(Protocol):
    """Turns an image into what the U-Net works on."""

    @property
    def stride(self) -> int:
        """Pixels that one cell covers, along each side."""

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Take (1, 3, H, W) float32 in [-1, 1]; return (1, C, H / stride, W / stride) float32."""


class UnetBackbone:
    """A diffusers U-Net as a Backbone: encode, add the fixed noise, capture one block."""

    def __init__(self, name: str, unet: nn.Module, block: str, encoder: ImageEncoder,
                 noise: FixedNoise, timestep: int, device: torch.device,
                 config: BackboneConfig,
                 conditioning: Callable[[int, int], dict[str, Any]] | None = None, *,
                 attention_blocks: Sequence[str] = (),
                 whitening: torch.Tensor | None = None) -> None:
        """
        Put the loaded parts together.

        Parameters
        ----------
        name
            What reports call the model.
        unet
            With its weights, on `device`.
        block
            Name of the self-attention module whose output is the feature.
        encoder
            Turns photos into the U-Net's input.
        noise
            What is added to the input.
        timestep
            Noise level that the U-Net is told, 0 to 999.
        device
            Where the model runs.
        config
            For the number of tokens.
        conditioning
            Further arguments of the U-Net for an image of (height, width) pixels.
        attention_blocks
            Names of the self-attention modules whose maps `features_and_attention` returns.
        whitening
            (K, C) matrix that the features are whitened with, see `fit_whitening`.

        """
        self._name = name
        self._block = block
        self._device = device
        self._encoder = encoder
        self._noise = noise
        self._timestep = torch.tensor([timestep], device=device)
        self._tokens = config.tokens
        self._conditioning = conditioning
        # Measured: as fast as the default layout at 768 tokens on a CPU, faster above.
        self._layout = torch.channels_last if device.type == 'cpu' else torch.contiguous_format
        unet.to(memory_format=self._layout)
        self._capture = BlockCapture(unet, block)
        self._dtype = next(unet.parameters()).dtype
        cells = grid_stride(unet, block)
        self._stride = cells * encoder.stride
        last = last_computed(unet, block, attention_blocks)
        self._multiple = max(size_multiple(unet, last) // cells, 1)
        self._attention = (AttentionCapture(unet, block, attention_blocks)
                           if attention_blocks else None)
        self._whitening = whitening.to(device) if whitening is not None else None
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """Name of the model, for reports."""
        return self._name

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return self._device

    @property
    def block(self) -> str:
        """Name of the captured self-attention module."""
        return self._block

    @property
    def stride(self) -> int:
        """Pixels of the resized photo that one feature vector covers, along each side."""
        return self._stride

    def features(self, rgb: npt.NDArray[np.uint8]) -> torch.Tensor:
        """
        Return the feature grid of one photo, as `Backbone.features` says.

        May be called from several threads; the passes then run one after the other.

        Raises
        ------
        DiffsegError
            The photo is of another shape or type, the device is out of memory, or the
            arithmetic overflowed.

        """
        return self._observe(rgb, self._features_only)[0]

    def features_and_attention(
            self, rgb: npt.NDArray[np.uint8]) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """
        Return the feature grid of one photo and its self-attention maps, from one pass.

        As `AttentionBackbone.features_and_attention` says; threads and errors as in `features`.

        Raises
        ------
        DiffsegError
            The model was loaded without attention, or as in `features`.

        """
        if self._attention is None:
            raise DiffsegError(f'model {self._name}: loaded without attention maps; load it with '
                               'load_backbone(config, attention=True)')
        return self._observe(rgb, self._attention.run)

    def _features_only(self, *args: Any,
                       **kwargs: Any) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        return self._capture.run(*args, **kwargs), ()

    def _observe(self, rgb: npt.NDArray[np.uint8],
                 run: Callable[..., tuple[torch.Tensor, tuple[torch.Tensor, ...]]],
                 ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        check_photo(rgb)
        rows, columns = choose_grid(rgb.shape[0], rgb.shape[1], self._tokens, self._multiple)
        try:
            with self._lock, torch.inference_mode(), deterministic_kernels(self._device):
                grid, maps = self._pass(rgb, rows, columns, run)
                finite = all(bool(torch.isfinite(item).all()) for item in (grid, *maps))
        except torch.OutOfMemoryError as error:
            raise DiffsegError(f'model {self._name}: out of memory on {self._device} at '
                               f'{rows * columns} tokens; lower backbone.tokens or use '
                               'backbone.precision float16') from error
        if not finite:
            precision = str(self._dtype).removeprefix('torch.')
            remedy = 'bfloat16 or float32' if self._dtype == torch.float16 else 'float32'
            raise DiffsegError(f'model {self._name}: NaN or infinite features in {precision}; '
                               + (f'set backbone.precision to {remedy}'
                                  if self._dtype != torch.float32 else
                                  'the weights are damaged: fetch or train them again'))
        return grid.clone(), maps

    def _pass(self, rgb: npt.NDArray[np.uint8], rows: int, columns: int,
              run: Callable[..., tuple[torch.Tensor, tuple[torch.Tensor, ...]]],
              ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        height, width = rows * self._stride, columns * self._stride
        image = photo_tensor(rgb, height, width).to(self._device)
        noisy = self._noise.add(self._encoder(image)).to(self._dtype, memory_format=self._layout)
        extra = self._conditioning(height, width) if self._conditioning else {}
        output, maps = run(noisy, self._timestep, return_dict=False, **extra)
        grid = feature_grid(output, rows, columns).float()
        if self._whitening is not None:
            grid = whiten(grid, self._whitening)
        return grid.contiguous(), maps
