"""Notes which recording a worker is at, so that what ends the worker is told by the next one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import faulthandler
import os
from pathlib import Path
import re

SUFFIX = '.attempt'


@contextmanager
def noted_attempt(note: Path, node: str) -> Iterator[Callable[[float], None]]:
    """
    Keep a file while the block runs that survives the process if that ends.

    Python writes the stack into it where the process crashes. What the block gets arms a watchdog:
    it ends the process after so many seconds (0: never), whatever it is at.
    """
    with note.open('w') as file:
        file.write(f'{node}\n')
        file.flush()
        faulthandler.enable(file, all_threads=False)

        def arm(seconds: float) -> None:
            if seconds:
                faulthandler.dump_traceback_later(seconds, exit=True, file=file)

        try:
            yield arm
        finally:
            faulthandler.cancel_dump_traceback_later()
            faulthandler.disable()
            note.unlink(missing_ok=True)


def node_of_attempt(note: Path) -> str | None:
    """Return the node of an earlier attempt that did not end, None without one."""
    try:
        return note.read_text(errors='replace').partition('\n')[0]
    except FileNotFoundError:
        return None


def reason_of_end(note: Path, timeout: float) -> str:
    """Return why the process of an earlier attempt ended, in one line."""
    told = note.read_text(errors='replace').partition('\n')[2]
    main = told.rpartition('Thread ')[2]  # of all threads the main one comes last
    place = re.search(r'File "([^"]+)", line (\d+) in (\S+)', main)
    where = f' in {place[3]} ({os.path.basename(place[1])}:{place[2]})' if place else ''
    if told.startswith('Timeout'):
        return f'took longer than --timeout {timeout:g} seconds; it was{where or " at work"}'
    if fault := re.match(r'Fatal Python error: (.+)', told):
        return f'made its worker crash: {fault[1]}{where}'
    return ('ended its worker without a word: it exited by itself, or was killed from outside, as '
            'the system does where memory runs out')
