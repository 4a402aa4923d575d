"""What `--plots` writes: a strip of frames and a timeline of the tracks."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from diffseg_ros.evaluation.switches import Switch
from diffseg_ros.evaluation.timeline import Timeline
from diffseg_ros.types import Frame
from diffseg_ros.viz.contact_sheet import Strip
from diffseg_ros.viz.timeline_plot import draw_timeline
import numpy as np
import numpy.typing as npt

NAMES = ('strip.jpg', 'timeline.png')


def add_plots_option(parser: argparse.ArgumentParser, folder: str) -> None:
    """Add `--plots`; `folder` is where the pictures go, for the help."""
    parser.add_argument('--plots', action='store_true',
                        help=f'draw {folder}/{NAMES[0]} (frames with their ids) and '
                        f'{folder}/{NAMES[1]} (when each track was seen)')


class SequencePlots:
    """Collects what the pictures of one sequence need, frame by frame."""

    def __init__(self, total: int) -> None:
        """Expect `total` frames."""
        self._strip = Strip(total)
        self._timeline = Timeline()

    def add(self, number: int, frame: Frame, labels: npt.NDArray[np.int32]) -> None:
        """Add the next frame, its number in the source and its (H, W) ids."""
        self._strip.add(number, frame.rgb, labels)
        self._timeline.add(frame.stamp, labels)

    def write(self, folder: Path, title: str, switches: Sequence[Switch] | None = None) -> None:
        """
        Write both pictures; `switches` is None where there is no truth to tell them from.

        Raises
        ------
        DiffsegError
            A file cannot be written.

        """
        self._strip.write(folder / NAMES[0])
        self._timeline.switches = switches
        draw_timeline(self._timeline, folder / NAMES[1], title)
