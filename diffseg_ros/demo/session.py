"""One run: the node and the recorder as processes, the camera's frames in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
import time

from diffseg_ros.demo.player import Player, PreparedFrame
from diffseg_ros.demo.processes import Child, child_environment
from diffseg_ros.demo.recorder import NODE, READY
from diffseg_ros.errors import DiffsegError

NODE_MODULE = 'diffseg_ros.cli.node'

_SETTLE_SECONDS = 20.0
_CONNECT_SECONDS = 15.0


@dataclass(frozen=True)
class SessionSettings:
    """
    How the processes are run.

    Attributes
    ----------
    domain_id
        ROS domain of all three.
    params
        Parameter file for the node, or None for its defaults.
    period
        Nanoseconds between frames.
    patience
        Seconds the node may take to load its model.

    """

    domain_id: int
    params: Path | None
    period: int = 100_000_000
    patience: float = 120.0
    node_module: str = NODE_MODULE


class Session:
    """Starts node and recorder, plays frames to the node and stops both in order."""

    def __init__(self, folder: Path, node_log: Path, settings: SessionSettings) -> None:
        """Use `folder` for what is recorded and `node_log` for what the node prints."""
        self._folder = folder
        self._node_log = node_log
        self._settings = settings
        self.spool = folder / 'recording.spool'

    @contextmanager
    def running(self) -> Iterator[Callable[[Iterable[PreparedFrame]], Iterator[int]]]:
        """
        Yield a function that plays frames and yields their stamps; clean up afterwards.

        Raises
        ------
        DiffsegError
            The node does not come up, or it ends before the last frame; the message holds the
            end of its log.

        """
        settings = self._settings
        environment = child_environment(settings.domain_id)
        with (Child('recorder', 'diffseg_ros.demo.recorder', [str(self.spool)],
                    self._folder / 'recorder.log', environment) as recorder,
              Child('node', settings.node_module, self._node_arguments(),
                    self._node_log, environment) as node,
              Player(settings.domain_id) as player):
            self._wait_until_ready(player, node, recorder)

            def play(frames: Iterable[PreparedFrame]) -> Iterator[int]:
                def check() -> None:
                    node.check()
                    recorder.check()

                yield from player.play(frames, settings.period, check)
                self._settle(player, node)

            yield play
            # The node's last counters have to reach the recorder.
            player.wait(lambda: False, 0.3)
            node.stop()
            player.wait(lambda: False, 0.3)
            recorder.stop()

    def _node_arguments(self) -> list[str]:
        arguments = ['--ros-args', '-r', f'__node:={NODE[1:]}']
        if self._settings.params is not None:
            arguments += ['--params-file', str(self._settings.params)]
        return arguments

    def _wait_until_ready(self, player: Player, node: Child, recorder: Child) -> None:
        end = time.monotonic() + self._settings.patience

        def answered() -> bool:
            node.check()
            recorder.check()
            refused = bool(player.complaint) and player.diagnostics.get('state') != 'active'
            return refused or player.connected

        if not player.wait(answered, end - time.monotonic()):
            state = player.diagnostics.get('state', 'silent')
            raise DiffsegError(f'the node is {state} after {self._settings.patience:.0f} s; the '
                               f'end of its log:\n{node.log_tail() or "(nothing was printed)"}')
        if not player.connected:
            raise DiffsegError(f'the node does not come up: {player.complaint}; the end of its '
                               f'log:\n{node.log_tail() or "(nothing was printed)"}')
        if not player.wait(lambda: READY in recorder.log_tail(), _CONNECT_SECONDS):
            raise DiffsegError('the recorder does not see all topics of the node after '
                               f'{_CONNECT_SECONDS:.0f} s; the end of its log:\n'
                               f'{node.log_tail() or "(nothing was printed)"}')

    def _settle(self, player: Player, node: Child) -> None:
        """Wait until the node has finished what it received and said so."""
        reports = player.status_count

        def done() -> bool:
            node.check()
            return player.status_count >= reports + 2 and player.settled

        player.wait(done, _SETTLE_SECONDS)
