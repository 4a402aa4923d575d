"""What a file holds by its first bytes, where that is not what its name says."""

from __future__ import annotations

from pathlib import Path
import shlex
from typing import NamedTuple

from diffseg_ros.errors import DiffsegError
import yaml


class _Kind(NamedTuple):
    name: str
    suffixes: tuple[str, ...]  # under which it is read
    remedy: str  # for another name


_ROS_1 = b'#ROSBAG V'
_KINDS = {
    _ROS_1: _Kind('a ROS 1 bag', (),
                  'convert it: {rename}rosbags-convert --src {bag} --dst {new}'),
    b'\x89MCAP0\r\n': _Kind('an mcap recording', ('.mcap',), 'rename it to {mcap}'),
    b'SQLite format 3\0': _Kind('a SQLite recording', ('.db3',), 'rename it to {db3}'),
    b'version https://git-lfs': _Kind('a Git LFS pointer, not the file itself', (),
                                      'fetch it: git lfs pull'),
    b'<!DOCTYPE': _Kind('a web page', (), 'download it again, with the link of the file itself'),
    b'<html': _Kind('a web page', (), 'download it again, with the link of the file itself'),
    b'PK\x03\x04': _Kind('a zip archive', (), 'unpack it: unzip {path}'),
    b'\x1f\x8b': _Kind('a gzip archive', (), 'unpack it with gunzip or tar xzf'),
    b'7z\xbc\xaf': _Kind('a 7z archive', (), 'unpack it: 7z x {path}')}
"""Kinds of files by their first bytes."""
_LONGEST = max(map(len, _KINDS))


def check_kind(path: Path) -> None:
    """
    Refuse a recording that is of another kind than its name says, or not complete.

    Raises
    ------
    DiffsegError
        The file is empty, or of a kind that must be converted, renamed or unpacked first; or a
        bag folder lacks parts. The message says what to do.

    """
    if path.is_dir():
        _check_parts(path)
        return
    with path.open('rb') as file:
        head = file.read(_LONGEST)
    if not head:
        raise DiffsegError(f'{path}: is empty (0 bytes); copy, download or record it again')
    found = next((magic for magic in _KINDS if head.startswith(magic)),
                 _ROS_1 if path.suffix.lower() == '.bag' else b'')
    if found and not path.name.endswith(_KINDS[found].suffixes):
        kind, _, remedy = _KINDS[found]
        raise DiffsegError(f'{path}: is {kind}; {_filled(remedy, path)}')
    for magic, (kind, suffixes, _) in _KINDS.items():
        if path.name.endswith(suffixes) and not head.startswith(magic[:len(head)]):
            raise DiffsegError(f'{path}: is not {kind}, whatever its name says: it begins with '
                               f'{head[:8]!r}, not {magic!r}; record or copy it again, or name '
                               'it after what it holds')


def _filled(remedy: str, path: Path) -> str:
    """Return a remedy with the names for this file, quoted for a shell."""
    bare = path.with_suffix('')
    quoted = {name: shlex.quote(str(value)) for name, value in {
        'path': path, 'bag': f'{bare}.bag', 'mcap': f'{bare}.mcap',
        'db3': f'{bare}.db3', 'new': f'{bare}_ros2' if bare.exists() else bare}.items()}
    # rosbags-convert knows ROS 1 by this suffix alone.
    rename = '' if path.suffix == '.bag' else 'mv {path} {bag} && '.format(**quoted)
    return remedy.format(**quoted, rename=rename)


def _check_parts(folder: Path) -> None:
    """Refuse a bag folder without all the files that its metadata.yaml lists."""
    metadata = folder / 'metadata.yaml'
    if not metadata.is_file():
        return
    try:
        content = yaml.safe_load(metadata.read_text(encoding='utf-8'))
        listed = content['rosbag2_bagfile_information']['relative_file_paths']
        missing = [name for name in listed if not (folder / Path(name).name).exists()]
    except (OSError, ValueError, yaml.YAMLError, TypeError, KeyError) as error:
        raise DiffsegError(f'{metadata}: cannot be read ({type(error).__name__}); delete it, and '
                           'the recording is read without it') from error
    if missing:
        raise DiffsegError(f'{folder}: {len(missing)} of {len(listed)} parts are missing '
                           f'({missing[0]}); copy them there, or delete {metadata} to read the '
                           'others')
