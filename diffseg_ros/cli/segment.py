"""diffseg_segment: segment images."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
import sys
from typing import TYPE_CHECKING

from diffseg_ros.cli.command import add_json_option, progress, run_stoppable, write_json
from diffseg_ros.cli.output_folder import OutputFolder
from diffseg_ros.cli.pipeline_options import add_pipeline_options, pipeline_config
from diffseg_ros.cli.signals import StopSignal
from diffseg_ros.errors import DiffsegError, WriteError
from diffseg_ros.io.images import read_image, write_image
from diffseg_ros.io.source import recording_kind
import numpy as np

if TYPE_CHECKING:
    from diffseg_ros.pipeline import Pipeline


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='diffseg_segment', description=__doc__)
    parser.add_argument('images', nargs='+', type=Path, metavar='IMAGE',
                        help='png, jpg, ...')
    parser.add_argument('--output', type=Path, required=True, metavar='DIR',
                        help='labels/NAME.png (16 bit, from 1) and overlay/NAME.jpg go here')
    add_pipeline_options(parser)
    add_json_option(parser)
    return parser


def _run(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """Return 1 where some of the images failed."""
    from diffseg_ros.pipeline import Pipeline

    _check(arguments.images)
    config = pipeline_config(arguments)
    folder = OutputFolder(arguments.output, 'diffseg_segment', [
        name for path in arguments.images
        for name in (f'labels/{path.stem}.png', f'overlay/{path.stem}.jpg')], arguments.images)
    counts: dict[str, int] = {}
    failed: list[str] = []
    with folder:
        with stop.interrupting():
            pipeline = Pipeline(config)
        for path in progress(arguments.images, len(arguments.images), 'images'):
            if stop():
                break
            try:
                counts[str(path)] = _segment(path, pipeline, folder)
            except WriteError:
                raise
            except DiffsegError as error:
                failed.append(str(path))
                print(error, file=sys.stderr)
    write_json(arguments.json, {
        'photos': len(counts), 'photos_failed': len(failed), 'failed': failed,
        'segments': counts, 'stopped': stop(), **pipeline.model})
    print(f'{"stopped early: " if stop() else ""}{len(counts)} images segmented, {len(failed)} '
          f'failed, into {arguments.output}', flush=True)
    if not counts and failed:
        raise DiffsegError('none of the images could be read')
    return int(bool(failed))


def _segment(path: Path, pipeline: Pipeline, folder: OutputFolder) -> int:
    """Segment an image, write the files and return the number of segments."""
    from diffseg_ros.cli.photo_sizes import segment_photo
    from diffseg_ros.viz.overlay import draw_overlay

    rgb = read_image(path)
    labels = segment_photo(pipeline, rgb) + 1
    files = (folder.path / 'labels' / f'{path.stem}.png',
             folder.path / 'overlay' / f'{path.stem}.jpg')
    write_image(files[0], labels.astype(np.uint16))
    write_image(files[1], draw_overlay(rgb, labels))
    folder.record(*files)
    return int(labels.max())


def _check(images: list[Path]) -> None:
    for path in images:
        # A .gif may be either.
        if path.exists() and path.suffix != '.gif' and (kind := recording_kind(path)):
            raise DiffsegError(f'{path}: is {kind}, not a photo; diffseg_replay {path} --output '
                               'DIR segments its frames, with ids that persist')
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
    return run_stoppable(_run, _parser(), argv)


if __name__ == '__main__':
    sys.exit(main())
