"""Attention maps: what the modules themselves compute, summed without ever being kept whole."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
import subprocess
import sys

from diffseg_ros.backbones import attention
from diffseg_ros.backbones.attention import add_attention, AttentionCapture, heads
from diffseg_ros.backbones.capture import grid_stride, self_attention_blocks
from diffseg_ros.errors import DiffsegError
import pytest
from tiny_pipelines import latent_unet, pixel_unet, POOLED
import torch
from torch import nn
from torch.profiler import profile, ProfilerActivity

SIZE = (16, 24)
TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
SDXL = {'cross_attention_dim': 64, 'addition_embed_type': 'text_time',
        'addition_time_embed_dim': 8, 'use_linear_projection': True,
        'projection_class_embeddings_input_dim': POOLED + 6 * 8, 'attention_head_dim': (2, 4, 4)}
UNETS = {
    'sd1': lambda: latent_unet('CCCD'),
    'sd2': lambda: latent_unet('CCCD', attention_head_dim=[2, 4, 4, 4],
                               use_linear_projection=True, upcast_attention=True),
    'sdxl': lambda: latent_unet('DCC', transformer_layers_per_block=(1, 2, 3), **SDXL),
    'ssd': lambda: latent_unet('DCC', mid_block_type='UNetMidBlock2D',
                               transformer_layers_per_block=[1, [2, 2], [4, 2]],
                               reverse_transformer_layers_per_block=[[2, 2, 4], [2, 1, 1], 1],
                               **SDXL),
    'pixel': pixel_unet,
}


def make(family: str, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, dict[str, object]]:
    """Return a random U-Net whose attention is far from even, and its further arguments."""
    torch.manual_seed(0)
    unet = UNETS[family]().eval().requires_grad_(False)
    for name in self_attention_blocks(unet):
        unet.get_submodule(name).to_q.weight.mul_(6)
        unet.get_submodule(name).to_k.weight.mul_(6)
    extra: dict[str, object] = {}
    if family != 'pixel':
        extra['encoder_hidden_states'] = torch.randn(1, 5, unet.config.cross_attention_dim,
                                                     dtype=dtype)
    if family in ('sdxl', 'ssd'):
        extra['added_cond_kwargs'] = {'text_embeds': torch.randn(1, POOLED, dtype=dtype),
                                      'time_ids': torch.ones(1, 6, dtype=dtype)}
    return unet.to(dtype), extra


def sample_for(unet: nn.Module) -> torch.Tensor:
    """Return an input of SIZE in the U-Net's arithmetic."""
    return torch.randn(1, unet.config.in_channels, *SIZE,
                       generator=torch.Generator().manual_seed(1)).to(unet.dtype)


def explicit(unet: nn.Module, extra: dict[str, object]) -> tuple[
        dict[str, torch.Tensor], dict[str, tuple[torch.Tensor, torch.Tensor]]]:
    """
    Run the U-Net whole; return each block's maps and (recomputed output, the module's own).

    The recomputed output is softmax(Q K^T / sqrt(d)) V through the module's output projection,
    with its residual where it has one.
    """
    maps, outputs = {}, {}

    def watch(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor,
              name: str) -> None:
        hidden = inputs[0]
        tokens = hidden.flatten(2).transpose(1, 2) if hidden.ndim == 4 else hidden
        if module.group_norm is not None:
            tokens = module.group_norm(tokens.transpose(1, 2)).transpose(1, 2)
        query, key = heads(module, module.to_q(tokens), module.to_k(tokens))
        weights = torch.softmax(query @ key.transpose(1, 2), dim=-1)
        value = module.to_v(tokens)[0].unflatten(1, (module.heads, -1)).transpose(0, 1).float()
        mixed = (weights @ value).transpose(0, 1).flatten(1)[None].to(hidden.dtype)
        result = module.to_out[0](mixed)
        if hidden.ndim == 4:
            result = result.transpose(1, 2).reshape(hidden.shape)
        if module.residual_connection:
            result = result + hidden
        maps[name] = weights.mean(dim=0)
        outputs[name] = result / module.rescale_output_factor, output

    handles = [unet.get_submodule(name).register_forward_hook(
        lambda module, inputs, output, name=name: watch(module, inputs, output, name))
        for name in self_attention_blocks(unet)]
    unet(sample_for(unet), 30, **extra)
    for handle in handles:
        handle.remove()
    return maps, outputs


@pytest.mark.parametrize('dtype', TOLERANCE, ids=str)
@pytest.mark.parametrize('family', UNETS)
def test_recomputed_attention_gives_the_modules_own_output(family: str,
                                                           dtype: torch.dtype) -> None:
    unet, extra = make(family, dtype)
    _, outputs = explicit(unet, extra)
    assert len(outputs) == len(self_attention_blocks(unet)) >= 4
    for recomputed, own in outputs.values():
        scale = float(own.float().abs().max())
        assert float((recomputed - own).abs().max()) <= TOLERANCE[dtype] * scale


@pytest.mark.parametrize('family', UNETS)
def test_sums_equal_the_mean_of_all_whole_maps(family: str) -> None:
    unet, extra = make(family)
    whole, _ = explicit(unet, extra)
    names = self_attention_blocks(unet)
    before = sum(len(module._forward_hooks) for module in unet.modules())
    features, maps = AttentionCapture(unet, names[1], names).run(sample_for(unet), 30, **extra)
    assert sum(len(module._forward_hooks) for module in unet.modules()) == before
    assert torch.equal(features, _output(unet, names[1], extra))
    strides = sorted({grid_stride(unet, name) for name in names})
    assert len(maps) == len(strides)
    for found, stride in zip(maps, strides, strict=True):
        height, width = SIZE[0] // stride, SIZE[1] // stride
        assert found.shape == (height, width, height, width)
        torch.testing.assert_close(found.sum(dim=(2, 3)), torch.ones(height, width))
        mean = torch.stack([whole[name] for name in names
                            if grid_stride(unet, name) == stride]).mean(dim=0)
        torch.testing.assert_close(found.flatten(0, 1).flatten(1), mean, rtol=1e-4, atol=1e-6)
        assert mean.max() > 2 / (height * width)


def _output(unet: nn.Module, name: str, extra: dict[str, object]) -> torch.Tensor:
    seen: list[torch.Tensor] = []
    handle = unet.get_submodule(name).register_forward_hook(
        lambda module, inputs, output: seen.append(output))
    unet(sample_for(unet), 30, **extra)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize('budget', [1, 30_000, 2**30])
def test_chunks_of_any_size_give_the_same(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, '_CHUNK_BYTES', {'cpu': budget})
    query, key = torch.randn(2, 3, 6 * 8, 5, generator=torch.Generator().manual_seed(2))
    total = torch.ones(6, 8, 6, 8)
    add_attention(total, query, key)
    expected = torch.softmax(query @ key.transpose(1, 2), -1).mean(0).view(6, 8, 6, 8) + 1
    torch.testing.assert_close(total, expected)


@pytest.mark.parametrize(('device', 'budget'), attention._CHUNK_BYTES.items())
def test_peak_of_one_layer_leaves_room_for_the_model(
        device: str, budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The finest layer of SD 1.5 at 512x512, with the budget of each device."""
    monkeypatch.setattr(attention, '_CHUNK_BYTES', {'cpu': budget})
    total = torch.zeros(64, 64, 64, 64)
    query, key = torch.randn(2, 8, 64 * 64, 40, generator=torch.Generator().manual_seed(3))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as measured:
        add_attention(total, query, key)
    # All buffers, and what the U-Net's own pass holds at most (docs/benchmarks.md).
    assert 0.9 * budget < peak_bytes(measured) < 250e6 - 72e6 - 154e6


def peak_bytes(measured: profile) -> int:
    """Return how much memory at most was live of that allocated while `measured` ran."""
    changes = [event for event in measured.profiler.kineto_results.events()
               if event.name() == '[memory]']
    return max(accumulate(event.nbytes()
                          for event in sorted(changes, key=lambda event: event.start_ns())))


@pytest.mark.parametrize('budget', [1, 5000, 30_000, 2**30])
def test_chunks_of_finer_grids_give_the_same(budget: int,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, '_CHUNK_BYTES', {'cpu': budget})
    query, key = torch.randn(2, 5, 6 * 8, 4, generator=torch.Generator().manual_seed(4))
    total = torch.zeros(3, 4, 3, 4)
    add_attention(total, query, key, 2)
    whole = torch.softmax(query @ key.transpose(1, 2), -1).mean(0).view(3, 2, 4, 2, 3, 2, 4, 2)
    torch.testing.assert_close(total, whole.sum(dim=(1, 3, 5, 7)) / 4)


def test_finer_maps_are_averaged_down(monkeypatch: pytest.MonkeyPatch) -> None:
    unet, extra = make('sd1')
    names = self_attention_blocks(unet)
    _, full = AttentionCapture(unet, names[0], names).run(sample_for(unet), 30, **extra)
    monkeypatch.setattr(attention, 'MAX_TOKENS', 100)
    _, small = AttentionCapture(unet, names[0], names).run(sample_for(unet), 30, **extra)
    assert [item.shape[:2] for item in small] == [(8, 12), (8, 12), (4, 6), (2, 3)]
    pooled = full[0].view(8, 2, 12, 2, 8, 2, 12, 2).sum(dim=(1, 3, 5, 7)) / 4
    torch.testing.assert_close(small[0], pooled)
    torch.testing.assert_close(small[1], full[1])


def test_threads_do_not_disturb_each_other() -> None:
    unet, extra = make('pixel')
    names = self_attention_blocks(unet)
    capture = AttentionCapture(unet, names[0], names)
    _, expected = capture.run(sample_for(unet), 30)

    def run(_number: int) -> torch.Tensor:
        with torch.no_grad():
            return capture.run(sample_for(unet), 30)[1][0]

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(run, range(8)):
            torch.testing.assert_close(found, expected[0])


def test_attention_from_other_layers_is_refused() -> None:
    unet, extra = make('sd1')
    names = self_attention_blocks(unet)
    unet.fuse_qkv_projections()
    with pytest.raises(DiffsegError, match='another way than from to_q and to_k'):
        AttentionCapture(unet, names[0], names).run(sample_for(unet), 30, **extra)
    assert not any(module._forward_hooks for module in unet.modules())


MEASURE = """
from pathlib import Path
import torch
from diffusers import UNet2DConditionModel
from diffseg_ros.benchmark.measurement import PeakMemory
from diffseg_ros.backbones.attention import AttentionCapture
from diffseg_ros.backbones.capture import self_attention_blocks
torch.set_num_threads(2)
unet = UNet2DConditionModel(block_out_channels=(64, 128, 256, 256), attention_head_dim=8,
                            cross_attention_dim=64, layers_per_block=1).eval()
unet.requires_grad_(False)
names = self_attention_blocks(unet)
capture = AttentionCapture(unet, names[0], names)
with torch.inference_mode(), PeakMemory() as memory:
    _, maps = capture.run(torch.randn(1, 4, 64, 64), 300,
                          encoder_hidden_states=torch.zeros(1, 77, 64))
assert [item.shape[0] for item in maps] == [64, 32, 16, 8] and len(names) == 10
print(memory.above_start_mb)
"""


def test_all_maps_of_512_pixels_take_little_memory() -> None:
    """The grids and heads of SD 1.5 at 512x512, with fewer layers, and channels a head."""
    root = Path(attention.__file__).parents[2]
    done = subprocess.run([sys.executable, '-c', MEASURE], cwd=root, capture_output=True,
                          text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert 67 < float(done.stdout) < 250
