"""Options and files of comparisons with older replays, and of pages."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
import sys
from typing import TYPE_CHECKING

from diffseg_ros.errors import DiffsegError

if TYPE_CHECKING:
    from diffseg_ros.comparison.comparison import Comparison

COMPARISON_NAMES = ('compare.json', 'compare.html')
"""What `write_comparisons` writes."""
PAGE_NAME = 'page.html'
"""What `write_replay_page` writes."""
PAGES = (*COMPARISON_NAMES, PAGE_NAME)
"""What a replay writes of both, as patterns of an `OutputFolder`."""


def add_compare_options(parser: argparse.ArgumentParser, folder: str) -> None:
    """Add `--compare` and `--tolerances`; `folder` is where the results go, for the help."""
    parser.add_argument('--compare', type=Path, metavar='OLD_DIR',
                        help='tell what changed since the results in OLD_DIR: '
                        f'{folder}/compare.json and, for a browser, {folder}/compare.html')
    parser.add_argument('--tolerances', type=Path, metavar='FILE',
                        help='largest allowed value of figures of the comparison (YAML or JSON); '
                        'beyond one the exit code is 1')


def checked_tolerances(arguments: argparse.Namespace) -> dict[str, float]:
    """
    Return the tolerances, none without the option, before the work that they are for.

    Raises
    ------
    DiffsegError
        There is nothing to compare with, or the file cannot be used.

    """
    if arguments.tolerances is None:
        return {}
    if arguments.compare is None:
        raise DiffsegError(f'--tolerances {arguments.tolerances}: belongs to --compare OLD_DIR, '
                           'which is missing')
    from diffseg_ros.comparison.tolerances import read_tolerances

    return read_tolerances(arguments.tolerances)


def write_comparisons(folder: Path, comparisons: Sequence[Comparison],
                      tolerances: dict[str, float], *, title: str,
                      notes: Sequence[str] = ()) -> int:
    """
    Write COMPARISON_NAMES and say on stderr what is beyond its tolerance.

    `notes` are sentences for the page, such as recordings without a partner. Return the exit
    code, 1 if anything is beyond its tolerance.
    """
    from diffseg_ros.comparison.page import worst_first, write_page, write_report
    from diffseg_ros.comparison.tolerances import excesses

    report, page = (folder / name for name in COMPARISON_NAMES)
    write_report(report, comparisons, tolerances)
    write_page(page, comparisons, title=title, tolerances=tolerances, notes=notes)
    failed = False
    for comparison in worst_first(comparisons, tolerances):
        for excess in excesses(comparison.figures, tolerances):
            failed = True
            print(f'{comparison.name}: {excess}', file=sys.stderr)
    return int(failed)


def write_replay_page(folder: Path) -> None:
    """Write PAGE_NAME about the replay in a folder, by itself."""
    from diffseg_ros.comparison.comparison import compare_folders
    from diffseg_ros.comparison.page import write_page

    replay = compare_folders(folder, None)
    write_page(folder / PAGE_NAME, [replay], title=replay.name)
