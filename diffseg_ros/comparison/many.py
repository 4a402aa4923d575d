"""Compares the replays of many recordings, each with that of the same name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
import os
from pathlib import Path

from diffseg_ros.comparison.comparison import compare_folders, Comparison
from diffseg_ros.errors import DiffsegError

_NAMED = 5


def compare_trees(new: Path, old: Path) -> tuple[list[Comparison], list[str]]:
    """
    Compare every replay below `new` with the one below `old` at the same place.

    Return the comparisons, which are named by the place, and what to note of the rest:
    recordings that only one of the two has, and those that cannot be compared.

    Raises
    ------
    DiffsegError
        The two have no recording in common.

    """
    before, after = (set(_replays(root)) for root in (old, new))
    if not before & after:
        raise DiffsegError(f'{new} and {old}: have no recording in common; name a folder with the '
                           'results of the same recordings')
    notes = [_note(names, root) for names, root in ((before - after, old), (after - before, new))
             if names]
    comparisons = []
    for name in sorted(before & after):
        try:
            comparisons.append(compare_folders(new / name, old / name, name))
        except DiffsegError as error:
            notes.append(f'{name} is not compared: {error}')
    return comparisons, notes


def _replays(root: Path) -> Iterator[str]:
    """Yield the places of the folders with labels; there is nothing below such a folder."""
    for folder, folders, _ in os.walk(root):
        if 'labels' in folders:
            folders.clear()
            yield Path(folder).relative_to(root).as_posix()


def _note(names: Iterable[str], root: Path) -> str:
    ordered = sorted(names)
    shown = ', '.join(ordered[:_NAMED]) + (', ...' if len(ordered) > _NAMED else '')
    return f'{len(ordered)} recordings are only in {root}: {shown}'
