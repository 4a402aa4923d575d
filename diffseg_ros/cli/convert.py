"""diffseg_convert: write a sequence folder as a rosbag2 recording (mcap or sqlite3)."""

from __future__ import annotations

import argparse
from pathlib import Path
import sys
from typing import TYPE_CHECKING

from diffseg_ros.cli.command import add_json_option, progress, run_interruptible, write_json
from diffseg_ros.errors import DiffsegError
from diffseg_ros.types import Frame

if TYPE_CHECKING:
    from diffseg_ros.io.bag_writer import BagWriter


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='diffseg_convert', description=__doc__)
    parser.add_argument('sequence', type=Path, metavar='SEQUENCE',
                        help='folder with rgb/, and depth/, camera.json, poses.txt, times.txt; '
                        'or a folder of images, an image or a video file')
    parser.add_argument('bag', type=Path, metavar='BAG',
                        help='X.mcap or X.db3 for a single file, another name for a bag folder')
    parser.add_argument('--force', action='store_true', help='overwrite BAG')
    add_json_option(parser)
    return parser


def _run(arguments: argparse.Namespace) -> None:
    from diffseg_ros.io.bag_writer import BagWriter
    from diffseg_ros.io.source import is_bag, open_source

    source = open_source(arguments.sequence)
    if is_bag(arguments.sequence):
        raise DiffsegError(f'{arguments.sequence}: is a bag already; give a sequence folder')
    if arguments.bag.exists() and not arguments.force:
        raise DiffsegError(f'{arguments.bag}: exists already; choose another name or add --force')
    given, target = arguments.sequence.resolve(), arguments.bag.resolve()
    if given in (target, target.parent) or target in given.parents:
        raise DiffsegError(f'{arguments.bag}: lies in what is converted, {arguments.sequence}, or '
                           'around it; choose a name in another folder')
    total = source.frame_count
    failed, previous = 0, -1
    with BagWriter(arguments.bag, overwrite=arguments.force) as writer:
        for item in progress(source.numbered_frames(), total, 'convert'):
            if item.frame is None:
                failed += 1
                print(f'diffseg_convert: left out: {item.error}', file=sys.stderr)
                continue
            if item.frame.stamp <= previous:
                raise DiffsegError(f'{arguments.sequence}: the time of frame {item.number} is not '
                                   'after that of the frame before; a bag needs rising times')
            previous = item.frame.stamp
            write_frame(writer, item.frame)
        if failed == total:
            raise DiffsegError(f'{arguments.sequence}: none of its {failed} frames can be read')
    for warning in source.warnings:
        print(warning, file=sys.stderr)
    print(f'{arguments.bag}: {total - failed} of {total} frames')
    write_json(arguments.json, {'frames': total - failed, 'frames_failed': failed,
                                'messages': dict(writer.counts), 'notes': source.warnings})


def write_frame(writer: BagWriter, frame: Frame) -> None:
    """Write the messages of one frame: image, depth, camera_info and transform."""
    from diffseg_ros.io.message_stream import frame_messages

    for topic, message in frame_messages(frame).items():
        writer.write(f'/{topic.lstrip("/")}', message, frame.stamp)


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_interruptible(_run, _parser(), argv)
