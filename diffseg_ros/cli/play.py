"""diffseg_play: publish a recording, or a generated room, on the topics the node takes."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import signal
import sys
import tempfile
from typing import TYPE_CHECKING

from diffseg_ros.cli.command import progress, run_command
from diffseg_ros.cli.source_frames import add_topic_options, topic_names
from diffseg_ros.errors import DiffsegError

if TYPE_CHECKING:
    from diffseg_ros.cli.play_timeline import Timeline
    from diffseg_ros.ros.playback import Playback


_ROOM = {'frames': 100, 'seed': 0}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='diffseg_play', description=__doc__,
        epilog='ROS arguments follow --ros-args: -r OLD:=NEW, -r __ns:=/NAMESPACE.')
    parser.add_argument('source', type=Path, nargs='?', metavar='SOURCE',
                        help='bag (.mcap, .db3 or a bag folder) or sequence folder; without it a '
                             'room is generated')
    parser.add_argument('--rate', type=float, default=1.0, metavar='R',
                        help='times the speed of the recording (1)')
    parser.add_argument('--loop', type=int, default=1, metavar='N',
                        help='how many times (1); 0 is without end')
    parser.add_argument('--clock', action='store_true',
                        help="publish the recording's time on /clock")
    parser.add_argument('--wait', type=float, default=60.0, metavar='SECONDS',
                        help='how long to wait for a subscriber before the start (60)')
    add_topic_options(parser, 'topic in the recording (found by itself, or {topic})')
    parser.add_argument('--frames', type=int, metavar='N',
                        help=f'frames of the generated room ({_ROOM["frames"]})')
    parser.add_argument('--seed', type=int,
                        help=f'which room is generated ({_ROOM["seed"]})')
    return parser


class _StopSignal:
    """Notes SIGINT and SIGTERM; the handlers of rclpy would cut the last message off."""

    def __init__(self) -> None:
        self.received = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, *_: object) -> None:
        self.received = True

    def __call__(self) -> bool:
        return self.received


def _run(arguments: argparse.Namespace) -> None:
    from diffseg_ros.cli.play_timeline import open_timeline

    _check(arguments)
    names = topic_names(arguments)
    with _source(arguments) as path:
        timeline = open_timeline(path, names)
        for note in timeline.notes:
            print(f'diffseg_play: {note}', file=sys.stderr)
        _play(arguments, timeline)


def _check(arguments: argparse.Namespace) -> None:
    if not 0.01 <= arguments.rate <= 100:
        raise DiffsegError(f'--rate {arguments.rate}: between 0.01 and 100 are possible')
    if arguments.loop < 0:
        raise DiffsegError(f'--loop {arguments.loop}: 0 (without end) or more is needed')
    if not arguments.wait >= 0:
        raise DiffsegError(f'--wait {arguments.wait:g}: 0 or more seconds are needed')
    for name, default in _ROOM.items():
        value = getattr(arguments, name)
        if value is None:
            setattr(arguments, name, default)
        elif arguments.source is not None:
            raise DiffsegError(f'--{name} {value}: is about the generated room, but '
                               f'{arguments.source} is to be played; leave out one of the two')
    if arguments.frames < 2 or arguments.seed < 0:
        raise DiffsegError(f'--frames {arguments.frames} --seed {arguments.seed}: a room has 2 '
                           'frames or more, and a seed of 0 or more')


@contextmanager
def _source(arguments: argparse.Namespace) -> Iterator[Path]:
    """Yield the recording; a room is rendered into a folder for the time it is played."""
    if arguments.source is not None:
        yield arguments.source
        return
    from diffseg_ros.synthetic.sequence_writer import render_sequence

    with tempfile.TemporaryDirectory(prefix='diffseg_play.') as folder:
        path = Path(folder, 'room')
        steps = render_sequence(path, arguments.frames, arguments.seed)
        for _ in progress(steps, arguments.frames, 'rendering'):
            pass
        yield path


def _play(arguments: argparse.Namespace, timeline: Timeline) -> None:
    from diffseg_ros.ros.playback import Playback
    from diffseg_ros.ros.startup import join_ros
    import rclpy

    join_ros(arguments.ros_arguments)
    playback = Playback(timeline.topics, clock=arguments.clock)
    try:
        _play_loops(arguments, timeline, playback)
    finally:
        playback.close()
        rclpy.try_shutdown()


def _play_loops(arguments: argparse.Namespace, timeline: Timeline, playback: Playback) -> None:
    if playback.missing:
        print(f'diffseg_play: not played, their message packages are not installed: '
              f'{", ".join(playback.missing)}', file=sys.stderr)
    image = next(iter(name for name in timeline.topics if name.startswith('rgb/image_raw')))
    if image.endswith('compressed'):
        print('diffseg_play: the images are compressed: the node needs '
              'image_transport:=compressed', file=sys.stderr)
    stop = _StopSignal()
    if not playback.wait(image, arguments.wait, stop) and not stop():
        print(f'diffseg_play: nobody subscribes to {image} after {arguments.wait:.0f} s; playing '
              'all the same', file=sys.stderr)
    loop = 0
    while not stop() and (loop < arguments.loop or not arguments.loop):
        count = playback.play(timeline, arguments.rate, stop)
        loop += 1
        print(f'diffseg_play: {count} messages, loop {loop}', file=sys.stderr, flush=True)
    if not stop():
        playback.finish()


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    words = sys.argv[1:] if argv is None else argv
    own = words[:words.index('--ros-args')] if '--ros-args' in words else words
    parser = _parser()
    parser.set_defaults(ros_arguments=words[len(own):])
    return run_command(_run, parser, own)


if __name__ == '__main__':
    sys.exit(main())
