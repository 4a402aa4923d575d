"""Compares the replays of many recordings, each with that of the same name."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
import os
from pathlib import Path

from diffseg_ros.comparison.comparison import compare_folders, Comparison
from diffseg_ros.errors import DiffsegError

_NAMED = 5


def compare_trees(new: Path, old: Path, unlabelled: Collection[str] = ()
                  ) -> tuple[list[Comparison], list[str], list[str]]:
    """
    Compare every replay below `new` with the one below `old` at the same place.

    What there is of the `unlabelled` in `new` is of an earlier run, and not compared. Return the
    comparisons, which are named by the place, what to note of recordings that only one of the two
    has or that were not labelled, and a line for each that both have but cannot be compared.

    Raises
    ------
    DiffsegError
        The two have no recording in common.

    """
    before, after = (set(_replays(root)) - set(unlabelled) for root in (old, new))
    if not before & after:
        raise DiffsegError(f'{new} and {old}: have no recording in common; name a folder with the '
                           'results of the same recordings')
    notes = [_note(names, what) for names, what in (
        (before - after, f'are only in {old}'), (after - before, f'are only in {new}'),
        (unlabelled, 'were not labelled and are not compared')) if names]
    comparisons, failures = [], []
    for name in sorted(before & after):
        try:
            comparisons.append(compare_folders(new / name, old / name, name))
        except DiffsegError as error:
            failures.append(f'{name} is not compared: {error}')
    return comparisons, notes, failures


def _replays(root: Path) -> Iterator[str]:
    """Yield the places of the folders with labels; there is nothing below such a folder."""
    for folder, folders, _ in os.walk(root):
        if 'labels' in folders:
            folders.clear()
            yield Path(folder).relative_to(root).as_posix()


def _note(names: Iterable[str], what: str) -> str:
    ordered = sorted(names)
    shown = ', '.join(ordered[:_NAMED]) + (', ...' if len(ordered) > _NAMED else '')
    return f'{len(ordered)} recordings {what}: {shown}'
