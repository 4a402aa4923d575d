"""diffseg_evaluate: accuracy against ground truth."""

from __future__ import annotations

import argparse
import sys

from diffseg_ros.cli import evaluate_masks, evaluate_tracks
from diffseg_ros.cli.command import run_command
from diffseg_ros.registry import measures


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='diffseg_evaluate', description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    masks = commands.add_parser('masks', help='segments of images against true masks',
                                description='Score segments of images against true masks.')
    evaluate_masks.add_arguments(masks)
    masks.set_defaults(run=evaluate_masks.run)
    tracks = commands.add_parser('tracks', help='persistent ids through recordings',
                                 description='Score persistent ids through recordings: against '
                                 'true instances where a recording has them, and by warping '
                                 'labels with depth and pose where it has those.')
    evaluate_tracks.add_arguments(tracks)
    tracks.set_defaults(run=evaluate_tracks.run)
    return parser


def _run(arguments: argparse.Namespace) -> None:
    arguments.run(arguments)
    for problem in measures.problems:
        print(f'warning: {problem}', file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(_run, _parser(), argv)


if __name__ == '__main__':
    sys.exit(main())
