"""Workers on Ray that keep a loaded model and take one recording after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
import os
from pathlib import Path
import socket
import time
from typing import Any, Protocol

from diffseg_ros.errors import DiffsegError
from diffseg_ros.fleet.index import Row
from diffseg_ros.fleet.recordings import Recording
import ray
from ray.exceptions import RayError
from ray.util import ActorPool

_OBJECT_STORE_BYTES = 100_000_000  # rows and counts are all that Ray moves
_POLL_SECONDS = 0.5
_REPORT_SECONDS = 2.0
_CONNECT_SECONDS = 10.0


class Job(Protocol):
    """What a worker does; it is sent to each, and must not hold what cannot be sent."""

    def check_machine(self) -> None:
        """Raise DiffsegError where this machine cannot do it for any recording."""

    def again(self, recording: Recording, node: str, alive: Callable[[str], bool]) -> Row | None:
        """Return the row of a recording that ended its worker before, None to go on."""

    def run(self, recording: Recording, node: str, tick: Callable[[int, int], None]) -> Row:
        """Label a recording; `tick` takes the frames that are done and those there are."""


@dataclass(frozen=True)
class Crew:
    """
    The workers to start.

    Attributes
    ----------
    address
        Of the Ray cluster; None starts Ray on this machine.
    workers
        How many; 0 is as many as there are resources for.
    cpus, gpus
        That each takes; a GPU may be shared by a fraction.

    """

    address: str | None = None
    workers: int = 0
    cpus: float = 1.0
    gpus: float = 0.0


@dataclass(frozen=True)
class Progress:
    """Frames done, the sum of what is done of each task in work, and how many were begun."""

    frames: int = 0
    in_work: float = 0.0
    begun: int = 0


class _Board:
    """Gathers what the workers say of their progress."""

    def __init__(self) -> None:
        self._finished = self._begun = 0
        self._at: dict[str, tuple[int, int]] = {}

    def begin(self) -> None:
        self._begun += 1

    def tell(self, name: str, done: int, total: int) -> None:
        self._at[name] = done, total

    def finish(self, name: str) -> None:
        self._finished += self._at.pop(name, (0, 0))[0]

    def progress(self) -> Progress:
        return Progress(self._finished + sum(done for done, _ in self._at.values()),
                        sum(done / total for done, total in self._at.values() if total),
                        self._begun)


class _Worker:
    """Runs a job for one recording after the other; Ray starts it again where it ended."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._checked = False

    def label(self, recording: Recording, board: Any) -> Row:
        if not self._checked:
            self._job.check_machine()
            self._checked = True
        board.begin.remote()
        node = ray.get_runtime_context().get_node_id()
        told = 0.0

        def tick(done: int, total: int) -> None:
            nonlocal told
            if time.monotonic() - told > _REPORT_SECONDS or done == total:
                told = time.monotonic()
                board.tell.remote(recording.task, done, total)

        row = (self._job.again(recording, node, _is_alive)
               or self._job.run(recording, node, tick))
        board.finish.remote(recording.task)
        return row


def _is_alive(node: str) -> bool:
    return any(known['Alive'] for known in ray.nodes() if known['NodeID'] == node)


def _check_reachable(address: str) -> None:
    """Raise OSError where nothing answers at HOST:PORT, which Ray tries for minutes."""
    host, _, port = address.removeprefix('ray://').rpartition(':')
    if port.isdecimal():
        socket.create_connection((host.strip('[]'), int(port)), _CONNECT_SECONDS).close()


class Fleet:
    """
    Workers on this machine or a cluster, from `with` to its end.

    Raises
    ------
    DiffsegError
        The cluster cannot be reached, or nowhere is there what a worker needs.

    """

    def __init__(self, crew: Crew, job: Job, most: int) -> None:
        self._crew, self._job, self._most = crew, job, most
        self._board: Any = None

    def __enter__(self) -> Fleet:
        """Connect to the cluster, or start Ray here."""
        crew = self._crew
        common = {'log_to_driver': False, 'logging_level': 'ERROR'}
        try:
            if crew.address:
                _check_reachable(crew.address)
                ray.init(address=crew.address, **common)
            else:
                cores = crew.cpus * min(crew.workers, self._most) or None
                ray.init(address='local', num_cpus=int(-(-cores // 1)) if cores else None,
                         include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES,
                         runtime_env={'env_vars': {'PYTHONPATH': _python_path()}}, **common)
        except (OSError, RuntimeError, ValueError, OverflowError, ImportError,
                RayError) as error:
            reason = ' '.join(str(error).split())[:300]
            hint = ('; where the cluster wants a token, set RAY_AUTH_MODE=token'
                    if type(error) is ConnectionError and crew.address else '')
            raise DiffsegError(f'--address {crew.address or "(this machine)"}: Ray cannot be '
                               f'reached or started ({reason}){hint}') from error
        return self

    def __exit__(self, *exception: object) -> None:
        """End the workers, and Ray where it was started here."""
        ray.shutdown()

    def rows(self, left: deque[Recording], stop: Callable[[], bool]) -> Iterator[Row | None]:
        """
        Yield what became of each task as it is done, and None about twice a second between.

        The tasks are taken out of `left`, which may be changed meanwhile. They are no longer
        handed out once `stop` says so; those in work are finished.
        """
        crew = self._crew
        room = _room(crew)
        count = min(crew.workers or room, self._most)
        self._board = ray.remote(num_cpus=0, max_restarts=-1)(_Board).remote()
        worker = ray.remote(num_cpus=crew.cpus, num_gpus=crew.gpus, max_restarts=-1,
                            max_task_retries=-1)(_Worker)
        pool = ActorPool([worker.remote(self._job) for _ in range(count)])
        while True:
            while left and not stop() and pool.has_free():
                pool.submit(lambda actor, one: actor.label.remote(one, self._board),
                            left.popleft())
            if not left or stop():
                # A worker of a node that was lost may wait for the place of one without work.
                while pool.pop_idle() is not None:
                    pass
            if not pool.has_next():
                return
            try:
                yield pool.get_next_unordered(timeout=_POLL_SECONDS)
            except TimeoutError:
                yield None
            except RayError as error:
                if isinstance(cause := getattr(error, 'cause', None), DiffsegError):
                    raise cause from None
                reason = ' '.join(str(error).split())[:300]
                raise DiffsegError(f'Ray: a worker cannot work ({reason}); diffseg_ros must be '
                                   'installed alike on all nodes') from error

    def progress(self) -> Progress:
        """Return what the workers told last."""
        try:
            progress: Progress = ray.get(self._board.progress.remote(), timeout=_POLL_SECONDS)
            return progress
        except RayError:
            return Progress()


def _room(crew: Crew) -> int:
    """Return how many workers the living nodes have resources for."""
    found = 0
    for node in ray.nodes():
        if node['Alive']:
            has = node['Resources']
            found += int(min(has.get(name, 0.0) / wanted + 1e-9 for name, wanted in
                             (('CPU', crew.cpus), ('GPU', crew.gpus)) if wanted))
    if not found:
        raise DiffsegError(f'--cpus {crew.cpus:g} --gpus {crew.gpus:g}: no node has as much; ask '
                           'for less a worker, or add nodes')
    return found


def _python_path() -> str:
    """Return PYTHONPATH with the place that this package came from in front."""
    here = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join(filter(None, [here, os.environ.get('PYTHONPATH')]))
