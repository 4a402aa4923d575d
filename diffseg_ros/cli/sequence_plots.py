"""What `--plots` writes: a contact sheet of frames and a timeline of the tracks."""

from __future__ import annotations

import argparse
from pathlib import Path

from diffseg_ros.naming.vocabulary import known_names
from diffseg_ros.types import Result
from diffseg_ros.viz.overlay import ContactSheet
from diffseg_ros.viz.plots import draw_timeline, IdSwitches, Timeline

NAMES = ('strip.jpg', 'timeline.png')


def add_plots_option(parser: argparse.ArgumentParser, folder: str) -> None:
    """Add `--plots`; `folder` is where the plots go, for the help."""
    parser.add_argument('--plots', action='store_true',
                        help=f'draw {folder}/{NAMES[0]} (frames with their ids) and '
                        f'{folder}/{NAMES[1]} (when each track was seen)')


class SequencePlots:
    """Collects what the plots of one sequence of `total` frames need."""

    def __init__(self, total: int) -> None:
        self._sheet = ContactSheet(total)
        self._timeline = Timeline()

    def add(self, number: int, result: Result) -> None:
        """Add what was found in the next frame, with its number in the source."""
        self._sheet.add(number, result.frame.rgb, result.labels, known_names(result.tracks))
        self._timeline.add(result.frame.stamp, result.labels)

    def write(self, folder: Path, title: str, switches: IdSwitches | None = None) -> None:
        """Write both plots, or raise DiffsegError; `switches` is None without truth."""
        self._sheet.write(folder / NAMES[0])
        draw_timeline(self._timeline, folder / NAMES[1], title, switches)
