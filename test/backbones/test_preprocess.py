"""Sizes, resizing, noise, devices: what happens before the U-Net."""

from __future__ import annotations

from diffseg_ros.backbones.base import BackboneSettings
from diffseg_ros.backbones.device import resolve_device, resolve_dtype
from diffseg_ros.backbones.preprocess import (
    check_image,
    choose_grid,
    FixedNoise,
    image_tensor,
    signal_share,
)
from diffseg_ros.errors import DiffsegError
from diffusers import DDPMScheduler, EulerDiscreteScheduler
from hypothesis import given, settings, strategies
import numpy as np
import pytest
import torch

CPU = torch.device('cpu')


@pytest.mark.parametrize(('size', 'tokens', 'grid'), [
    ((480, 640), 768, (24, 32)), ((480, 640), 3072, (48, 64)), ((1024, 1024), 1024, (32, 32)),
    ((640, 480), 768, (32, 24)), ((720, 1280), 576, (18, 32))])
def test_grid_of_common_sizes(size: tuple[int, int], tokens: int, grid: tuple[int, int]) -> None:
    assert choose_grid(*size, tokens) == grid


@given(strategies.integers(2, 4000), strategies.integers(2, 4000), strategies.integers(16, 16384),
       strategies.sampled_from([1, 2, 4]))
@settings(max_examples=300, deadline=None)
def test_grid_keeps_token_count_and_shape(height: int, width: int, tokens: int,
                                          multiple: int) -> None:
    h, w = choose_grid(height, width, tokens, multiple)
    assert h % multiple == 0 and w % multiple == 0 and min(h, w) >= multiple
    assert h * w <= max(2 * tokens, multiple**2 * 2)
    short = min((tokens * height / width) ** 0.5, (tokens * width / height) ** 0.5) / multiple
    if short >= 4:
        assert abs(h * w / tokens - 1) < 0.3
        assert abs(np.log(w / h * height / width)) < 0.3


def test_shrinking_averages_and_growing_interpolates() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    small = image_tensor(stripes, 16, 16)
    assert small.shape == (1, 3, 16, 16) and small.dtype == torch.float32
    assert float(small.abs().max()) < 0.01
    ramp = np.repeat(np.linspace(0, 255, 8).astype(np.uint8)[None, :, None], 8, 0).repeat(3, 2)
    tall = image_tensor(ramp, 32, 4)
    assert tall.shape == (1, 3, 32, 4) and bool((tall[0, 0].diff(dim=1) > 0).all())
    white = image_tensor(np.full((5, 7, 3), 255, np.uint8), 10, 14)
    torch.testing.assert_close(white, torch.ones_like(white))


def test_channels_stay_in_order() -> None:
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    assert image_tensor(red, 4, 4)[0, :, 0, 0].tolist() == [1.0, -1.0, -1.0]


@pytest.mark.parametrize('image', [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8),
                                   np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_other_arrays_are_refused(image: np.ndarray) -> None:
    with pytest.raises(DiffsegError, match='HxWx3 uint8 RGB is needed'):
        check_image(image)


def test_noise_is_the_schedulers() -> None:
    scheduler = DDPMScheduler(beta_schedule='squaredcos_cap_v2')
    sample = torch.randn(1, 4, 8, 8)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    noisy = [FixedNoise(dict(scheduler.config), BackboneSettings(timestep=261, seed=seed),
                        CPU).add(sample)
             for seed in (5, 6)]
    expected = scheduler.add_noise(sample, noise, torch.tensor([261]))
    torch.testing.assert_close(noisy[0], expected)
    assert not torch.equal(noisy[1], noisy[0])


def test_sampler_does_not_matter() -> None:
    betas = {'beta_start': 0.00085, 'beta_end': 0.012, 'beta_schedule': 'scaled_linear'}
    shares = [signal_share({'_class_name': type(item).__name__, **item.config}, 50)
              for item in (DDPMScheduler(**betas), EulerDiscreteScheduler(**betas))]
    assert shares[0] == shares[1] and 0.9 < shares[0] < 1


@pytest.mark.parametrize(('config', 'timestep', 'message'), [
    ({'_class_name': 'FlowMatchEulerDiscreteScheduler', 'shift': 3.0}, 50, 'no beta schedule'),
    ({'_class_name': 'EDMEulerScheduler', 'beta_schedule': 'linear'}, 50, 'no beta schedule'),
    ({'beta_schedule': 'own'}, 50, 'cannot be used'),
    ({'beta_schedule': 'linear', 'num_train_timesteps': 100}, 300, 'choose 0 to 99')])
def test_unusable_schedules_are_refused(config: dict[str, object], timestep: int,
                                        message: str) -> None:
    with pytest.raises(DiffsegError, match=message):
        signal_share(config, timestep)


def test_devices_and_precisions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert resolve_device('auto') == CPU
    with pytest.raises(DiffsegError, match="device 'cuda:1': .* sees 0 CUDA devices"):
        resolve_device('cuda:1')
    with pytest.raises(DiffsegError, match="device 'gpu': unknown; use auto, cpu"):
        resolve_device('gpu')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    assert resolve_device('auto').type == 'cuda'
    assert resolve_device('cuda:1') == torch.device('cuda:1')
    with pytest.raises(DiffsegError, match='sees 2 CUDA'):
        resolve_device('cuda:2')
    assert resolve_dtype('auto', torch.device('cuda')) == torch.float16
    assert resolve_dtype('auto', CPU) == torch.float32
    assert resolve_dtype('bfloat16', CPU) == torch.bfloat16
