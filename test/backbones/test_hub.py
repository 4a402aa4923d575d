"""Hub ids: cached, refused with instructions, or downloaded file by file; without a network."""

from __future__ import annotations

from pathlib import Path
import shutil

from diffseg_ros.backbones.checkpoints import files_to_download, is_hub_id
from diffseg_ros.backbones.loader import load_backbone
from diffseg_ros.config import BackboneConfig
from diffseg_ros.errors import DiffsegError
import huggingface_hub
import numpy as np
import pytest
from tiny_pipelines import FAMILIES

MODEL = 'someone/tiny-sd'
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


def put_into_cache(cache: Path) -> Path:
    """Lay a small model out as the hub client does and return its snapshot folder."""
    home = cache / 'models--someone--tiny-sd'
    (home / 'refs').mkdir(parents=True)
    (home / 'refs/main').write_text('0' * 40)
    FAMILIES['sd1_fp16'][0](home / 'snapshots' / ('0' * 40))
    return home / 'snapshots' / ('0' * 40)


def config(**options: object) -> BackboneConfig:
    """Return settings for the hub model on the CPU."""
    return BackboneConfig(**{'model': MODEL, 'device': 'cpu', 'tokens': 16, **options})


def no_network(*_: object, **__: object) -> None:
    """Stand in for a call that must not happen."""
    raise AssertionError('the network was asked')


def test_absent_model_is_not_downloaded_and_says_how(cache: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.HfApi, 'list_repo_files', no_network)
    with pytest.raises(DiffsegError) as error:
        load_backbone(config())
    message = str(error.value)
    assert 'allow_download' in message and str(cache) in message
    assert f'hf download {MODEL} --include "*.json"' in message and '\n' not in message


def test_cached_model_needs_no_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_into_cache(cache)
    monkeypatch.setattr(huggingface_hub.HfApi, 'list_repo_files', no_network)
    backbone = load_backbone(config(allow_download=True))
    assert backbone.name == MODEL
    assert backbone.features(np.zeros((64, 64, 3), np.uint8)).shape[1:] == (4, 4)


def test_half_downloaded_model_is_incomplete(cache: Path) -> None:
    shutil.rmtree(put_into_cache(cache) / 'text_encoder')
    with pytest.raises(DiffsegError, match=f'model {MODEL}: .*text_encoder.*hf download'):
        load_backbone(config())


def test_allowed_download_takes_only_what_is_needed(
        cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    real = huggingface_hub.snapshot_download

    def download(model_id: str, *, allow_patterns: list[str] | None = None,
                 **options: object) -> str:
        if options.get('local_files_only'):
            return real(model_id, **options)
        asked.append(allow_patterns or [])
        return str(put_into_cache(cache))

    monkeypatch.setattr(huggingface_hub, 'snapshot_download', download)
    monkeypatch.setattr(huggingface_hub.HfApi, 'list_repo_files', lambda *_: REPOSITORY)
    load_backbone(config(allow_download=True))
    assert asked == [files_to_download(REPOSITORY)]


def test_files_to_download() -> None:
    assert files_to_download(REPOSITORY) == sorted([
        'model_index.json', 'unet/config.json', 'unet/diffusion_pytorch_model.fp16.safetensors',
        'vae/config.json', 'vae/diffusion_pytorch_model.safetensors', 'text_encoder/config.json',
        'text_encoder/model.fp16.safetensors', 'tokenizer/vocab.json', 'tokenizer/merges.txt',
        'scheduler/scheduler_config.json'])
    bare = ['config.json', 'diffusion_pytorch_model.safetensors', 'scheduler_config.json']
    assert files_to_download(bare) == bare
    with pytest.raises(DiffsegError, match='unet has only pickled weights'):
        files_to_download(['unet/config.json', 'unet/diffusion_pytorch_model.bin'])


def test_failed_download_is_one_line(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise huggingface_hub.errors.OfflineModeIsEnabled('no network\nsecond line')

    monkeypatch.setattr(huggingface_hub.HfApi, 'list_repo_files', fail)
    with pytest.raises(DiffsegError, match=r'download failed \(no network\)') as error:
        load_backbone(config(allow_download=True))
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(('name', 'is_id'), [
    ('owner/name', True), ('stabilityai/sd-turbo', True), ('name', False), ('/a/b', False),
    ('./a', False), ('a/b/c', False), ('~/x', False)])
def test_hub_ids(name: str, is_id: bool) -> None:
    assert is_hub_id(name) == is_id
