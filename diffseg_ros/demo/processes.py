"""Child processes that do not outlive the demo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import contextlib
import ctypes
import os
from pathlib import Path
import random
import signal
import socket
import subprocess
import sys
from types import TracebackType

from diffseg_ros.errors import DiffsegError

_LIBC = ctypes.CDLL(None)
_PARENT_DEATH_SIGNAL = 1
_BOOTSTRAP = ('_ROS_WHEELS_BOOTSTRAP_COMPLETE', 'LD_LIBRARY_PATH')
_DOMAINS = range(1, 102)


def child_environment(domain_id: int) -> dict[str, str]:
    """
    Return this process's environment for a child in a ROS domain of its own.

    The ROS wheels set their library path once and mark that; a child starts without mark and
    path and finds its own. Where the mark is missing, the path is the user's and stays.
    """
    environment = dict(os.environ)
    if environment.get(_BOOTSTRAP[0]):
        for name in _BOOTSTRAP:
            environment.pop(name, None)
    environment['ROS_DOMAIN_ID'] = str(domain_id)
    environment['PYTHONUNBUFFERED'] = '1'
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, environment.get('PYTHONPATH', '').split(os.pathsep))]
    environment['PYTHONPATH'] = os.pathsep.join(paths)
    return environment


def free_domain_id() -> int:
    """
    Return a ROS domain, not 0, that no participant on this machine was seen in.

    Raises
    ------
    DiffsegError
        All are taken.

    """
    for domain_id in random.SystemRandom().sample(_DOMAINS, len(_DOMAINS)):
        if not _in_use(domain_id):
            return domain_id
    raise DiffsegError('no free ROS domain between 1 and 101; end other ROS programs, or choose '
                       'one with --domain-id')


def _in_use(domain_id: int) -> bool:
    # The first participant of a domain listens for unicast discovery on this port of the
    # RTPS standard.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(('', 7400 + 250 * domain_id + 10))
        except OSError:
            return True
    return False


def _end_with_parent() -> None:
    """Have the kernel interrupt this process when its parent is gone, even by SIGKILL."""
    with contextlib.suppress(AttributeError):
        _LIBC.prctl(_PARENT_DEATH_SIGNAL, signal.SIGTERM)


class Child:
    """A Python module that runs as a process of its own, its output in a log file."""

    def __init__(self, name: str, module: str, arguments: Sequence[str], log: Path,
                 environment: Mapping[str, str]) -> None:
        """Start it."""
        self.name = name
        self._log = log
        with log.open('wb') as output:
            self._process = subprocess.Popen(
                [sys.executable, '-m', module, *arguments], stdout=output,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=dict(environment),
                start_new_session=True, preexec_fn=_end_with_parent)

    def __enter__(self) -> Child:
        """Return the running child."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Make sure that it is gone."""
        self.stop(5.0 if kind is None else 2.0)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def log_tail(self, lines: int = 12) -> str:
        """Return the end of what it printed."""
        text = self._log.read_text(errors='replace')
        return '\n'.join(text.splitlines()[-lines:])

    def check(self) -> None:
        """Raise DiffsegError with the end of its log if it has ended."""
        code = self.exit_code
        if code is not None:
            raise DiffsegError(f'the {self.name} ended with exit code {code}; the end of '
                               f'{self._log}:\n{self.log_tail() or "(nothing was printed)"}')

    def stop(self, patience: float = 10.0) -> int:
        """Interrupt it, kill it when it does not end within `patience` seconds."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if self.exit_code is None:
                self._process.send_signal(number)
            try:
                return self._process.wait(patience)
            except subprocess.TimeoutExpired:
                patience = 2.0
        return self._process.wait()
