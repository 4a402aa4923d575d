"""Capture of one block: the right tensor, nothing computed after it, nothing left behind."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from diffseg_ros.backbones.capture import (
    BlockCapture,
    choose_block,
    drop_unused,
    feature_grid,
    grid_stride,
    self_attention_blocks,
    size_multiple,
)
from diffseg_ros.errors import DiffsegError
import pytest
from tiny_pipelines import latent_unet, pixel_unet
import torch
from torch import nn

SAMPLE = torch.randn(1, 12, 16, 24, generator=torch.Generator().manual_seed(1))


@pytest.fixture()
def unet() -> nn.Module:
    """Return a small pixel-space U-Net with fixed random weights."""
    torch.manual_seed(0)
    return pixel_unet().eval().requires_grad_(False)


def hooks(model: nn.Module) -> int:
    """Count the forward hooks on all modules."""
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks)
               for module in model.modules())


def test_blocks_in_order_of_computation(unet: nn.Module) -> None:
    order: list[str] = []
    names = self_attention_blocks(unet)
    for name in names:
        unet.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: order.append(name))
    unet(SAMPLE, 30)
    assert names == order and names[0] == 'down_blocks.1.attentions.0'


@pytest.mark.parametrize('block', ['down_blocks.1.attentions.0', 'down_blocks.2.attentions.0',
                                   'mid_block.attentions.0', 'up_blocks.0.attentions.1'])
def test_output_equals_uninterrupted_pass_and_later_blocks_are_skipped(
        unet: nn.Module, block: str) -> None:
    called: list[str] = []
    whole: dict[str, torch.Tensor] = {}
    for name in self_attention_blocks(unet):
        def note(_module: nn.Module, _inputs: object, output: torch.Tensor,
                 name: str = name) -> None:
            called.append(name)
            whole[name] = output
        unet.get_submodule(name).register_forward_hook(note)
    unet(SAMPLE, 30)
    expected = whole[block]
    called.clear()
    before = hooks(unet)
    output = BlockCapture(unet, block).run(SAMPLE, 30)
    assert torch.equal(output, expected)
    assert called[-1] == block and block in self_attention_blocks(unet)
    assert called == self_attention_blocks(unet)[:len(called)]
    assert hooks(unet) == before
    stride = grid_stride(unet, block)
    assert feature_grid(output, 16 // stride, 24 // stride).shape[1:] == (16 // stride,
                                                                          24 // stride)


@pytest.mark.parametrize('block', ['down_blocks.1.attentions.0', 'mid_block.attentions.0',
                                   'up_blocks.1.attentions.0'])
def test_dropping_the_rest_changes_nothing(unet: nn.Module, block: str) -> None:
    expected = BlockCapture(unet, block).run(SAMPLE, 30)
    before = sum(value.numel() for value in unet.parameters())
    drop_unused(unet, block)
    assert sum(value.numel() for value in unet.parameters()) < before
    assert torch.equal(BlockCapture(unet, block).run(SAMPLE, 30), expected)


def test_failure_inside_leaves_no_hook(unet: nn.Module) -> None:
    capture = BlockCapture(unet, 'down_blocks.1.attentions.0')
    with pytest.raises(RuntimeError, match='channels'):
        capture.run(SAMPLE[:, :5], 30)
    assert hooks(unet) == 0
    assert capture.run(SAMPLE, 30).shape == (1, 32, 8, 12)


def test_block_that_is_not_computed_is_refused(unet: nn.Module) -> None:
    unet.spare = nn.Identity()
    with pytest.raises(DiffsegError, match='spare: the U-Net does not compute it'):
        BlockCapture(unet, 'spare').run(SAMPLE, 30)
    assert hooks(unet) == 0


def test_threads_on_one_unet_do_not_disturb_each_other(unet: nn.Module) -> None:
    blocks = ['down_blocks.1.attentions.0', 'mid_block.attentions.0'] * 8
    expected = {block: BlockCapture(unet, block).run(SAMPLE, 30) for block in blocks}

    def run(block: str) -> torch.Tensor:
        with torch.no_grad():
            return BlockCapture(unet, block).run(SAMPLE, 30)

    with ThreadPoolExecutor(4) as pool:
        for block, output in zip(blocks, pool.map(run, blocks), strict=True):
            assert torch.equal(output, expected[block])
    assert hooks(unet) == 0


def test_automatic_choice(unet: nn.Module) -> None:
    assert choose_block(unet, 'auto', first_level=True) == 'down_blocks.1.attentions.0'
    assert choose_block(unet, 'auto') == 'down_blocks.2.attentions.0'
    middle = pixel_unet(down_block_types=('DownBlock2D',) * 3, up_block_types=('UpBlock2D',) * 3)
    assert choose_block(middle, 'auto') == 'mid_block.attentions.0'
    none = pixel_unet(down_block_types=('DownBlock2D',) * 3, up_block_types=('UpBlock2D',) * 3,
                      add_attention=False)
    with pytest.raises(DiffsegError, match='no self-attention'):
        choose_block(none, 'auto')


@pytest.mark.parametrize('levels', ['CCCD', 'DCC', 'CCC'])
def test_strides_agree_with_what_is_computed(levels: str) -> None:
    model = latent_unet(levels, layers_per_block=1).eval()
    sample, text = torch.zeros(1, 4, 32, 32), torch.zeros(1, 3, 32)
    for block in self_attention_blocks(model):
        output = BlockCapture(model, block).run(sample, 50, encoder_hidden_states=text)
        side = 32 // grid_stride(model, block)
        assert output.shape[1] == side**2
        assert size_multiple(model, block) % grid_stride(model, block) == 0


def test_grid_keeps_rows_and_columns() -> None:
    tokens = torch.arange(12.0).reshape(1, 6, 2)
    grid = feature_grid(tokens, 2, 3)
    assert grid.shape == (2, 2, 3) and torch.equal(grid[0, 1], torch.tensor([6.0, 8.0, 10.0]))
    with pytest.raises(DiffsegError, match='a grid of 4x3 was expected'):
        feature_grid(tokens, 4, 3)
