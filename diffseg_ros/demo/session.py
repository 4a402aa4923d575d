"""One run: the node in a process of its own, a player that feeds it and a recorder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
import time
from typing import Any, TYPE_CHECKING

from diffseg_ros.demo.click import Click
from diffseg_ros.demo.frame_accounting import frame_counts, is_settled, node_status
from diffseg_ros.demo.processes import Child, child_environment
from diffseg_ros.demo.recorder import DIAGNOSTICS, NODE, Recorder
from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.message_stream import (
    CLICK_TOPIC,
    FRAME_TOPICS,
    ODOMETRY_TOPIC,
    serialised_click,
    serialised_messages,
    serialised_odometry,
    TimedMessage,
)
from diffseg_ros.io.messages import nanoseconds
from diffseg_ros.types import Frame

if TYPE_CHECKING:
    from diffseg_ros.ros.player import Player

OPTICAL_FRAME = 'camera_optical_frame'
PERIOD_NS = 100_000_000

_CAMERA_TOPICS = [topic for topic in FRAME_TOPICS | CLICK_TOPIC if topic != '/tf']
_SETTLE_SECONDS = 20.0
_ARRIVAL_NS = 1_000_000_000
"""By then the node has received what it was sent, even on busy cores."""
_DELIVERY_SECONDS = 0.3


def run_session(frames: Iterable[Frame], log: Path, node_log: Path, *, domain_id: int,
                node_module: str, params: Path | None = None, settings: Sequence[str] = (),
                click: Click | None = None, patience: float = 120.0) -> list[Frame]:
    """
    Play frames to the node at 10 Hz and record what it publishes.

    Parameters
    ----------
    frames
        With depth, intrinsics and pose.
    log
        MCAP file for what the node publishes.
    node_log
        File for what the node prints.
    domain_id
        ROS domain of both processes.
    node_module
        Python module that is run as the node.
    params
        Parameter file for the node, or None for its defaults.
    settings
        Parameters as `NAME:=VALUE`, which the file goes before.
    click
        What is clicked on.
    patience
        Seconds the node may take to load its model.

    Returns
    -------
    list
        The frames as sent: their stamps are the time of day and exactly 0.1 s apart.

    Raises
    ------
    DiffsegError
        The node does not come up, or it ends before the last frame; the message holds the end
        of its log.

    """
    arguments = ['--ros-args', '-r', f'__node:={NODE[1:]}']
    arguments += [part for setting in settings for part in ('-p', setting)]
    if params is not None:
        arguments += ['--params-file', str(params)]
    sent: list[Frame] = []
    with (Child('node', node_module, arguments, node_log, child_environment(domain_id)) as node,
          _player(domain_id) as player, Recorder(log, player.node) as recorder):

        def messages() -> Iterator[TimedMessage]:
            stamp = 0
            for frame in frames:
                node.check()
                if not sent:
                    serialised_messages(frame)  # the first time takes 0.1 s
                    stamp = time.time_ns()
                sent.append(replace(frame, stamp=stamp, frame_id=OPTICAL_FRAME))
                yield serialised_odometry(sent[-1])  # tf2_msgs may not be installed
                yield from serialised_messages(sent[-1])
                if click is not None and len(sent) == click.frame + 1:
                    yield serialised_click(sent[-1], click.pixel)
                stamp += PERIOD_NS

        monitor = _Monitor(player)
        _wait_until_ready(player, monitor, node, recorder, patience)
        player.play(messages())
        _wait_until_settled(player, monitor, node)
        node.stop()
        player.wait_for(lambda: False, _DELIVERY_SECONDS)  # of the node's last counters
    return sent


@contextmanager
def _player(domain_id: int) -> Iterator[Player]:
    from diffseg_ros.ros.player import Player
    import rclpy

    context = rclpy.Context()
    context.init(args=[], domain_id=domain_id)
    try:
        with Player(FRAME_TOPICS | ODOMETRY_TOPIC | CLICK_TOPIC, context=context) as player:
            yield player
    finally:
        context.try_shutdown()


class _Monitor:
    """What the node says about itself on /diagnostics."""

    def __init__(self, player: Player) -> None:
        from diagnostic_msgs.msg import DiagnosticArray

        self.status: dict[str, str] = {}
        self.error = ''
        self.stamp = 0
        player.node.create_subscription(DiagnosticArray, DIAGNOSTICS, self._update, 10)

    @property
    def state(self) -> str:
        return self.status.get('state', 'silent')

    def _update(self, message: Any) -> None:
        for status in message.status:
            if status.name.startswith(NODE[1:]):
                self.status = node_status(message)
                self.error = status.message if status.level >= status.ERROR else ''
                self.stamp = nanoseconds(message.header.stamp)


def _wait_until_ready(player: Player, monitor: _Monitor, node: Child, recorder: Recorder,
                      patience: float) -> None:
    """Wait until the node is active and all topics are connected."""
    cameras = set(map(player.node.resolve_topic_name, _CAMERA_TOPICS))

    def is_ready() -> bool:
        inputs, outputs = (monitor.status.get(name, '').split() for name in ('inputs', 'outputs'))
        return (monitor.state == 'active' and player.has_subscribers(*_CAMERA_TOPICS)
                and cameras <= set(inputs) and recorder.is_connected(outputs))

    def has_answered() -> bool:
        node.check()
        return is_ready() or bool(monitor.error and monitor.state != 'active')

    if not player.wait_for(has_answered, patience):
        raise DiffsegError(f'the node is {monitor.state}, but not ready after {patience:.0f} s; '
                           f'{node.log_excerpt}')
    if not is_ready():
        raise DiffsegError(f'the node does not come up: {monitor.error}; {node.log_excerpt}')


def _wait_until_settled(player: Player, monitor: _Monitor, node: Child) -> None:
    """Wait until the node has finished what it received and has reported so."""
    arrived = time.time_ns() + _ARRIVAL_NS

    def is_done() -> bool:
        node.check()
        return monitor.stamp > arrived and is_settled(frame_counts(monitor.status))

    player.wait_for(is_done, _SETTLE_SECONDS)
