"""diffseg_map: fuse the labelled clouds of a posed recording into one voxel map."""

from __future__ import annotations

import argparse
from glob import escape
from pathlib import Path
import sys

from diffseg_ros.cli.command import add_json_option, run_stoppable, write_json
from diffseg_ros.cli.output_folder import OutputFolder
from diffseg_ros.cli.pipeline_options import (
    add_pipeline_options,
    bag_settings,
    pipeline_config,
)
from diffseg_ros.cli.signals import StopSignal
from diffseg_ros.cli.source_frames import (
    add_frame_options,
    add_topic_options,
    print_missing_depth,
    process_frames,
    topic_names,
)
from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.source import open_source
from diffseg_ros.settings import updated

# Metres up to which depth is fused by default: the errors of depth grow with its square.
_MAX_DEPTH = 4.0
_TABLE = '.names.csv'


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='diffseg_map', description=__doc__)
    parser.add_argument('source', type=Path, metavar='SOURCE',
                        help='bag (.mcap, .db3 or a bag folder) with tf, or sequence folder with '
                        'poses.txt; both with depth')
    parser.add_argument('--output', type=Path, required=True, metavar='MAP.ply',
                        help='points with colour, label and confidence; MAP.png is a picture of '
                        'them, and MAP.names.csv, with naming.model, a table of their names')
    parser.add_argument('--voxel-size', type=float, default=0.02, metavar='M',
                        help='side of the voxels in metres (0.02)')
    parser.add_argument('--min-observations', type=int, default=2, metavar='N',
                        help='leave out voxels that fewer frames saw (2)')
    parser.add_argument('--max-depth', type=float, metavar='M',
                        help='leave out what is farther from the camera; 0 is no limit (4, or '
                        'cloud.max_depth where that is set)')
    parser.add_argument('--odometry', action='store_true',
                        help='estimate the poses from the images and depth, in the frame of the '
                        'first camera, instead of reading them')
    parser.add_argument('--complete', type=_identifier, nargs='+', default=[], metavar='ID',
                        help='also write MAP.object_ID.ply, a mesh of each of these objects of '
                        'the map, completed by its symmetry; ids are those of an earlier run of '
                        'the same command (runs are repeatable), and an unknown one lists them')
    add_frame_options(parser)
    add_topic_options(parser)
    add_pipeline_options(parser)
    add_json_option(parser)
    return parser


def _identifier(text: str) -> int:
    """Parse the id of a track."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f'{text!r}: an id of the map is needed, 0 or more')
    return int(text)


def _run(arguments: argparse.Namespace, stop: StopSignal) -> None:
    if arguments.output.suffix.lower() != '.ply' or arguments.output.is_dir():
        raise DiffsegError(f'--output {arguments.output}: the name of a .ply file is needed')
    if arguments.min_observations < 1:
        raise DiffsegError(f'--min-observations {arguments.min_observations}: 1 or more is '
                           'needed')
    config = pipeline_config(arguments)
    max_depth = arguments.max_depth
    if max_depth is None:
        max_depth = config.cloud.max_depth or _MAX_DEPTH
    config = updated(config, {'cloud.max_depth': max_depth})
    source = open_source(arguments.source, topic_names(arguments), bag_settings(arguments))

    names = [arguments.output.with_suffix(suffix).name
             for suffix in (arguments.output.suffix, '.png', _TABLE)]
    meshes = {number: arguments.output.with_suffix(f'.object_{number}.ply')
              for number in arguments.complete}
    names += [file.name for file in meshes.values()]
    folder = OutputFolder(arguments.output.parent, 'diffseg_map', names, [arguments.source],
                          beside=True, clear=False)

    from diffseg_ros.mapping.builder import MapBuilder
    from diffseg_ros.mapping.object_files import missing_objects, write_objects

    builder = MapBuilder(config, arguments.voxel_size, odometry=arguments.odometry,
                         complete=meshes)
    with folder:
        failed = process_frames(source, arguments, stop, lambda _, frame: builder.add(frame))
        try:
            fused = builder.fused(str(arguments.source), arguments.min_observations)
        except DiffsegError:
            if stop():
                raise KeyboardInterrupt from None
            raise
        picture = builder.write(arguments.output, fused)
        if config.vocabulary is None:  # a table of an earlier map would not fit this one
            arguments.output.with_suffix(_TABLE).unlink(missing_ok=True)
        former = arguments.output.parent.glob(f'{escape(arguments.output.stem)}.object_*.ply')
        folder.remove_written(set(former).difference(meshes.values()))
        known = builder.names(fused)
        objects, lines = write_objects(meshes, builder.objects, known)
    report = {**builder.report(fused), 'frames_failed': failed, 'stopped': stop(),
              'source': source.name, 'notes': source.warnings,
              **({'objects': objects} if objects else {})}
    write_json(arguments.json, report)
    print(f'{"stopped early: " if stop() else ""}{report["frames"]} frames ({failed} failed, '
          f'{report["frames_without_pose"]} without pose, {report["frames_without_depth"]} '
          f'without depth), {report["points"]} points, {report["labels"]} labels, mean confidence '
          f'{report["confidence"]:.2f}, into {arguments.output} and {picture}')
    for line in lines:
        print(line)
    print_missing_depth(report)
    if failure := missing_objects(objects, known):
        if not stop():
            raise DiffsegError(failure)
        print(failure, file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_stoppable(_run, _parser(), argv)
