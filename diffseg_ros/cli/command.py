"""What all commands share: exit codes, one-line errors, JSON output, progress."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
import json
from pathlib import Path
import sys
from typing import Any, cast, TypeVar
import warnings

from diffseg_ros.errors import DiffsegError
from tqdm import tqdm

_Item = TypeVar('_Item')


def run_command(run: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser,
                argv: list[str] | None) -> int:
    """Parse `argv`, call `run` and turn its errors into one line and exit code 2."""
    arguments = parser.parse_args(argv)
    try:
        with _warnings_as_lines(parser.prog):
            _check_json_path(getattr(arguments, 'json', None))
            run(arguments)
    except DiffsegError as error:
        print(f'{parser.prog}: {error}', file=sys.stderr)
        return 2
    except OSError as error:
        print(f'{parser.prog}: {error.filename or "a file"}: {error.strerror or error}; check the '
              'path, the right to use it and the space on its disk', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f'{parser.prog}: interrupted', file=sys.stderr)
        return 130
    return 0


@contextmanager
def _warnings_as_lines(program: str) -> Iterator[None]:
    """Print each FutureWarning, such as of an old parameter name, as a line for the user."""
    with warnings.catch_warnings():
        usual: Any = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *details: Any) -> None:
            if issubclass(category, FutureWarning):
                print(f'{program}: warning: {message}', file=sys.stderr)
            else:
                usual(message, category, *details)

        warnings.showwarning = cast(Any, show)
        yield


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add `--json PATH`, which every command has."""
    parser.add_argument('--json', type=Path, metavar='PATH', help='write the report here as JSON')


def make_folder(path: Path, option: str = '--output') -> None:
    """
    Make the folder that an option names, before the work that is to end up in it.

    Raises
    ------
    DiffsegError
        Something else has that name, or it cannot be made there.

    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiffsegError(f'{option} {path}: cannot be made a folder ({error.strerror}); name '
                           'one in a place that can be written to') from error


def write_json(path: Path | None, report: dict[str, Any]) -> None:
    """Write the report, if a path was given."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=2) + '\n')


def _check_json_path(path: Path | None) -> None:
    if path is not None:
        make_folder(path.parent, f'--json {path}:')
        if path.is_dir():
            raise DiffsegError(f'--json {path}: is a folder; name a file')


def progress(items: Iterable[_Item], total: int, title: str) -> Iterable[_Item]:
    """Iterate with a progress bar when stderr is a terminal."""
    return tqdm(items, total=total, desc=title, disable=not sys.stderr.isatty(), leave=False)
