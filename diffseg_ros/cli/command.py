"""What all commands share: exit codes, one-line errors, JSON output, progress."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
import io
import json
from pathlib import Path
import sys
from typing import Any, cast, TypeVar
import warnings

from diffseg_ros.cli.signals import StopSignal
from diffseg_ros.error_text import printable
from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.images import write_bytes
from tqdm import tqdm

_Item = TypeVar('_Item')


def run_command(run: Callable[[argparse.Namespace], int | None],
                parser: argparse.ArgumentParser, argv: list[str] | None) -> int:
    """
    Parse `argv`, call `run` and turn its errors into one line and exit code 2.

    Without an error the exit code is what `run` returns, 0 for None.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='replace')  # file names need not be text of the locale
    arguments = parser.parse_args(argv)
    try:
        with _warnings_as_lines(parser.prog):
            _check_json_path(getattr(arguments, 'json', None))
            return run(arguments) or 0
    except DiffsegError as error:
        print(f'{parser.prog}: {error}', file=sys.stderr)
        return 2
    except OSError as error:
        print(f'{parser.prog}: {error.filename or "a file"}: {error.strerror or error}; check the '
              'path, the right to use it and the space on its disk', file=sys.stderr)
        return 2
    except UnicodeEncodeError as error:
        print(f'{parser.prog}: {printable(error.object)}: a library cannot use a name that is not '
              'UTF-8; rename it', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f'{parser.prog}: interrupted', file=sys.stderr)
        return 130


def run_stoppable(run: Callable[[argparse.Namespace, StopSignal], int | None],
                  parser: argparse.ArgumentParser, argv: list[str] | None) -> int:
    """Do as `run_command`; the exit code is 130 or 143 after SIGINT or SIGTERM."""
    with StopSignal() as stop:
        code = run_command(lambda arguments: run(arguments, stop), parser, argv)
    return 128 + stop.number if stop.number is not None and code in (0, 130) else code


def run_interruptible(run: Callable[[argparse.Namespace], int | None],
                      parser: argparse.ArgumentParser, argv: list[str] | None) -> int:
    """Do as `run_stoppable`, for a command that breaks off at once and cleans up."""
    def interrupted(arguments: argparse.Namespace, stop: StopSignal) -> int | None:
        with stop.interrupting():
            return run(arguments)

    return run_stoppable(interrupted, parser, argv)


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
    """Write the report, if a path was given, whole or not at all."""
    if path is None:
        return
    data = printable(json.dumps(report, indent=2, ensure_ascii=False) + '\n').encode()
    if path.exists() and not path.is_file():
        path.write_bytes(data)  # /dev/stdout
    elif not path.exists() or path.read_bytes() != data:  # else it is the one in --output
        write_bytes(path.resolve(), data)


def _check_json_path(path: Path | None) -> None:
    if path is not None:
        if str(path) == '-':
            raise DiffsegError('--json -: name a file; /dev/stdout is the screen')
        make_folder(path.parent, f'--json {path}:')
        if path.is_dir():
            raise DiffsegError(f'--json {path}: is a folder; name a file')
        if path.is_file() and not _is_report(path):
            raise DiffsegError(f'--json {path}: exists and is no report; name another file')


def _is_report(path: Path) -> bool:
    try:
        return not path.stat().st_size or isinstance(json.loads(path.read_bytes()), dict)
    except ValueError:
        return False


def progress(items: Iterable[_Item], total: int, title: str) -> Iterable[_Item]:
    """Iterate with a progress bar when stderr is a terminal."""
    return tqdm(items, total=total, desc=title, disable=not sys.stderr.isatty(), leave=False)
