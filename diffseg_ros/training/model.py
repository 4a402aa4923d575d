"""The embedded model's shape: a small pixel-space U-Net on diffusers' own classes."""

from __future__ import annotations

from diffusers import DDPMScheduler, UNet2DModel

PATCH = 2
"""Side of the pixel blocks that `pixel_unshuffle` folds into channels before the U-Net."""


def create_unet() -> UNet2DModel:
    """Return the embedded model's U-Net, randomly initialised (2.8 M parameters)."""
    down = ('DownBlock2D', 'AttnDownBlock2D', 'AttnDownBlock2D')
    return UNet2DModel(
        in_channels=3 * PATCH**2, out_channels=3 * PATCH**2,
        block_out_channels=(32, 64, 128), layers_per_block=1,
        down_block_types=down,
        up_block_types=tuple(name.replace('Down', 'Up') for name in reversed(down)),
        attention_head_dim=64, norm_num_groups=32)


def create_scheduler() -> DDPMScheduler:
    """Return the noise schedule of training: cosine, 1000 steps, v-prediction."""
    return DDPMScheduler(num_train_timesteps=1000, beta_schedule='squaredcos_cap_v2',
                         prediction_type='v_prediction')
