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

    The ROS wheels set their library path once and note that in a variable; a child starts
    without both and sets its own. Without the variable the path is the user's and stays.
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
    Return a ROS domain, not 0, that no program on this machine uses.

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
    # By the RTPS standard the first participant of a domain listens on this port.
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
    """A Python module that runs as a process of its own and prints into a log file."""

    def __init__(self, name: str, module: str, arguments: Sequence[str], log: Path,
                 environment: Mapping[str, str]) -> None:
        self.name = name
        self._log = log
        with log.open('wb') as output:
            self.process = subprocess.Popen(
                [sys.executable, '-m', module, *arguments], stdout=output,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=dict(environment),
                start_new_session=True, preexec_fn=_end_with_parent)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.stop(5.0 if kind is None else 2.0)

    def log_tail(self, lines: int = 12) -> str:
        """Return the end of what it printed."""
        text = self._log.read_text(errors='replace')
        return '\n'.join(text.splitlines()[-lines:])

    @property
    def log_excerpt(self) -> str:
        """The end of what it printed, for an error message."""
        return f'the end of {self._log}:\n{self.log_tail() or "(nothing was printed)"}'

    def check(self) -> None:
        """Raise DiffsegError with the end of its log if it has ended."""
        if self.process.poll() is not None:
            raise DiffsegError(f'the {self.name} ended with exit code {self.process.returncode}; '
                               f'{self.log_excerpt}')

    def stop(self, patience: float = 10.0) -> int:
        """Interrupt it; kill it if it does not end within `patience` seconds."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            self.process.send_signal(number)
            try:
                return self.process.wait(patience)
            except subprocess.TimeoutExpired:
                patience = 2.0
        return self.process.wait()
