"""A diffusers pipeline on disk: what `save_pretrained` writes and hubs hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffseg_ros.backbones.weights import (
    DIFFUSERS_STEM,
    find_weights,
    read_json,
    TRANSFORMERS_STEM,
)
from diffseg_ros.errors import DiffsegError
import torch

SUPPORTED = ('supported are U-Nets: Stable Diffusion 1.x, 2.x and XL with their Turbo and LCM '
             'versions, SSD-1B, BK-SDM, and pixel-space UNet2DModel')


@dataclass(frozen=True)
class PipelineFolder:
    """
    A folder with `model_index.json` and one subfolder per component.

    Attributes
    ----------
    classes
        Class name of each component the pipeline has, as 'unet' -> 'UNet2DConditionModel'.

    """

    path: Path
    index: dict[str, Any]
    classes: dict[str, str]

    @staticmethod
    def at(path: Path) -> PipelineFolder:
        """
        Read `model_index.json`; the components are checked when they are asked for.

        Raises
        ------
        DiffsegError
            The file is missing or damaged, or the pipeline has no U-Net.

        """
        index = read_json(path / 'model_index.json')
        classes = {name: value[1] for name, value in index.items()
                   if isinstance(value, list) and len(value) == 2 and isinstance(value[1], str)}
        folder = PipelineFolder(path, index, classes)
        if 'unet' not in classes:
            got = f'a {classes["transformer"]}' if 'transformer' in classes else 'no U-Net'
            raise DiffsegError(f'model {path}: {index.get("_class_name", "pipeline")} has {got}; '
                               f'{SUPPORTED}')
        return folder

    def config(self, component: str) -> dict[str, Any]:
        """Return the configuration of a component, its class under '_class_name'."""
        if component not in self.classes:
            raise DiffsegError(f'model {self.path}: the pipeline has no {component} but needs '
                               f'one; {SUPPORTED}')
        name = 'scheduler_config.json' if component == 'scheduler' else 'config.json'
        return {'_class_name': self.classes[component],
                **read_json(self.path / component / name)}

    def class_of(self, component: str) -> str:
        """
        Return the class that the component's own configuration names.

        It goes before `model_index.json`, so that a folder copied over (a tiny VAE in place
        of the full one) is taken for what it is.
        """
        return str(self.config(component)['_class_name'])

    def check_complete(self) -> None:
        """Raise DiffsegError unless all weights that are needed are there."""
        for component in ('unet', 'vae'):
            if component in self.classes:
                find_weights(self.path / component, DIFFUSERS_STEM, torch.float32)
        for component in ('text_encoder', 'text_encoder_2'):
            if component in self.classes:
                find_weights(self.path / component, TRANSFORMERS_STEM, torch.float32)
        for component in ('tokenizer', 'tokenizer_2'):
            if component in self.classes and not any((self.path / component).glob('*.json')):
                raise DiffsegError(f'model {self.path}: {component} is missing; fetch the whole '
                                   'model again')
        self.config('scheduler')
