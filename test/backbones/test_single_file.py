"""Single files: whole checkpoints load as their pipelines do, all else is refused by its kind."""

from __future__ import annotations

from pathlib import Path
import re
import subprocess
import sys

from diffseg_ros.backbones.loader import load_backbone
from diffseg_ros.config import BackboneConfig
from diffseg_ros.errors import DiffsegError
from diffusers import UNet2DConditionModel
import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from single_files import narrow_pipeline, write
import torch

IMAGE = np.random.default_rng(3).integers(0, 256, (120, 160, 3), dtype=np.uint8)
FAMILIES = {'sd1': 'sd1', 'sd2': 'sd2', 'xl': 'xl', 'ssd': 'xl'}


def config(path: Path, **options: object) -> BackboneConfig:
    """Return settings for a model on the CPU."""
    return BackboneConfig(**{'model': str(path), 'device': 'cpu', 'tokens': 48, **options})


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write each family as a pipeline folder and as a single file."""
    root = tmp_path_factory.mktemp('single')
    for family, layout in FAMILIES.items():
        torch.manual_seed(0)
        pipeline = narrow_pipeline(family, root / f'{family}_words')
        pipeline.save_pretrained(root / family)
        write(pipeline, layout, root / f'{family}.safetensors')
    return root


@pytest.mark.parametrize('family', FAMILIES)
def test_single_file_gives_the_features_of_its_pipeline(family: str, root: Path) -> None:
    folder = load_backbone(config(root / family), attention=True)
    file = load_backbone(config(root / f'{family}.safetensors'), attention=True)
    assert (file.name, file.block, file.stride) == (family, folder.block, folder.stride)
    expected, maps = folder.features_and_attention(IMAGE)
    features, file_maps = file.features_and_attention(IMAGE)
    torch.testing.assert_close(features, expected)
    assert len(maps) == len(file_maps) > 1
    for item, other in zip(file_maps, maps, strict=True):
        torch.testing.assert_close(item, other)


@pytest.mark.parametrize('family', ['sd1', 'sd2', 'xl'])
def test_files_of_the_tests_are_what_diffusers_reads(family: str, root: Path) -> None:
    ours = UNet2DConditionModel.from_single_file(
        str(root / f'{family}.safetensors'), config=str(root / family), subfolder='unet',
        local_files_only=True).state_dict()
    theirs = UNet2DConditionModel.from_pretrained(root / family, subfolder='unet').state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def change(source: Path, target: Path, **tensors: torch.Tensor) -> Path:
    """Copy a single file with some tensors added or replaced."""
    save_file({**load_file(source), **tensors}, target)
    return target


def refusal(path: Path) -> str:
    """Return the one line with which loading a model ends."""
    with pytest.raises(DiffsegError) as error:
        load_backbone(config(path))
    assert '\n' not in str(error.value)
    return str(error.value)


def test_averaged_weights_are_taken_where_a_file_has_both(root: Path, tmp_path: Path) -> None:
    tensors = load_file(root / 'sd1.safetensors')
    both = tensors | {'model_ema.' + ''.join(key.split('.')[1:]): value
                      for key, value in tensors.items() if key.startswith('model.')}
    both |= {key: torch.zeros_like(value) for key, value in tensors.items()
             if key.startswith('model.')}
    save_file(both, tmp_path / 'both.safetensors')
    expected = load_backbone(config(root / 'sd1.safetensors')).features(IMAGE)
    averaged = load_backbone(config(tmp_path / 'both.safetensors')).features(IMAGE)
    torch.testing.assert_close(averaged, expected)


def test_half_precision_file_stays_near(root: Path, tmp_path: Path) -> None:
    save_file({key: value.half() for key, value in load_file(root / 'sd1.safetensors').items()},
              tmp_path / 'half.safetensors')
    half = load_backbone(config(tmp_path / 'half.safetensors')).features(IMAGE)
    full = load_backbone(config(root / 'sd1.safetensors')).features(IMAGE)
    assert torch.cosine_similarity(half.flatten(), full.flatten(), dim=0) > 0.999


OTHERS = {
    'a LoRA': {'lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight': (4, 8)},
    'of the kind controlnet': {'control_model.time_embed.0.weight': (8, 8)},
    'of the kind flux-schnell': {'double_blocks.0.img_attn.norm.key_norm.scale': (8,)},
    'an SD 3 transformer': {'joint_blocks.3.x_block.mlp.fc1.weight': (8, 8)},
    'a VAE alone': {'encoder.down_blocks.0.resnets.0.conv1.weight': (8, 8, 3, 3)},
    'a U-Net or transformer alone': {'input_blocks.0.0.weight': (8, 4, 3, 3)},
    'a text encoder alone': {'text_model.encoder.layers.0.mlp.fc1.weight': (8, 8)},
    'a textual inversion': {'emb_params': (2, 8)},
    'an unknown model': {'layer.weight': (8, 8)},
    'without VAE and text encoder': {'model.diffusion_model.out.0.weight': (8,)}}


@pytest.mark.parametrize('what', OTHERS)
def test_other_files_are_refused_by_what_they_are(what: str, tmp_path: Path) -> None:
    file = tmp_path / 'other.safetensors'
    save_file({key: torch.zeros(shape) for key, shape in OTHERS[what].items()}, file)
    assert f'model {file}: a single file, {what}; supported single files are' in refusal(file)


def without(file: Path, prefix: str, target: Path) -> Path:
    """Copy a single file without the tensors of one component."""
    save_file({key: value for key, value in load_file(file).items()
               if not key.startswith(prefix)}, target)
    return target


def test_incomplete_and_unsuitable_checkpoints_are_refused(root: Path, tmp_path: Path) -> None:
    whole, target = root / 'sd1.safetensors', tmp_path / 'model.safetensors'
    assert 'single file, without VAE;' in refusal(without(whole, 'first_stage', target))
    assert 'single file, without text encoder;' in refusal(without(whole, 'cond_', target))
    assert 'its vae lacks' in refusal(without(whole, 'first_stage_model.quant_conv', target))
    assert 'its unet: down_blocks.0.resnets.0.conv1.weight should be' in refusal(change(
        whole, target, **{'model.diffusion_model.input_blocks.1.0.in_layers.2.weight':
                          torch.zeros(32, 16, 3, 3)}))
    assert 'of the kind edm' in refusal(change(whole, target, edm_mean=torch.zeros(4)))
    first = 'model.diffusion_model.input_blocks.0.0.weight'
    assert 'of the kind inpainting' in refusal(change(
        whole, target, **{first: torch.zeros(32, 9, 3, 3)}))
    assert 'takes 7 channels, its VAE gives 4' in refusal(change(
        whole, target, **{first: torch.zeros(32, 7, 3, 3)}))
    label = 'model.diffusion_model.label_emb.0.0.weight'
    assert "class_embed_type 'projection'" in refusal(change(
        whole, target, **{label: torch.zeros(128, 64)}))
    target.write_bytes(whole.read_bytes()[:-1000])
    assert 'damaged' in refusal(target)


def test_pickle_is_not_opened_and_the_printed_command_converts_it(root: Path,
                                                                  tmp_path: Path) -> None:
    pickle = tmp_path / 'model.ckpt'
    torch.save({'state_dict': load_file(root / 'sd1.safetensors'), 'step': 3}, pickle)
    message = refusal(pickle)
    assert f'model {pickle}: a pickle, never opened' in message
    command = re.search(r'python3 -c "([^"]*)"', message)[1]
    subprocess.run([sys.executable, '-c', command], check=True, timeout=100)
    converted = load_backbone(config(tmp_path / 'model.safetensors'))
    expected = load_backbone(config(root / 'sd1.safetensors')).features(IMAGE)
    assert torch.equal(converted.features(IMAGE), expected)


def test_gguf_and_other_formats_are_refused(root: Path, tmp_path: Path) -> None:
    for name, message in (('model.gguf', 'a GGUF file; quantised weights are not supported; use'),
                          ('model.onnx', 'a file, but none in safetensors; supported single')):
        (tmp_path / name).write_bytes(b'GGUF')
        assert message in refusal(tmp_path / name)
    quantised = change(root / 'sd1.safetensors', tmp_path / 'model.safetensors', **{
        'model.diffusion_model.middle_block.0.in_layers.2.scale_weight': torch.ones(1)})
    assert 'quantised (model.diffusion_model.middle_block.0.in_layers.2.scale' in refusal(
        quantised)
