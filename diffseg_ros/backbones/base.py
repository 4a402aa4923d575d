"""What the pipeline needs from a model that looks at images, and the settings of all of them."""

from __future__ import annotations

from typing import Literal, Protocol, TYPE_CHECKING

from diffseg_ros.errors import DiffsegError
from diffseg_ros.settings import setting, Settings
from diffseg_ros.types import RgbImage

if TYPE_CHECKING:
    import torch


class BackboneSettings(Settings):
    """Which model looks at the image, and how."""

    model: str = setting(
        'embedded', 'embedded, a folder with a diffusers pipeline, a hub id, or the name of a '
        'registered backbone', live=False)
    allow_download: bool = setting(False, 'download a hub id that is not on this machine',
                                   live=False)
    device: str = setting('auto', 'auto, cpu, cuda or cuda:N', live=False)
    precision: Literal['auto', 'float32', 'float16', 'bfloat16'] = setting(
        'auto', 'arithmetic of the model; auto is float16 on CUDA', live=False)
    cpu_threads: int = setting(
        0, 'threads of the model on a CPU; 0 is half of the cores, which leaves room for other '
        'processes', 0, 1024, live=False)
    compile: bool = setting(
        False, 'compile the U-Net with torch.compile, which takes about a minute at the first '
        'image of each size; not with attention maps', live=False)
    block: str = setting(
        'auto', 'module whose output is the feature: auto, a self-attention layer such as '
        'down_blocks.1.attentions.0.transformer_blocks.0.attn1, or a whole block such as '
        'up_blocks.1', live=False)
    tokens: int = setting(0, 'approximate number of feature vectors per image; 0 is what suits '
                          'model and method', 0, 16384, live=False)
    timestep: int = setting(-1, 'noise level of the pass, 0 to 999; -1 is what suits model and '
                            'method', -1, 999, live=False)
    seed: int = setting(0, 'seed of the fixed noise', 0, 2**31 - 1, live=False)
    noise: Literal['auto', True, False] = setting(
        'auto', "add the timestep's noise to the image; auto is what suits model and method: "
        'DiffSeg adds none', live=False)
    ensemble: int = setting(
        1, 'number of fixed noise samples over which the features are averaged; each costs a '
        'pass', 1, 64, live=False)
    fuse: str = setting(
        '', "a second model, whose features stand beside the first one's: imagenet (of the extra "
        'names), a folder or hub id of a DINOv2 or DINOv3, or what else model takes; empty is '
        'none', live=False)
    fuse_weight: float = setting(0.5, 'weight of the second model; the first has the rest',
                                 0.0, 1.0, live=False)
    whiten: bool = setting(
        True, 'whiten the features of a model that has a whitening matrix, as the embedded one '
        'does; DiffCut does not', live=False)


class Backbone(Protocol):
    """
    A model that turns an image into a grid of feature vectors.

    Any class with these members is one. Registered with `register_backbone('my_model')`, it is
    made as `MyModel(own_settings, backbone_settings)` where `backbone.model` is `my_model`; its
    own settings, `backbone.my_model.*`, are None where it declares none.

    The segmentation method diffseg needs a further method, `features_and_attention(rgb)`. It
    returns the features and, for each resolution of the model, finest first, a (h, w, h, w)
    float32 tensor: the mean over heads and layers of the probabilities with which the first token
    attends to the second.

    Where it has an attribute `kind`, settings that are left open are those that suit that kind of
    model (see `diffseg_ros.model_defaults`), else those of 'other'.
    """

    @property
    def name(self) -> str:
        """Name of the model, for reports."""

    @property
    def device(self) -> torch.device:
        """Where the model runs."""

    def features(self, rgb: RgbImage) -> torch.Tensor:
        """
        Return the feature grid of an image of any size.

        Returns
        -------
        torch.Tensor
            (C, h, w) float32 on `device`, in the image's aspect ratio, not normalised. The
            same image gives the same tensor every time.

        """


def observe(backbone: Backbone, rgb: RgbImage, *,
            attention: bool) -> tuple[torch.Tensor, tuple[torch.Tensor, ...] | None]:
    """
    Return the features of an image and, if `attention` is set, its attention maps, else None.

    Raises
    ------
    DiffsegError
        The backbone has no attention maps, or the image cannot be used.

    """
    if not attention:
        return backbone.features(rgb), None
    if not hasattr(backbone, 'features_and_attention'):
        raise DiffsegError(f'model {backbone.name}: it has no attention maps; choose '
                           'segmentation.method regions, or diffcut with '
                           'segmentation.cut.attention 0')
    found: tuple[torch.Tensor, tuple[torch.Tensor, ...]] = backbone.features_and_attention(rgb)
    return found
