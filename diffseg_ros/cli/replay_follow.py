"""The option --follow of diffseg_replay: clicks on objects in chosen frames."""

from __future__ import annotations

import argparse
from dataclasses import replace
import re
from typing import TYPE_CHECKING

from diffseg_ros.errors import DiffsegError, UsageError

if TYPE_CHECKING:
    from diffseg_ros.pipeline import Pipeline
    from diffseg_ros.types import Result

_NUMBER = r'(\d+(?:\.\d*)?)'
_CLICK = re.compile(rf'{_NUMBER},{_NUMBER}@(\d+)')

Pixel = tuple[float, float]


def add_follow_option(parser: argparse.ArgumentParser) -> None:
    """Add `--follow X,Y@FRAME`, which may be given several times."""
    parser.add_argument(
        '--follow', action='append', default=[], metavar='X,Y@FRAME',
        help='follow the object at a pixel of the frame of this number (that of its file in '
        'labels/), into target/; given again, that part is added')


class Clicks:
    """
    The clicks of a replay by the number of their frame.

    Raises
    ------
    DiffsegError
        One of `texts`, such as 320,240@0, is no click, or its frame is not among the `numbers`
        that are processed.

    """

    def __init__(self, texts: list[str], numbers: range) -> None:
        self._by_frame: dict[int, list[Pixel]] = {}
        for text in texts:
            match = _CLICK.fullmatch(text.strip())
            if match is None:
                raise DiffsegError(f'--follow {text}: x and y of a pixel and the number of a '
                                   'frame are needed, such as 320,240@0')
            number = int(match[3])
            if number not in numbers:
                step = f' by --every {numbers.step}' if numbers.step > 1 else ''
                raise DiffsegError(f'--follow {text}: frame {number} is not processed; choose one '
                                   f'from 0 to {numbers[-1]}{step}')
            self._by_frame.setdefault(number, []).append((float(match[1]), float(match[2])))
        self._any = bool(self._by_frame)

    def __bool__(self) -> bool:
        return self._any

    def apply(self, number: int, result: Result, pipeline: Pipeline) -> Result:
        """
        Follow what was clicked on in a frame; return its result with the target.

        Raises
        ------
        UsageError
            There is nothing to follow at the pixel.

        """
        for x, y in self._by_frame.pop(number, ()):
            try:
                result = replace(result, target=pipeline.follow((x, y)))
            except DiffsegError as error:
                raise UsageError(f'--follow {x:g},{y:g}@{number}: {error}') from error
        return result

    def require_applied(self) -> None:
        """Raise DiffsegError where the frame of a click could not be processed."""
        for number, pixels in self._by_frame.items():
            x, y = pixels[0]
            raise DiffsegError(f'--follow {x:g},{y:g}@{number}: the frame could not be processed; '
                               'choose another one')
