"""Which topics and frames of a recording a command uses."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
import sys
from typing import Any

from diffseg_ros.cli.command import progress
from diffseg_ros.errors import DiffsegError, UsageError, WriteError
from diffseg_ros.io.base import Source, SourceFrame, TopicNames
from diffseg_ros.io.source import is_bag
from diffseg_ros.types import Frame

_TOPIC_ROLES = ('rgb', 'camera_info', 'depth')


def add_frame_options(parser: argparse.ArgumentParser) -> None:
    """Add `--every N` and `--limit N`."""
    parser.add_argument('--every', type=positive, default=1, metavar='N',
                        help='use every Nth frame (1)')
    parser.add_argument('--limit', type=positive, metavar='N', help='stop after N frames')


def add_topic_options(parser: argparse.ArgumentParser,
                      description: str = 'topic in the bag ({topic})') -> None:
    """Add `--rgb-topic` and the like; `{topic}` in the description is the default."""
    names = TopicNames()
    for role in _TOPIC_ROLES:
        parser.add_argument(_topic_option(role), metavar='TOPIC',
                            help=description.format(topic=getattr(names, role)))


def topic_names(arguments: argparse.Namespace) -> TopicNames:
    """
    Return the topics that the options of `add_topic_options` name.

    Raises DiffsegError if one is named but `arguments.source` has no topics, or is None.
    """
    given = _given_topics(arguments)
    source: Path | None = arguments.source
    if given and (source is None or (source.exists() and not is_bag(source))):
        role, topic = next(iter(given.items()))
        raise DiffsegError(f'{_topic_option(role)} {topic}: {source or "a generated room"} has no '
                           'topics to choose from; leave the option out, or name a bag')
    return TopicNames(**given)


def topic_names_of_bags(arguments: argparse.Namespace) -> TopicNames:
    """Return the topics that the options name for those of several sources that are bags."""
    return TopicNames(**_given_topics(arguments))


def _given_topics(arguments: argparse.Namespace) -> dict[str, str]:
    return {role: topic for role in _TOPIC_ROLES
            if (topic := getattr(arguments, f'{role}_topic')) is not None}


def _topic_option(role: str) -> str:
    return f'--{role.replace("_", "-")}-topic'


def selected_numbers(source: Source, every: int, limit: int | None) -> range:
    """Return the numbers of the frames that `selected_frames` yields."""
    return range(0, source.frame_count, every)[:limit]


def selected_frames(source: Source, every: int, limit: int | None) -> Iterator[SourceFrame]:
    """Yield every Nth frame up to the limit, the broken ones included, with a progress bar."""
    frames = progress(source.numbered_frames(), source.frame_count, source.name)
    return islice(frames, 0, None if limit is None else every * (limit - 1) + 1, every)


def process_frames(source: Source, arguments: argparse.Namespace, stop: Callable[[], bool],
                   process: Callable[[int, Frame], None]) -> int:
    """
    Give number and frame of the selected frames to `process`, in order, until a signal comes.

    Frames that are broken or raise DiffsegError are told on stderr; UsageError and WriteError end
    it. Returns how many they were.
    """
    failed = 0
    for item in selected_frames(source, arguments.every, arguments.limit):
        if stop():
            break
        try:
            if item.frame is None:
                raise DiffsegError(item.error or 'cannot be read')
            process(item.number, item.frame)
        except (UsageError, WriteError):
            raise
        except DiffsegError as error:
            failed += 1
            print(f'frame {item.number:06d}: {error}', file=sys.stderr)
    print_warnings(source)
    return failed


def print_warnings(source: Source) -> None:
    """Say on stderr what is to be known of a recording that was read."""
    for warning in source.warnings:
        print(f'{source.name}: {warning}', file=sys.stderr)


def print_missing_depth(report: dict[str, Any]) -> None:
    """Say on stderr why no depth was predicted, where a model should have done it."""
    reason = report.get('depth', {}).get('missing')
    if reason and not report['predicted_share']:
        print(f'no depth was predicted: {reason}', file=sys.stderr)


def positive(text: str) -> int:
    """Parse a count of an option."""
    try:
        value = int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'{text!r}: a whole number is needed') from error
    if value < 1:
        raise argparse.ArgumentTypeError(f'{value}: at least 1 is needed')
    return value
