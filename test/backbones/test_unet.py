"""One pass as far as some blocks: the right tensors, nothing after them, nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
import copy
from functools import partial
from itertools import accumulate
from pathlib import Path
import subprocess
import sys

from diffseg_ros.backbones import unet as module_under_test
from diffseg_ros.backbones.unet import (
    add_attention,
    block_channels,
    choose_block,
    compile_to_block,
    feature_grid,
    grid_stride,
    heads,
    run_to_block,
    self_attention_blocks,
    size_multiple,
    trim_unet,
    whole_blocks,
)
from diffseg_ros.errors import DiffsegError
import pytest
from tiny_pipelines import latent_unet, pixel_unet, POOLED
import torch
from torch import nn
from torch.profiler import profile, ProfilerActivity

SIZE = (16, 24)
SAMPLE = torch.randn(1, 12, *SIZE, generator=torch.Generator().manual_seed(1))
FIRST = 'down_blocks.1.attentions.0'
TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
SDXL = {'cross_attention_dim': 64, 'addition_embed_type': 'text_time',
        'addition_time_embed_dim': 8, 'use_linear_projection': True,
        'projection_class_embeddings_input_dim': POOLED + 6 * 8, 'attention_head_dim': (2, 4, 4)}
UNETS: dict[str, Callable[[], nn.Module]] = {
    'sd1': lambda: latent_unet('CCCD'),
    'sd2': lambda: latent_unet('CCCD', attention_head_dim=[2, 4, 4, 4],
                               use_linear_projection=True, upcast_attention=True),
    'sdxl': lambda: latent_unet('DCC', transformer_layers_per_block=(1, 2, 3), **SDXL),
    'ssd': lambda: latent_unet('DCC', mid_block_type='UNetMidBlock2D',
                               transformer_layers_per_block=[1, [2, 2], [4, 2]],
                               reverse_transformer_layers_per_block=[[2, 2, 4], [2, 1, 1], 1],
                               **SDXL),
    'bk_tiny': lambda: latent_unet('CCC', layers_per_block=1, mid_block_type=None),
    'pixel': pixel_unet,
}


@pytest.fixture()
def unet() -> nn.Module:
    """Return a small pixel-space U-Net with fixed random weights."""
    torch.manual_seed(0)
    return pixel_unet().eval().requires_grad_(False)


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


def hooks(model: nn.Module) -> int:
    """Count the forward hooks on all modules."""
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks)
               for module in model.modules())


@pytest.mark.parametrize('block', [FIRST, 'down_blocks.2.attentions.0', 'mid_block.attentions.0',
                                   'up_blocks.0.attentions.1'])
def test_output_equals_uninterrupted_pass_and_later_blocks_are_skipped(
        unet: nn.Module, block: str) -> None:
    outputs: dict[str, torch.Tensor] = {}
    names = self_attention_blocks(unet)
    for name in names:
        unet.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: outputs.__setitem__(name, output))
    unet(SAMPLE, 30)
    assert names == list(outputs) and names[0] == FIRST
    expected = outputs[block]
    outputs.clear()
    before = hooks(unet)
    output, maps = run_to_block(unet, block, (), SAMPLE, 30)
    assert torch.equal(output, expected) and maps == ()
    assert list(outputs) == names[:names.index(block) + 1] and hooks(unet) == before
    rows, columns = (side // grid_stride(unet, block) for side in SIZE)
    assert feature_grid(output, rows, columns).shape[1:] == (rows, columns)


@pytest.mark.parametrize('block', [FIRST, 'mid_block.attentions.0', 'up_blocks.1.attentions.0'])
def test_trimming_changes_nothing(unet: nn.Module, block: str) -> None:
    expected, _ = run_to_block(unet, block, (), SAMPLE, 30)
    before = sum(value.numel() for value in unet.parameters())
    assert trim_unet(unet, block, attention=False) == []
    assert sum(value.numel() for value in unet.parameters()) < before
    assert torch.equal(run_to_block(unet, block, (), SAMPLE, 30)[0], expected)


@pytest.mark.parametrize('family', UNETS)
def test_whole_blocks_equal_an_uninterrupted_pass(family: str) -> None:
    unet, extra = make(family)
    sample, names = sample_for(unet), whole_blocks(unet)
    outputs: dict[str, torch.Tensor] = {}
    handles = [unet.get_submodule(name).register_forward_hook(
        lambda module, inputs, output, name=name: outputs.__setitem__(
            name, output[0] if isinstance(output, tuple) else output)) for name in names]
    unet(sample, 30, **extra)
    for handle in handles:
        handle.remove()
    assert names == list(outputs) and 'up_blocks.1' in names
    for name in names:
        trimmed = copy.deepcopy(unet)
        trim_unet(trimmed, name, attention=False)
        assert len(trimmed.state_dict()) < len(unet.state_dict())
        for model in unet, trimmed:
            output, _ = run_to_block(model, name, (), sample, 30, **extra)
            assert torch.equal(output, outputs[name]) and hooks(model) == 0
            rows, columns = (side // grid_stride(model, name) for side in SIZE)
            assert feature_grid(output, rows, columns).shape \
                == (block_channels(model, name), rows, columns)
            assert size_multiple(model, [name]) % grid_stride(model, name) == 0


def test_attention_comes_with_a_whole_block() -> None:
    unet, extra = make('sd1')
    names = self_attention_blocks(unet)
    expected = run_to_block(unet, names[0], names, sample_for(unet), 30, **extra)[1]
    output, maps = run_to_block(unet, 'up_blocks.1', names, sample_for(unet), 30, **extra)
    assert output.shape[2:] == tuple(side // 2 for side in SIZE)
    torch.testing.assert_close(maps, expected)


@pytest.mark.parametrize(('family', 'block'), [
    ('sd1', 'up_blocks.1'), ('sdxl', 'auto'), ('bk_tiny', 'down_blocks.1'), ('pixel', 'auto')])
def test_compiled_pass_is_one_graph_and_stops_at_the_block(
        family: str, block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs: list[torch.fx.GraphModule] = []
    monkeypatch.setattr(torch, 'compile', partial(torch.compile, backend=lambda graph, inputs: (
        graphs.append(graph), graph.forward)[1]))
    unet, extra = make(family)
    block, sample = choose_block(unet, block), sample_for(unet)
    expected, _ = run_to_block(unet, block, (), sample, 30, **extra)
    trim_unet(unet, block, attention=False)
    compiled = compile_to_block(unet, block)
    with torch.inference_mode():
        assert torch.equal(compiled(sample, 30, **extra), expected) and len(graphs) == 1
        with ThreadPoolExecutor(1) as pool:
            again = pool.submit(torch.inference_mode()(compiled), sample, 30, **extra).result()
    assert torch.equal(again, expected) and len(graphs) == 1


def test_failures_leave_no_hook(unet: nn.Module) -> None:
    with pytest.raises(RuntimeError, match='channels'):
        run_to_block(unet, FIRST, (), SAMPLE[:, :5], 30)
    unet.spare = nn.Identity()
    with pytest.raises(DiffsegError, match='spare: not computed by this U-Net'):
        run_to_block(unet, 'spare', (), SAMPLE, 30)
    latent, extra = make('sd1')
    names = self_attention_blocks(latent)
    latent.fuse_qkv_projections()
    with pytest.raises(DiffsegError, match='does not compute its attention from to_q and to_k'):
        run_to_block(latent, names[0], names, sample_for(latent), 30, **extra)
    assert hooks(unet) == hooks(latent) == 0


def test_threads_on_one_unet_do_not_disturb_each_other(unet: nn.Module) -> None:
    names = self_attention_blocks(unet)
    jobs = [(FIRST, ()), ('mid_block.attentions.0', ()), (FIRST, names)] * 5
    expected = [run_to_block(unet, *job, SAMPLE, 30) for job in jobs]

    def run(job: tuple[str, list[str]]) -> tuple[torch.Tensor, ...]:
        with torch.no_grad():
            output, maps = run_to_block(unet, *job, SAMPLE, 30)
        return output, *maps

    with ThreadPoolExecutor(4) as pool:
        for (output, maps), found in zip(expected, pool.map(run, jobs), strict=True):
            torch.testing.assert_close(found, (output, *maps))
    assert hooks(unet) == 0


def test_automatic_choice(unet: nn.Module) -> None:
    assert choose_block(unet, 'auto', first_level=True) == FIRST
    assert choose_block(unet, 'auto') == 'down_blocks.2.attentions.0'
    plain = {'down_block_types': ('DownBlock2D',) * 3, 'up_block_types': ('UpBlock2D',) * 3}
    assert choose_block(pixel_unet(**plain), 'auto') == 'mid_block.attentions.0'
    with pytest.raises(DiffsegError, match='no self-attention'):
        choose_block(pixel_unet(**plain, add_attention=False), 'auto')


@pytest.mark.parametrize('levels', ['CCCD', 'DCC', 'CCC'])
def test_strides_agree_with_what_is_computed(levels: str) -> None:
    model = latent_unet(levels, layers_per_block=1).eval()
    sample, text = torch.zeros(1, 4, 32, 32), torch.zeros(1, 3, 32)
    for block in self_attention_blocks(model):
        output, _ = run_to_block(model, block, (), sample, 50, encoder_hidden_states=text)
        assert output.shape[1] == (32 // grid_stride(model, block))**2
        assert size_multiple(model, [block]) % grid_stride(model, block) == 0


def test_grid_keeps_rows_and_columns() -> None:
    tokens = torch.arange(12.0).reshape(1, 6, 2)
    grid = feature_grid(tokens, 2, 3)
    assert grid.shape == (2, 2, 3) and torch.equal(grid[0, 1], torch.tensor([6.0, 8.0, 10.0]))
    with pytest.raises(DiffsegError, match='a grid of 4x3 was expected'):
        feature_grid(tokens, 4, 3)


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
    whole, outputs = explicit(unet, extra)
    names = self_attention_blocks(unet)
    features, maps = run_to_block(unet, names[1], names, sample_for(unet), 30, **extra)
    assert hooks(unet) == 0 and torch.equal(features, outputs[names[1]][1])
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


@pytest.mark.parametrize('factor', [1, 2])
@pytest.mark.parametrize('budget', [1, 5000, 30_000, 2**30])
def test_chunks_of_any_size_give_the_same(budget: int, factor: int,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_under_test, '_CHUNK_BYTES', {'cpu': budget})
    query, key = torch.randn(2, 5, 6 * 8, 4, generator=torch.Generator().manual_seed(4))
    rows, columns = 6 // factor, 8 // factor
    total = torch.ones(rows, columns, rows, columns)
    add_attention(total, query, key, factor)
    whole = torch.softmax(query @ key.transpose(1, 2), -1).mean(0)
    blocks = whole.view(rows, factor, columns, factor, rows, factor, columns, factor)
    torch.testing.assert_close(total, blocks.sum(dim=(1, 3, 5, 7)) / factor**2 + 1)


@pytest.mark.parametrize(('device', 'budget'), module_under_test._CHUNK_BYTES.items())
def test_peak_of_one_layer_leaves_room_for_the_model(
        device: str, budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The finest layer of SD 1.5 at 384x384, with the budget of each device."""
    monkeypatch.setattr(module_under_test, '_CHUNK_BYTES', {'cpu': budget})
    total = torch.zeros(64, 64, 64, 64)
    query, key = torch.randn(2, 8, 64 * 64, 40, generator=torch.Generator().manual_seed(3))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as measured:
        add_attention(total, query, key)
    changes = sorted((event for event in measured.profiler.kineto_results.events()
                      if event.name() == '[memory]'), key=lambda event: event.start_ns())
    peak = max(accumulate(event.nbytes() for event in changes))
    # All buffers, and what the U-Net's own pass holds at most (docs/benchmarks.md).
    assert 0.9 * budget < peak < 250e6 - 72e6 - 154e6


def test_finer_maps_are_averaged_down(monkeypatch: pytest.MonkeyPatch) -> None:
    unet, extra = make('sd1')
    names = self_attention_blocks(unet)
    _, full = run_to_block(unet, names[0], names, sample_for(unet), 30, **extra)
    monkeypatch.setattr(module_under_test, 'MAX_TOKENS', 100)
    _, small = run_to_block(unet, names[0], names, sample_for(unet), 30, **extra)
    assert [item.shape[:2] for item in small] == [(8, 12), (8, 12), (4, 6), (2, 3)]
    pooled = full[0].view(8, 2, 12, 2, 8, 2, 12, 2).sum(dim=(1, 3, 5, 7)) / 4
    torch.testing.assert_close(small[0], pooled)
    torch.testing.assert_close(small[1], full[1])


MEASURE = """
import torch
from diffusers import UNet2DConditionModel
from diffseg_ros.benchmark.measurement import PeakMemory
from diffseg_ros.backbones.unet import run_to_block, self_attention_blocks
torch.set_num_threads(2)
unet = UNet2DConditionModel(block_out_channels=(64, 128, 256, 256), attention_head_dim=8,
                            cross_attention_dim=64, layers_per_block=1).eval()
unet.requires_grad_(False)
names = self_attention_blocks(unet)
with torch.inference_mode(), PeakMemory() as memory:
    _, maps = run_to_block(unet, names[0], names, torch.randn(1, 4, 48, 48), 300,
                           encoder_hidden_states=torch.zeros(1, 77, 64))
assert [item.shape[0] for item in maps] == [48, 24, 12, 6] and len(names) == 10
print(memory.above_start_mb)
"""


def test_all_maps_of_384_pixels_take_little_memory() -> None:
    """The grids and heads of SD 1.5 at 384x384, with fewer layers, and channels a head."""
    root = Path(module_under_test.__file__).parents[2]
    done = subprocess.run([sys.executable, '-c', MEASURE], cwd=root, capture_output=True,
                          text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert 21 < float(done.stdout) < 100
