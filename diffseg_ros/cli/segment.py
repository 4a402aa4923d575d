"""diffseg_segment: segment images."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
import sys

from diffseg_ros.cli.command import (
    add_json_option,
    make_folder,
    progress,
    run_command,
    write_json,
)
from diffseg_ros.cli.pipeline_options import add_pipeline_options, pipeline_config
from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.images import read_image, write_image
from diffseg_ros.types import Frame
import numpy as np


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='diffseg_segment', description=__doc__)
    parser.add_argument('images', nargs='+', type=Path, metavar='IMAGE',
                        help='png, jpg, ...')
    parser.add_argument('--output', type=Path, required=True, metavar='DIR',
                        help='labels/NAME.png (16 bit, from 1) and overlay/NAME.jpg go here')
    add_pipeline_options(parser)
    add_json_option(parser)
    return parser


def _run(arguments: argparse.Namespace) -> None:
    from diffseg_ros.pipeline import Pipeline
    from diffseg_ros.viz.overlay import draw_overlay

    _check(arguments.images)
    config = pipeline_config(arguments)
    for name in ('labels', 'overlay'):
        make_folder(arguments.output / name)
    pipeline = Pipeline(config)
    counts: dict[str, int] = {}
    failed: list[str] = []
    for path in progress(arguments.images, len(arguments.images), 'images'):
        try:
            rgb = read_image(path)
            labels = pipeline.segment(Frame(rgb)).labels + 1
        except DiffsegError as error:
            failed.append(str(path))
            print(error, file=sys.stderr)
            continue
        counts[str(path)] = int(labels.max())
        write_image(arguments.output / 'labels' / f'{path.stem}.png', labels.astype(np.uint16))
        write_image(arguments.output / 'overlay' / f'{path.stem}.jpg', draw_overlay(rgb, labels))
    print(f'{len(counts)} images segmented, {len(failed)} failed, into {arguments.output}')
    write_json(arguments.json, {
        'photos': len(counts), 'photos_failed': len(failed), 'failed': failed,
        'segments': counts, 'device': str(pipeline.backbone.device),
        'model': pipeline.backbone.name})
    if not counts:
        raise DiffsegError('none of the images could be read')


def _check(images: list[Path]) -> None:
    for path in images:
        if path.is_dir():
            raise DiffsegError(f'{path}: is a folder; give the images in it (png, jpg, ...)')
        if not path.is_file():
            raise DiffsegError(f'{path}: no such file; give images (png, jpg, ...)')
    twice = [stem for stem, count in Counter(path.stem for path in images).items() if count > 1]
    if twice:
        raise DiffsegError(f'images: {len(twice)} names occur twice ({twice[0]}); results are '
                           'named after the image, so give them in separate calls')


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(_run, _parser(), argv)


if __name__ == '__main__':
    sys.exit(main())
