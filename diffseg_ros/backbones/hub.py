"""Models of the Hugging Face hub: looked up in the cache, downloaded where that is allowed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
import re

from diffseg_ros.backbones.checkpoints import COMPONENTS, PipelineFolder, read_json
from diffseg_ros.errors import DiffsegError

_TOP_FILES = ('model_index.json', 'config.json', 'scheduler_config.json',
              'preprocessor_config.json', 'processor_config.json', 'model.safetensors.index.json',
              'tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'vocab.json',
              'vocab.txt', 'merges.txt', 'spiece.model')
_WEIGHTS = re.compile(r'(?:diffusion_pytorch_model|model)(\.fp16)?(?:-\d+-of-\d+)?\.safetensors')


def is_hub_id(name: str) -> bool:
    """Return whether `name` has the form owner/name or owner/name@revision."""
    return re.fullmatch(r'[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@\w[\w./-]*)?', name) is not None


def hub_folder(model_id: str, *, allow_download: bool) -> Path:
    """
    Return the folder of a hub model, owner/name or owner/name@revision, cached or downloaded.

    Raises DiffsegError, which tells how to download it, where it is not there.
    """
    from huggingface_hub import constants

    name, _, revision = model_id.partition('@')
    cache = Path(constants.HF_HUB_CACHE)
    home = cache / f'models--{name.replace("/", "--")}'
    try:
        if not home.is_dir():
            raise DiffsegError(f'there is no such folder here, and the hub cache {cache} does '
                               'not have it')
        folder = snapshot_folder(home, revision or 'main')
        bare = (folder / 'config.json').is_file()
        # A pipeline without a U-Net is no case for a download: the loader says what it is.
        if not bare and 'unet' in read_json(folder / 'model_index.json'):
            PipelineFolder(folder).check_complete()
        return folder
    except DiffsegError as error:
        if allow_download:
            return download(model_id)
        raise DiffsegError(
            f'model {model_id}: {error}. Set backbone.allow_download to download what is needed '
            'of it, or run, where there is a network: python3 -c "from diffseg_ros.backbones.hub '
            f'import download; download({model_id!r})", or give the path of a folder with the '
            'pipeline') from error


def snapshot_folder(home: Path, revision: str | None = None) -> Path:
    """
    Return a revision's folder in `home`, a folder models--owner--name of the hub cache.

    `revision` is a branch, a tag or a whole commit hash; without one it is main, or the only
    revision there is. Raises DiffsegError, which names the revisions there are.
    """
    snapshots = sorted(folder.name for folder in home.glob('snapshots/*') if folder.is_dir())
    refs = {str(file.relative_to(home / 'refs')): file.read_text().strip()
            for file in home.glob('refs/**/*') if file.is_file()}
    commit = refs.get(revision or 'main', revision)
    if revision is None and commit is None and len(snapshots) == 1:
        commit = snapshots[0]
    if commit in snapshots:
        return home / 'snapshots' / commit
    names = ([ref for ref in sorted(refs) if refs[ref] in snapshots]
             + [name for name in snapshots if name not in refs.values()])
    model_id = home.name.removeprefix('models--').replace('--', '/', 1)
    known = ', '.join(f'{model_id}@{name}' for name in names)
    raise DiffsegError(f'the hub cache {home} has no revision {revision or "main"}; '
                       + (f'there are {known}' if known else 'it has none at all'))


def download(model_id: str) -> Path:
    """
    Download what is needed of a hub model into the hub cache and return its folder.

    `model_id` is owner/name or owner/name@revision. Raises DiffsegError, which says why it fails.
    """
    from huggingface_hub import constants, HfApi, snapshot_download

    name, _, revision = model_id.partition('@')
    try:
        files = files_to_download(HfApi().list_repo_files(name, revision=revision or None))
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=files,
                                      cache_dir=str(constants.HF_HUB_CACHE)))
    except DiffsegError as error:
        raise DiffsegError(f'model {model_id}: {error}') from error
    except Exception as error:  # the hub client raises its own, its transport's and OS errors
        raise DiffsegError(f'model {model_id}: {_reason(error, name)}') from error


def _reason(error: Exception, name: str) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return (f'gated, and this machine is not logged in with an account that may read it; '
                f'accept its licence on https://huggingface.co/{name}, log in with `hf auth '
                'login`, and try again')
    if isinstance(error, errors.RevisionNotFoundError):
        return 'the hub has the model, but no such revision; check what follows the @'
    if isinstance(error, errors.RepositoryNotFoundError):
        return ('there is no such folder here, and the hub has no such model, or a private one; '
                'check the name, or log in with `hf auth login`')
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return (f'there is no such folder here, and its download failed ({lines[0]}); check the '
            'name and the network')


def files_to_download(names: Iterable[str]) -> list[str]:
    """Return which files of a repository are needed: half precision where there is a choice."""
    paths = [PurePosixPath(name) for name in names]
    wanted = [path for path in paths if str(path) in _TOP_FILES
              or str(path.parent) in COMPONENTS and path.suffix in ('.json', '.txt')]
    bare = '.' if PurePosixPath('config.json') in wanted else None
    for folder in (*COMPONENTS, bare):
        files = [path for path in paths if str(path.parent) == folder]
        weights = {path: match for path in files if (match := _WEIGHTS.fullmatch(path.name))}
        if not weights and any(path.suffix == '.bin' for path in files):
            raise DiffsegError(f'folder {folder} has only pickled weights, which can run any '
                               'code when loaded; choose a model with safetensors')
        wanted += [path for path, match in weights.items() if match[1]] or list(weights)
    return sorted(map(str, wanted))
