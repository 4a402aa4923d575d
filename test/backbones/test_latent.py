"""Every family of latent models, loaded from disk through the real path."""

from __future__ import annotations

from functools import partial
import gc
import json
from pathlib import Path
import shutil
import weakref

from diffseg_ros.backbones import latent
from diffseg_ros.backbones.base import observe
from diffseg_ros.backbones.loader import load_backbone
from diffseg_ros.backbones.preprocess import image_tensor
from diffseg_ros.config import BackboneConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.types import RgbImage
import numpy as np
import pytest
from tiny_pipelines import BETAS, FAMILIES
import torch
from transformers import PreTrainedModel

TOKENS = 48


@pytest.fixture(scope='module')
def image() -> RgbImage:
    """Return a 120x160 image of noise and gradients."""
    image = np.random.default_rng(3).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    image[:, 80:] //= 4
    return image


@pytest.fixture(scope='module')
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write one folder per family."""
    root = tmp_path_factory.mktemp('families')
    torch.manual_seed(0)
    for name, (save, _, _) in FAMILIES.items():
        save(root / name)
    return {name: root / name for name in FAMILIES}


def config(path: Path, **options: object) -> BackboneConfig:
    """Return settings for a model on the CPU."""
    return BackboneConfig(**{'model': str(path), 'device': 'cpu', 'tokens': TOKENS, **options})


@pytest.mark.parametrize('family', FAMILIES)
def test_family_matches_uninterrupted_diffusers_pass(
        family: str, folders: dict[str, Path], image: RgbImage) -> None:
    backbone = load_backbone(config(folders[family]))
    _, block, stride = FAMILIES[family]
    assert (backbone.block, backbone.stride, backbone.name) == (block, stride, family)
    features = backbone.features(image)
    assert features.shape[1:] == (6, 8) and features.dtype == torch.float32
    assert torch.equal(features, backbone.features(image))
    assert torch.equal(features, load_backbone(config(folders[family])).features(image))
    timestep = {'turbo': 249, 'lcm': 59}.get(family, 50)
    expected = reference(folders[family], block, image, (6 * stride, 8 * stride), timestep)
    torch.testing.assert_close(features, expected.unflatten(1, (6, 8)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('family', ['sd1', 'sd2', 'sdxl', 'bk_tiny'])
@pytest.mark.parametrize(('block', 'timestep'), [('up_blocks.1', 261), ('up_blocks.2', 51)])
def test_dift_matches_uninterrupted_diffusers_passes(
        family: str, block: str, timestep: int, folders: dict[str, Path],
        image: RgbImage) -> None:
    backbone = load_backbone(config(folders[family], block=block, timestep=timestep, ensemble=3,
                                    seed=5))
    # Three levels are halved twice, four levels three times.
    levels = 4 if family in ('sd1', 'sd2') else 3
    stride = 8 * 2 ** max(levels - 2 - int(block[-1]), 0)
    assert (backbone.block, backbone.stride) == (block, stride)
    features = backbone.features(image)
    size = features.shape[1] * stride, features.shape[2] * stride
    expected = [reference(folders[family], block, image, size, timestep, seed)
                for seed in (5, 6, 7)]
    torch.testing.assert_close(features.flatten(1), torch.stack(expected).mean(dim=0),
                               rtol=1e-3, atol=1e-4)
    assert not torch.allclose(features.flatten(1), expected[0], rtol=1e-3, atol=1e-4)


def test_ensemble_runs_the_vae_once_and_averages_the_maps(
        folders: dict[str, Path], image: RgbImage, monkeypatch: pytest.MonkeyPatch) -> None:
    singles = [load_backbone(config(folders['sd1'], seed=seed), attention=True)
               .features_and_attention(image) for seed in (0, 1)]
    backbone = load_backbone(config(folders['sd1'], ensemble=2), attention=True)
    encoded: list[torch.Tensor] = []
    encode = backbone._encoder
    monkeypatch.setattr(backbone, '_encoder', lambda image: encoded.append(encode(image))
                        or encoded[-1])
    features, maps = backbone.features_and_attention(image)
    assert len(encoded) == 1
    for found, one, other in zip((features, *maps), *((single[0], *single[1])
                                                      for single in singles), strict=True):
        torch.testing.assert_close(found, (one + other) / 2)
    assert torch.equal(features, backbone.features(image))


@pytest.mark.parametrize('family', ['sd1'])
def test_compiled_backbone_gives_the_same(family: str, folders: dict[str, Path],
                                          image: RgbImage,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, 'compile', partial(torch.compile, backend='eager'))
    plain = load_backbone(config(folders[family], ensemble=2))
    compiled = load_backbone(config(folders[family], ensemble=2, compile=True))
    for seen in image, image[:, ::-1], image[:80]:
        assert torch.equal(compiled.features(seen), plain.features(seen))


@pytest.mark.large
@pytest.mark.slow
@pytest.mark.skipif(shutil.which('g++') is None, reason='torch.compile needs g++')
def test_compiled_code_gives_nearly_the_same(folders: dict[str, Path], image: RgbImage) -> None:
    plain = load_backbone(config(folders['sd1'])).features(image)
    backbone = load_backbone(config(folders['sd1'], compile=True))
    compiled = backbone.features(image)
    torch.testing.assert_close(compiled, plain, rtol=1e-5, atol=1e-5)
    assert torch.equal(compiled, backbone.features(image))


def test_what_cannot_be_compiled_is_named(folders: dict[str, Path], image: RgbImage,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DiffsegError, match='sd1: backbone.compile is for features without'):
        load_backbone(config(folders['sd1'], compile=True), attention=True)

    def broken(*given: object) -> None:
        raise RuntimeError('no compiler\nat all')

    monkeypatch.setattr(torch, 'compile', partial(torch.compile, backend=broken))
    with pytest.raises(DiffsegError, match='no compiler.*install one, or set it to') as error:
        load_backbone(config(folders['sd1'], compile=True)).features(image)
    assert '\n' not in str(error.value)


def test_ensemble_without_noise_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(DiffsegError, match='ensemble 4: without noise .* backbone.ensemble to 1'):
        load_backbone(config(folders['sd1'], noise=False, ensemble=4))


def reference(folder: Path, block: str, image: RgbImage, size: tuple[int, int],
              timestep: int = 50, seed: int = 0) -> torch.Tensor:
    """Compute the block's output with diffusers' own loader, prompt, noise and whole U-Net."""
    from diffusers import AutoencoderTiny, DDPMScheduler, DiffusionPipeline
    half = (folder / 'unet/diffusion_pytorch_model.fp16.safetensors').exists()
    variant = 'fp16' if half else None
    pipeline = DiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32,
                                                 variant=variant)
    encoded = pipeline.encode_prompt('', device='cpu', num_images_per_prompt=1,
                                     do_classifier_free_guidance=False)
    with torch.no_grad():
        image = pipeline.vae.encode(image_tensor(image, *size))
        tiny = isinstance(pipeline.vae, AutoencoderTiny)
        sample = image.latents if tiny else image.latent_dist.mode()
        sample = sample * pipeline.vae.config.scaling_factor
        noise = torch.randn(sample.shape, generator=torch.Generator().manual_seed(seed))
        noisy = DDPMScheduler(**BETAS).add_noise(sample, noise, torch.tensor([timestep]))
        extra: dict[str, object] = {}
        if pipeline.unet.config.addition_embed_type:
            extra['added_cond_kwargs'] = {
                'text_embeds': encoded[2],
                'time_ids': torch.tensor([[*size, 0, 0, *size]], dtype=torch.float32)}
        if pipeline.unet.config.time_cond_proj_dim:
            extra['timestep_cond'] = pipeline.get_guidance_scale_embedding(
                torch.tensor([8.5 - 1]), pipeline.unet.config.time_cond_proj_dim)
        seen: list[torch.Tensor] = []
        pipeline.unet.get_submodule(block).register_forward_hook(
            lambda module, inputs, output: seen.append(output))
        pipeline.unet(noisy, timestep, encoder_hidden_states=encoded[0], **extra)
    return seen[0][0].T if seen[0].ndim == 3 else seen[0][0].flatten(1)


@pytest.mark.parametrize('family', ['sd1', 'sd2', 'ssd', 'bk_small'])
def test_attention_comes_with_the_same_features(family: str, folders: dict[str, Path],
                                                image: RgbImage) -> None:
    backbone = load_backbone(config(folders[family], noise=False, timestep=300), attention=True)
    features, maps = observe(backbone, image, attention=True)
    assert features.shape[1:] == (6, 8) and torch.equal(features, backbone.features(image))
    cells = [item.shape[:2] for item in maps]
    assert cells == sorted(cells, reverse=True)
    assert cells[0] == ((12, 16) if family == 'ssd' else (24, 32))
    for item in maps:
        torch.testing.assert_close(item.sum(dim=(2, 3)), torch.ones(item.shape[:2]))
    again = backbone.features_and_attention(image)[1]
    assert all(torch.equal(one, other) for one, other in zip(maps, again, strict=True))
    maps[0].add_(1)


def test_text_encoders_are_freed(folders: dict[str, Path],
                                 monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[weakref.ref[torch.Tensor]] = []
    load = latent.load_text_encoder

    def watched(*arguments: object) -> torch.nn.Module:
        encoder = load(*arguments)
        alive.extend(weakref.ref(value) for value in encoder.parameters())
        return encoder

    monkeypatch.setattr(latent, 'load_text_encoder', watched)
    backbone = load_backbone(config(folders['sdxl']))
    gc.collect()
    assert len(alive) > 40
    assert not [reference for reference in alive if reference() is not None]
    assert not [item for item in gc.get_objects() if isinstance(item, PreTrainedModel)]
    assert backbone.name == 'sdxl'


def test_only_encoders_stay_in_memory(folders: dict[str, Path]) -> None:
    backbone = load_backbone(config(folders['sd1']))
    unet, encoder = backbone._unet, backbone._encoder
    names = {name.split('.')[0] for name, _ in unet.named_parameters()}
    assert names == {'conv_in', 'time_embedding', 'down_blocks'}
    assert len(unet.down_blocks) == 3
    assert {name.split('.')[0] for name, _ in encoder._vae.named_parameters()} \
        == {'encoder', 'quant_conv'}


def test_vae_precision_follows_force_upcast(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = latent.PipelineFolder(folders['sdxl'])
    cpu = torch.device('cpu')
    assert latent.LatentEncoder.load(folder, cpu, torch.float16)._dtype == torch.float32
    assert latent.LatentEncoder.load(folder, cpu, torch.bfloat16)._dtype == torch.bfloat16
    copy = shutil.copytree(folders['sdxl'], tmp_path / 'fixed')
    edit(copy / 'vae/config.json', force_upcast=False)
    encoder = latent.LatentEncoder.load(latent.PipelineFolder(copy), cpu, torch.float16)
    assert encoder._dtype == torch.float16


@pytest.mark.parametrize('precision', ['float16', 'bfloat16'])
def test_half_precision_stays_near_float32(precision: str, folders: dict[str, Path],
                                           image: RgbImage) -> None:
    full = load_backbone(config(folders['sdxl'])).features(image)
    half = load_backbone(config(folders['sdxl'], precision=precision)).features(image)
    assert half.dtype == torch.float32 and not torch.equal(half, full)
    assert torch.cosine_similarity(half.flatten(), full.flatten(), dim=0) > 0.99


def test_overflow_names_precision_and_remedy(folders: dict[str, Path], tmp_path: Path,
                                             image: RgbImage) -> None:
    from safetensors.torch import load_file, save_file
    copy = shutil.copytree(folders['sd1'], tmp_path / 'hot')
    file = copy / 'unet/diffusion_pytorch_model.safetensors'
    tensors = load_file(file)
    tensors['conv_in.weight'] = tensors['conv_in.weight'] * 1e6
    save_file(tensors, file)
    with pytest.raises(DiffsegError, match=r'float16; set backbone.precision to bfloat16'):
        load_backbone(config(copy, precision='float16')).features(image)


def test_timestep_seed_noise_and_block_matter(folders: dict[str, Path],
                                        image: RgbImage) -> None:
    block = 'up_blocks.2.attentions.0.transformer_blocks.0.attn1'
    outputs = [load_backbone(config(folders['sd1'], **options)).features(image)
               for options in ({}, {'timestep': 300}, {'seed': 1}, {'noise': False},
                               {'noise': False, 'seed': 1}, {'block': block})]
    for other in outputs[1:4]:
        assert other.shape == outputs[0].shape and not torch.equal(other, outputs[0])
    assert torch.equal(outputs[3], outputs[4])
    assert outputs[5].shape[1:] == (8, 8)
    middle = load_backbone(config(folders['sd1'], block='mid_block.attentions.0.'
                                  'transformer_blocks.0.attn1', tokens=16))
    assert middle.stride == 64 and middle.features(image).shape[1] * 64 > 0


def edit(file: Path, **values: object) -> None:
    """Change keys of a JSON file; None removes one."""
    content = json.loads(file.read_text())
    content.update(values)
    file.write_text(json.dumps({key: value for key, value in content.items()
                                if value is not None}))


def pickle_only(folder: Path) -> None:
    """Replace the U-Net's weights by a pickle that must never be opened."""
    (folder / 'unet/diffusion_pytorch_model.safetensors').unlink()
    (folder / 'unet/diffusion_pytorch_model.bin').write_bytes(b'\x80\x04boom')


def truncate(folder: Path) -> None:
    """Cut the U-Net's weights in half."""
    file = folder / 'unet/diffusion_pytorch_model.safetensors'
    file.write_bytes(file.read_bytes()[:-1000])


DAMAGES = {
    'no index': (lambda f: (f / 'model_index.json').unlink(), 'neither model_index.json nor'),
    'index no JSON': (lambda f: (f / 'model_index.json').write_text('{'), 'model_index.json: dam'),
    'no unet': (lambda f: shutil.rmtree(f / 'unet'), 'unet/config.json: missing'),
    'no vae': (lambda f: shutil.rmtree(f / 'vae'), 'vae/config.json: missing'),
    'no text encoder': (lambda f: shutil.rmtree(f / 'text_encoder'), 'text_encoder'),
    'no tokenizer': (lambda f: shutil.rmtree(f / 'tokenizer'),
                     'no tokenizer/vocab.json; a tokenizer is .* again'),
    'no scheduler': (lambda f: shutil.rmtree(f / 'scheduler'), 'scheduler_config.json: missing'),
    'pickle': (pickle_only, r'only pickled weights \(diffusion_pytorch_model.bin\).*convert'),
    'truncated': (truncate, r'diffusion_pytorch_model.safetensors: damaged'),
    'other shape': (lambda f: edit(f / 'unet/config.json', cross_attention_dim=48),
                    'text encoders give 32 channels, its U-Net takes 48'),
    'other layers': (lambda f: edit(f / 'unet/config.json', layers_per_block=3),
                     'they belong to another config.json'),
    'unknown block type': (lambda f: edit(f / 'unet/config.json',
                                          down_block_types=['A', 'B', 'C', 'D']),
                           'does not describe a UNet2DConditionModel'),
    'inpainting': (lambda f: edit(f / 'unet/config.json', in_channels=9), 'takes 9 channels'),
    'video unet': (lambda f: edit(f / 'unet/config.json', _class_name='UNet3DConditionModel'),
                   'with a UNet3DConditionModel; supported are'),
    'other vae': (lambda f: edit(f / 'vae/config.json', _class_name='VQModel'),
                  'vae is a VQModel; supported are AutoencoderKL, AutoencoderTiny'),
    'transformer': (lambda f: edit(f / 'model_index.json', _class_name='FluxPipeline', unet=None,
                                   transformer=['diffusers', 'FluxTransformer2DModel']),
                    'FluxPipeline has a FluxTransformer2DModel; supported are U-Nets'),
    'other text encoder': (lambda f: edit(f / 'model_index.json',
                                          text_encoder=['transformers', 'T5EncoderModel']),
                           'text_encoder is a T5EncoderModel'),
    'flow matching': (lambda f: edit(f / 'scheduler/scheduler_config.json', beta_schedule=None,
                                     _class_name='FlowMatchEulerDiscreteScheduler'),
                      'no beta schedule'),
    'image conditioning': (lambda f: edit(f / 'unet/config.json', class_embed_type='projection',
                                          projection_class_embeddings_input_dim=8),
                           "class_embed_type 'projection'"),
}


@pytest.mark.parametrize('damage', DAMAGES)
def test_damaged_or_unsupported_folder_is_named(damage: str, folders: dict[str, Path],
                                                tmp_path: Path) -> None:
    copy = shutil.copytree(folders['sd1'], tmp_path / 'model')
    break_it, message = DAMAGES[damage]
    break_it(copy)
    with pytest.raises(DiffsegError, match=message) as error:
        load_backbone(config(copy))
    assert '\n' not in str(error.value)


def test_wrong_block_lists_those_there_are(folders: dict[str, Path]) -> None:
    with pytest.raises(DiffsegError) as error:
        load_backbone(config(folders['bk_small'], block='down_blocks.9'))
    assert ('it has the blocks down_blocks.0, down_blocks.1, down_blocks.2, down_blocks.3, '
            'up_blocks.0, ') in str(error.value)
    assert 'down_blocks.0.attentions.0.transformer_blocks.0.attn1' in str(error.value)
    assert 'attn2' not in str(error.value) and '\n' not in str(error.value)


def test_single_file_and_bare_unet_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(DiffsegError, match='this single file is a U-Net .* alone; supported'):
        load_backbone(config(folders['sd1'] / 'unet/diffusion_pytorch_model.safetensors'))
    with pytest.raises(DiffsegError, match='a bare UNet2DConditionModel'):
        load_backbone(config(folders['sd1'] / 'unet'))
    with pytest.raises(DiffsegError, match='neither model_index.json'):
        load_backbone(config(tmp_path))


def test_early_vae_names_and_shards_are_read(folders: dict[str, Path], tmp_path: Path,
                                             image: RgbImage) -> None:
    from safetensors.torch import load_file, save_file
    copy = shutil.copytree(folders['sd1'], tmp_path / 'early')
    names = {'to_q': 'query', 'to_k': 'key', 'to_v': 'value', 'to_out.0': 'proj_attn'}
    tensors = load_file(copy / 'vae/diffusion_pytorch_model.safetensors')
    for new, old in names.items():
        tensors = {key.replace(f'.{new}.', f'.{old}.'): value for key, value in tensors.items()}
    save_file(tensors, copy / 'vae/diffusion_pytorch_model.safetensors')
    whole = copy / 'unet/diffusion_pytorch_model.safetensors'
    tensors = load_file(whole)
    whole.unlink()
    files = {key: f'diffusion_pytorch_model-0000{i % 2 + 1}-of-00002.safetensors'
             for i, key in enumerate(tensors)}
    for file in set(files.values()):
        save_file({key: value for key, value in tensors.items() if files[key] == file},
                  copy / 'unet' / file)
    index = copy / 'unet/diffusion_pytorch_model.safetensors.index.json'
    index.write_text(json.dumps({'weight_map': files}))
    expected = load_backbone(config(folders['sd1'])).features(image)
    assert torch.equal(load_backbone(config(copy)).features(image), expected)
    (copy / 'unet' / file).unlink()
    with pytest.raises(DiffsegError, match=f'{file}, missing here'):
        load_backbone(config(copy))
