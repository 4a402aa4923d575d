"""diffseg_play: publish a recording, or a generated room, on the topics the node takes."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import sys
import tempfile
from typing import TYPE_CHECKING

from diffseg_ros.cli.command import progress, run_command
from diffseg_ros.cli.signals import StopSignal
from diffseg_ros.cli.source_frames import add_topic_options, topic_names
from diffseg_ros.errors import DiffsegError
from diffseg_ros.ros.startup import check_ros_arguments

if TYPE_CHECKING:
    from diffseg_ros.io.message_stream import MessageStream
    from diffseg_ros.ros.player import Player

_FRAMES = 100
_SEED = 0
_MATCH_SECONDS = 1.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='diffseg_play', description=__doc__,
        epilog='ROS arguments follow --ros-args: -r OLD:=NEW, -r __ns:=/NAMESPACE.')
    parser.add_argument('source', type=Path, nargs='?', metavar='SOURCE',
                        help='bag (.mcap, .db3 or a bag folder), sequence folder, folder of '
                             'images, image or video; without it a room is generated')
    parser.add_argument('--rate', type=float, default=1.0, metavar='R',
                        help='times the speed of the recording (1)')
    parser.add_argument('--loop', type=int, default=1, metavar='N',
                        help='how many times (1); 0 repeats without end')
    parser.add_argument('--clock', action='store_true',
                        help="publish the recording's time on /clock")
    parser.add_argument('--wait', type=float, default=60.0, metavar='SECONDS',
                        help='how long to wait for a subscriber before the start (60)')
    add_topic_options(parser, 'topic in the recording (found by itself, or {topic})')
    parser.add_argument('--frames', type=int, metavar='N',
                        help=f'frames of the generated room ({_FRAMES})')
    parser.add_argument('--seed', type=int, help=f'which room is generated ({_SEED})')
    return parser


def _run(arguments: argparse.Namespace) -> None:
    from diffseg_ros.io.message_stream import open_stream

    _check(arguments)
    names = topic_names(arguments)
    with _source(arguments) as path:
        stream = open_stream(path, names)
        for warning in stream.warnings:
            _print(warning)
        _play(arguments, stream)


def _check(arguments: argparse.Namespace) -> None:
    if not 0.01 <= arguments.rate <= 100:
        raise DiffsegError(f'--rate {arguments.rate}: between 0.01 and 100 is supported')
    if arguments.loop < 0:
        raise DiffsegError(f'--loop {arguments.loop}: must be 0 (without end) or more')
    if not arguments.wait >= 0:
        raise DiffsegError(f'--wait {arguments.wait:g}: must be 0 seconds or more')
    for name, least in (('frames', 2), ('seed', 0)):
        value = getattr(arguments, name)
        if value is not None and arguments.source is not None:
            raise DiffsegError(f'--{name} {value}: applies to the generated room, but '
                               f'{arguments.source} is to be played; leave out one of the two')
        if value is not None and value < least:
            raise DiffsegError(f'--{name} {value}: must be {least} or more')


@contextmanager
def _source(arguments: argparse.Namespace) -> Iterator[Path]:
    """Yield the recording; a generated room exists in a temporary folder while it is played."""
    if arguments.source is not None:
        yield arguments.source
        return
    from diffseg_ros.synthetic.sequence_writer import render_sequence

    frames = _FRAMES if arguments.frames is None else arguments.frames
    seed = _SEED if arguments.seed is None else arguments.seed
    with tempfile.TemporaryDirectory(prefix='diffseg_play.') as folder:
        path = Path(folder, 'room')
        for _ in progress(render_sequence(path, frames, seed), frames, 'rendering'):
            pass
        yield path


def _play(arguments: argparse.Namespace, stream: MessageStream) -> None:
    from diffseg_ros.ros.player import Player
    from diffseg_ros.ros.startup import join_ros
    import rclpy

    join_ros(arguments.ros_arguments)
    try:
        with Player(stream.topics, clock=arguments.clock) as player, StopSignal() as stop:
            _wait_for_subscriber(arguments, stream, player, stop)
            loop = 0
            while not stop() and (loop < arguments.loop or not arguments.loop):
                count = player.play(stream, arguments.rate, stop)
                loop += 1
                _print(f'{count} messages, loop {loop}')
            if not stop():
                player.wait_for_delivery()
    finally:
        rclpy.try_shutdown()


def _wait_for_subscriber(arguments: argparse.Namespace, stream: MessageStream, player: Player,
                         stop: StopSignal) -> None:
    if player.missing:
        _print('not played, their message packages are not installed: '
               f'{", ".join(player.missing)}')
    image = next(name for name in stream.topics if name.startswith('rgb/image_raw'))
    if image.endswith('compressed'):
        _print('the images are compressed: the node needs image_transport:=compressed')
    topic = player.node.resolve_topic_name(image)
    if not player.has_subscribers(image):
        _print(f'waiting for a subscriber on {topic}, for {arguments.wait:.0f} s at most; '
               '--wait 0 plays at once')
    if not player.wait_for(lambda: stop() or player.has_subscribers(image), arguments.wait):
        _print(f'no subscriber on {topic} after {arguments.wait:.0f} s; playing anyway')
    else:
        # A publisher knows its subscriber before the subscriber knows it.
        player.wait_for(stop, _MATCH_SECONDS)


def _print(text: str) -> None:
    print(f'diffseg_play: {text}', file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    words = sys.argv[1:] if argv is None else argv
    own = words[:words.index('--ros-args')] if '--ros-args' in words else words
    parser = _parser()
    parser.set_defaults(ros_arguments=words[len(own):])
    try:
        check_ros_arguments(parser.prog, words)
    except DiffsegError as error:
        _print(str(error))
        return 2
    return run_command(_run, parser, own)


if __name__ == '__main__':
    sys.exit(main())
