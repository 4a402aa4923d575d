"""Hub ids: cached, refused with instructions, or downloaded file by file; without a network."""

from __future__ import annotations

import json
from pathlib import Path
import re
import shutil

from diffseg_ros.backbones.hub import files_to_download, is_hub_id
from diffseg_ros.backbones.loader import load_backbone
from diffseg_ros.config import BackboneConfig
from diffseg_ros.errors import DiffsegError
import huggingface_hub
import numpy as np
import pytest
from tiny_pipelines import FAMILIES
from tiny_transformers import save_tiny

MODEL = 'someone/tiny-sd'
COMMIT = '0123456789' * 4
REPOSITORY = [
    'model_index.json', 'README.md', 'v1-5-pruned.safetensors', 'v1-5-pruned.ckpt',
    'unet/config.json', 'unet/diffusion_pytorch_model.bin',
    'unet/diffusion_pytorch_model.safetensors', 'unet/diffusion_pytorch_model.fp16.safetensors',
    'unet/diffusion_pytorch_model.non_ema.safetensors', 'vae/config.json',
    'vae/diffusion_pytorch_model.safetensors', 'text_encoder/config.json',
    'text_encoder/model.fp16.safetensors', 'text_encoder/model.safetensors',
    'text_encoder/pytorch_model.bin', 'text_encoder/openvino_model.bin',
    'tokenizer/vocab.json', 'tokenizer/merges.txt', 'scheduler/scheduler_config.json',
    'safety_checker/model.safetensors', 'safety_checker/config.json']


@pytest.fixture()
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point the hub client at an empty cache."""
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


def put_into_cache(cache: Path, revision: str = 'main') -> Path:
    """Lay a small model out as the hub client does and return its snapshot folder."""
    home = cache / 'models--someone--tiny-sd'
    (home / 'refs' / revision).parent.mkdir(parents=True)
    (home / 'refs' / revision).write_text(COMMIT)
    (home / 'snapshots').mkdir()
    FAMILIES['sd1_fp16'][0](cache / 'model')
    return shutil.move(cache / 'model', home / 'snapshots' / COMMIT)


def config(**options: object) -> BackboneConfig:
    """Return settings for the hub model on the CPU."""
    return BackboneConfig(**{'model': MODEL, 'device': 'cpu', 'tokens': 16, **options})


def no_network(*_: object, **__: object) -> None:
    """Stand in for a call that must not happen."""
    raise AssertionError('the network was asked')


def refusal(**options: object) -> str:
    """Return the one line with which loading the hub model ends."""
    with pytest.raises(DiffsegError) as error:
        load_backbone(config(**options))
    assert '\n' not in str(error.value)
    return str(error.value)


def stub_hub(monkeypatch: pytest.MonkeyPatch, cache: Path,
             revision: str = 'main') -> list[tuple[str, str | None, list[str]]]:
    """Let the hub client download without a network; return what it is asked for."""
    asked: list[tuple[str, str | None, list[str]]] = []

    def download(name: str, *, revision: str | None, allow_patterns: list[str],
                 cache_dir: str) -> str:
        assert cache_dir == str(cache)
        asked.append((name, revision, allow_patterns))
        return str(put_into_cache(cache, revision or 'main'))

    monkeypatch.setattr(huggingface_hub, 'snapshot_download', download)
    monkeypatch.setattr(huggingface_hub.HfApi, 'list_repo_files', lambda *_, revision: REPOSITORY)
    return asked


def test_absent_model_is_not_downloaded_and_says_how(cache: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.HfApi, 'list_repo_files', no_network)
    message = refusal()
    assert f'model {MODEL}: there is no such folder here, and the hub cache {cache}' in message
    assert 'Set backbone.allow_download' in message


def test_printed_command_downloads_only_what_is_needed(
        cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = re.search(r'python3 -c "([^"]*)"', refusal())
    asked = stub_hub(monkeypatch, cache)
    exec(command[1], {})
    assert asked == [(MODEL, None, files_to_download(REPOSITORY))]
    assert load_backbone(config()).name == MODEL


def test_cached_model_needs_no_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_into_cache(cache)
    monkeypatch.setattr(huggingface_hub.HfApi, 'list_repo_files', no_network)
    backbone = load_backbone(config(allow_download=True))
    assert backbone.name == MODEL
    assert backbone.features(np.zeros((64, 64, 3), np.uint8)).shape[1:] == (4, 4)


def test_files_that_the_client_misses_but_nobody_needs(cache: Path) -> None:
    folder = put_into_cache(cache)
    trees = folder.parents[1] / 'trees'
    trees.mkdir()
    (trees / f'{COMMIT}.json').write_text(json.dumps({
        'version': 1, 'entries': {name: {'size': 1, 'blob_id': COMMIT} for name in REPOSITORY}}))
    assert load_backbone(config()).name == MODEL


def test_folder_of_the_cache_is_followed_to_main(cache: Path) -> None:
    home = put_into_cache(cache).parents[1]
    (home / 'snapshots' / ('f' * 40)).mkdir()
    assert load_backbone(config(model=str(home))).name == MODEL
    (home / 'refs/main').write_text('f' * 40)
    assert 'model_index.json nor config.json' in refusal(model=str(home))
    (home / 'refs/main').unlink()
    message = refusal(model=str(home))
    assert f'no revision main; there are {MODEL}@{COMMIT}, {MODEL}@{"f" * 40}' in message
    (home / 'snapshots' / ('f' * 40)).rmdir()
    assert load_backbone(config(model=str(home))).name == MODEL


def test_other_revisions_are_named_and_accepted(cache: Path) -> None:
    put_into_cache(cache, 'refs/pr/3')
    assert f'no revision main; there are {MODEL}@refs/pr/3.' in refusal()
    assert f'no revision old; there are {MODEL}@refs/pr/3.' in refusal(model=f'{MODEL}@old')
    for revision in ('refs/pr/3', COMMIT):
        assert load_backbone(config(model=f'{MODEL}@{revision}')).name == f'{MODEL}@{revision}'


def test_other_variants_are_named(cache: Path) -> None:
    unet = put_into_cache(cache) / 'unet'
    (unet / 'diffusion_pytorch_model.fp16.safetensors').rename(
        unet / 'diffusion_pytorch_model.non_ema.safetensors')
    assert 'only diffusion_pytorch_model.non_ema.safetensors; supported are' in refusal()


def test_half_downloaded_model_is_incomplete(cache: Path) -> None:
    folder = put_into_cache(cache)
    (folder / 'tokenizer/tokenizer.json').unlink()
    assert re.search(f'model {MODEL}: .*no tokenizer/vocab.json.*Set backbone', refusal())
    shutil.rmtree(folder / 'text_encoder')
    assert re.search(f'model {MODEL}: .*text_encoder.*Set backbone', refusal())


def test_model_of_another_kind_is_not_downloaded_again(cache: Path) -> None:
    index = put_into_cache(cache) / 'model_index.json'
    index.write_text(json.dumps({'_class_name': 'FluxPipeline',
                                 'transformer': ['diffusers', 'FluxTransformer2DModel']}))
    assert refusal(allow_download=True).endswith('and pixel-space UNet2DModel')


@pytest.mark.parametrize('revision', [None, 'fp16'])
def test_allowed_download_takes_only_what_is_needed(
        revision: str | None, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = stub_hub(monkeypatch, cache)
    name = f'{MODEL}@{revision}' if revision else MODEL
    load_backbone(config(model=name, allow_download=True))
    assert asked == [(MODEL, revision, files_to_download(REPOSITORY))]


def test_files_to_download() -> None:
    assert files_to_download(REPOSITORY) == sorted([
        'model_index.json', 'unet/config.json', 'unet/diffusion_pytorch_model.fp16.safetensors',
        'vae/config.json', 'vae/diffusion_pytorch_model.safetensors', 'text_encoder/config.json',
        'text_encoder/model.fp16.safetensors', 'tokenizer/vocab.json', 'tokenizer/merges.txt',
        'scheduler/scheduler_config.json'])
    bare = ['config.json', 'diffusion_pytorch_model.safetensors', 'scheduler_config.json']
    assert files_to_download(bare) == bare
    transformer = ['config.json', 'model.safetensors', 'preprocessor_config.json']
    assert files_to_download(['README.md', 'pytorch_model.bin', *transformer]) == transformer
    with pytest.raises(DiffsegError, match='unet has only pickled weights'):
        files_to_download(['unet/config.json', 'unet/diffusion_pytorch_model.bin'])


HUB_ERRORS = {
    'GatedRepoError': 'model someone/tiny-sd: gated, .*accept its licence on https://huggingface.co'
                      '/someone/tiny-sd, log in with `hf auth login`, and try again',
    'RepositoryNotFoundError': 'no such folder here, and the hub has no such model, or a private',
    'RevisionNotFoundError': 'no such revision; check what follows the @',
    'HfHubHTTPError': r'no such folder here, and its download failed \(first\); check the name'}


@pytest.mark.parametrize('kind', HUB_ERRORS)
def test_refusals_of_the_hub(kind: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Response:
        headers: dict[str, str] = {}
        request = None

    def fail(*_: object, **__: object) -> None:
        raise getattr(huggingface_hub.errors, kind)('first\nsecond', response=Response())

    monkeypatch.setattr(huggingface_hub.HfApi, 'list_repo_files', fail)
    assert re.search(HUB_ERRORS[kind], refusal(allow_download=True))
    second = refusal(model='embedded', fuse=MODEL, allow_download=True)
    assert re.search(f'backbone.fuse: .*{HUB_ERRORS[kind]}', second)


def test_a_second_model_is_looked_up_and_not_downloaded_unasked(
        cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.HfApi, 'list_repo_files', no_network)
    message = refusal(model='embedded', fuse=MODEL)
    assert message.startswith(f'backbone.fuse: model {MODEL}: there is no such folder here, and')
    assert 'Set backbone.allow_download' in message
    snapshot = put_into_cache(cache)
    shutil.rmtree(snapshot)
    save_tiny(snapshot, 'dinov3_vit')
    fused = load_backbone(config(model='embedded', fuse=MODEL))
    assert fused.name == f'embedded + {MODEL} (0.5)'


def test_failed_download_is_one_line(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise huggingface_hub.errors.OfflineModeIsEnabled('no network\nsecond line')

    monkeypatch.setattr(huggingface_hub.HfApi, 'list_repo_files', fail)
    assert 'its download failed (no network); check' in refusal(allow_download=True)


@pytest.mark.parametrize(('name', 'is_id'), [
    ('owner/name', True), ('stabilityai/sd-turbo', True), ('name', False), ('/a/b', False),
    ('./a', False), ('a/b/c', False), ('~/x', False), ('owner/name@refs/pr/1', True),
    ('owner/name@', False), ('owner/name@../x', False)])
def test_hub_ids(name: str, is_id: bool) -> None:
    assert is_hub_id(name) == is_id
