"""Folders for copies, locked by their process: one without a lock is left over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
import fcntl
import os
from pathlib import Path
import re
import shutil
from tempfile import gettempdir

_OURS = re.compile(r'diffseg_[0-9a-f]{12}\..+')


def copy_folder(run_id: str, name: str) -> Path:
    """Return the folder for a copy of what has this name, in a run by its 12 hex digits."""
    return Path(gettempdir()) / f'diffseg_{run_id}.{name}'


@contextmanager
def held_folder(folder: Path) -> Iterator[None]:
    """Make a folder, lock it while the block runs, and remove it at the end."""
    held = _made_and_locked(folder)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def _made_and_locked(folder: Path) -> int:
    """Make and lock a folder, again if it was removed in between; return its descriptor."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            held = os.open(folder, os.O_RDONLY)
            fcntl.flock(held, fcntl.LOCK_EX)
            if folder.exists():
                return held
            os.close(held)


def remove_abandoned() -> None:
    """Remove the folders of processes that ended before they could."""
    for folder in Path(gettempdir()).glob('diffseg_*'):
        if not _OURS.fullmatch(folder.name) or not folder.is_dir() or folder.is_symlink():
            continue
        try:
            found = os.open(folder, os.O_RDONLY)
        except OSError:
            continue  # another user's, or just removed
        try:
            fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(found)
