"""diffseg_evaluate: accuracy against ground truth."""

from __future__ import annotations

import argparse
import sys

from diffseg_ros.cli import evaluate_masks, evaluate_tracks
from diffseg_ros.cli.command import add_json_option, run_interruptible
from diffseg_ros.cli.pipeline_options import add_pipeline_options, pipeline_config
from diffseg_ros.errors import DiffsegError
from diffseg_ros.registry import measures


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='diffseg_evaluate', description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    masks = commands.add_parser('masks', help='segments of images against true masks',
                                description='Score segments of images against true masks.')
    tracks = commands.add_parser('tracks', help='persistent ids through recordings',
                                 description='Score persistent ids through recordings: against '
                                 'true instances where a recording has them, and by warping '
                                 'labels with depth and pose where it has those.')
    for command, module in (masks, evaluate_masks), (tracks, evaluate_tracks):
        module.add_arguments(command)
        add_pipeline_options(command)
        add_json_option(command)
        command.set_defaults(run=module.run)
    return parser


def _run(arguments: argparse.Namespace) -> None:
    if arguments.plots and arguments.output is None:
        raise DiffsegError('--plots: the plots need a folder; give one with --output')
    config = pipeline_config(arguments)
    arguments.run(arguments, config)
    for problem in measures.problems:
        print(f'warning: {problem}', file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_interruptible(_run, _parser(), argv)


if __name__ == '__main__':
    sys.exit(main())
