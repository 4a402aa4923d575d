"""Models named by a hub id: found in the local cache, fetched only where that is allowed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
import re

from diffseg_ros.backbones.folder import PipelineFolder
from diffseg_ros.errors import DiffsegError

COMPONENTS = ('unet', 'vae', 'text_encoder', 'text_encoder_2', 'tokenizer', 'tokenizer_2',
              'scheduler')
_WEIGHTS = re.compile(r'(?:diffusion_pytorch_model|model)(\.fp16)?(?:-\d+-of-\d+)?\.safetensors')


def is_hub_id(name: str) -> bool:
    """Return whether `name` has the form owner/name."""
    return re.fullmatch(r'[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*', name) is not None


def locate(model_id: str, *, allow_download: bool) -> Path:
    """
    Return the folder of a hub model, from the local cache or downloaded into it.

    Raises
    ------
    DiffsegError
        It is not here and must not or cannot be fetched; the message has the command to do it.

    """
    try:
        folder = _cached(model_id)
        _check(folder)
        return folder
    except DiffsegError as error:
        if not allow_download:
            raise DiffsegError(
                f'model {model_id}: {error}. Set backbone.allow_download to fetch it, or run: '
                f'{download_command(model_id)} (into {_cache_folder()}), or give the path of a '
                'folder with the pipeline') from error
    return _download(model_id)


def download_command(model_id: str) -> str:
    """Return the shell command that fetches what is needed of a hub model."""
    return (f'hf download {model_id} --include "*.json" --include "*.txt" '
            '--include "*/*.safetensors" --exclude "safety_checker/*"')


def files_to_fetch(names: Iterable[str]) -> list[str]:
    """
    Return which files of a repository are needed: half precision where there is a choice.

    Raises
    ------
    DiffsegError
        A component has no safetensors weights.

    """
    folders: dict[str, list[str]] = {}
    for name in names:
        folder, _, file = name.rpartition('/')
        folders.setdefault(folder, []).append(file)
    top = ('model_index.json', 'config.json', 'scheduler_config.json')
    wanted: list[str] = [name for name in top if name in folders.get('', [])]
    for folder in COMPONENTS:
        files = folders.get(folder, [])
        wanted += [f'{folder}/{file}' for file in files if file.endswith(('.json', '.txt'))]
        wanted += [f'{folder}/{file}' for file in _weights(folder, files)]
    if 'config.json' in wanted:
        wanted += _weights('', folders[''])
    return sorted(wanted)


def _weights(folder: str, files: list[str]) -> list[str]:
    matches = [match for file in files if (match := _WEIGHTS.fullmatch(file))]
    half = [match[0] for match in matches if match[1]]
    if not matches and any(file.endswith('.bin') for file in files):
        raise DiffsegError(f'{folder or "the model"} has only pickled weights, which can run any '
                           'code when loaded; choose a model with safetensors')
    return half or [match[0] for match in matches]


def _cache_folder() -> str:
    from huggingface_hub import constants
    return str(constants.HF_HUB_CACHE)


def _cached(model_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError
    try:
        return Path(snapshot_download(model_id, cache_dir=_cache_folder(),
                                      local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError) as error:
        raise DiffsegError('not on this machine') from error


def _check(folder: Path) -> None:
    if (folder / 'model_index.json').is_file():
        PipelineFolder.at(folder).check_complete()
    elif not (folder / 'config.json').is_file():
        raise DiffsegError(f'{folder} has no model_index.json')


def _download(model_id: str) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    try:
        files = files_to_fetch(HfApi().list_repo_files(model_id))
        return Path(snapshot_download(model_id, cache_dir=_cache_folder(), allow_patterns=files))
    except DiffsegError as error:
        raise DiffsegError(f'model {model_id}: {error}') from error
    except Exception as error:  # the hub client raises its own, its transport's and OS errors
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DiffsegError(f'model {model_id}: download failed ({reason[0]}); check the id, the '
                           'network and, for gated models, `hf auth login`') from error
