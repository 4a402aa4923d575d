"""What all commands share: exit codes, one-line errors, JSON output, progress."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
import json
from pathlib import Path
import sys
from typing import Any, TypeVar

from diffseg_ros.errors import DiffsegError
from tqdm import tqdm

_Item = TypeVar('_Item')


def run_command(run: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser,
                argv: list[str] | None) -> int:
    """Parse `argv`, call `run` and turn its errors into one line and exit code 2."""
    arguments = parser.parse_args(argv)
    try:
        run(arguments)
    except DiffsegError as error:
        print(f'{parser.prog}: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f'{parser.prog}: interrupted', file=sys.stderr)
        return 130
    return 0


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add `--json PATH`, which every command has."""
    parser.add_argument('--json', type=Path, metavar='PATH', help='write the report here as JSON')


def write_json(path: Path | None, report: dict[str, Any]) -> None:
    """Write the report, if a path was given."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=2) + '\n')


def progress(items: Iterable[_Item], total: int, title: str) -> Iterable[_Item]:
    """Iterate with a progress bar when stderr is a terminal."""
    return tqdm(items, total=total, desc=title, disable=not sys.stderr.isatty(), leave=False)
