"""diffseg_benchmark: time of each stage, and of our methods beside the published ones."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
import gc
import os
from pathlib import Path
import platform
import sys
from typing import Any, TYPE_CHECKING

from diffseg_ros.cli.command import add_json_option, run_command, write_json
from diffseg_ros.cli.pipeline_options import add_pipeline_options, pipeline_config
from diffseg_ros.cli.studies import has_studies, load_study
from diffseg_ros.config import PipelineConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.images import read_image
from diffseg_ros.settings import updated
from diffseg_ros.types import Frame

if TYPE_CHECKING:
    from diffseg_ros.backbones.base import Backbone
    import torch

SECTIONS = ('segmentation', 'pipeline', 'cloud', 'tracking')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='diffseg_benchmark', description=__doc__)
    parser.add_argument('sections', nargs='*', metavar='SECTION',
                        help=f'{", ".join(SECTIONS)} (all); segmentation, --growth and --shape '
                        'need the source repository')
    parser.add_argument('--growth', action='store_true',
                        help='also time segmentation at 256, 1024, 2304 and 4096 tokens (some '
                        'minutes on a CPU)')
    parser.add_argument('--device', help="'auto', 'cpu', 'cuda' or 'cuda:N' (auto)")
    parser.add_argument('--model', help="'embedded', a folder with a diffusers pipeline, or a hub "
                        'id (embedded)')
    parser.add_argument('--shape', nargs='+', default=[], metavar='SHAPE',
                        help='time U-Nets of these shapes with random weights at 512x512 pixels '
                        'instead of a model: sd15, sd21, sdxl, ssd1b, lcm, bk_base, bk_small, '
                        'bk_tiny, tiny (a trial)')
    parser.add_argument('--compile', action='store_true',
                        help='with --shape: time each also with backbone.compile')
    parser.add_argument('--tiny-vae', action='store_true',
                        help='with --shape: encode images by an AutoencoderTiny')
    parser.add_argument('--images', nargs='+', type=Path, default=[], metavar='IMAGE',
                        help='images to segment besides the generated frames')
    parser.add_argument('--quick', action='store_true',
                        help='few repetitions and small inputs: a trial run, not a measurement')
    add_pipeline_options(parser)
    add_json_option(parser)
    return parser


def _run(arguments: argparse.Namespace) -> None:
    from diffseg_ros.backbones.device import resolve_device

    # Sections may also follow the shapes.
    arguments.sections += [name for name in arguments.shape if name in SECTIONS]
    arguments.shape = [name for name in arguments.shape if name not in SECTIONS]
    unknown = [name for name in arguments.sections if name not in SECTIONS]
    if unknown:
        raise DiffsegError(f'section {unknown[0]!r}: unknown; choose from {", ".join(SECTIONS)}')
    known = load_study('random_unets').SHAPES if arguments.shape else {}
    unknown = [name for name in arguments.shape if name not in known]
    if unknown:
        raise DiffsegError(f'shape {unknown[0]!r}: unknown; choose from {", ".join(known)}')
    if (arguments.tiny_vae or arguments.compile) and not arguments.shape:
        raise DiffsegError('--tiny-vae and --compile: need --shape, such as --shape sd15; for a '
                           'model use --set backbone.compile=true')
    given = {'backbone.device': arguments.device, 'backbone.model': arguments.model}
    config = updated(pipeline_config(arguments),
                     {name: value for name, value in given.items() if value is not None})
    device = resolve_device(config.backbone.device)
    chosen = set(arguments.sections or SECTIONS[0 if has_studies() else 1:])
    if arguments.growth:
        chosen.add('growth')
    report: dict[str, Any] = {}
    errors: list[DiffsegError] = []
    for section, measure in _sections(config, device, arguments).items():
        if section.split()[0] in chosen:
            try:
                report[section] = measure()
            except DiffsegError as error:  # the others are measured nevertheless
                report[section] = {'error': str(error)}
                errors.append(error)
            else:
                _print(section, report[section])
    models = [name for name in (config.backbone.model, config.backbone.fuse) if name]
    model = (f'{", ".join(arguments.shape)} shape, random weights' if arguments.shape
             else ' + '.join(models))
    machine = _machine(device) | {'model': model, 'quick': arguments.quick}
    print(', '.join(f'{name} {value}' for name, value in machine.items()))
    write_json(arguments.json, {**report, **machine})
    if errors:
        raise errors[0]


def _random_backbone(shape: str, config: PipelineConfig, *, tiny_vae: bool) -> Backbone:
    from diffseg_ros.pipeline import create_method

    study = load_study('random_unets')
    method = create_method(config.segmentation, study.shape_kind(shape))
    backbone: Backbone = study.random_backbone(shape, config.backbone, tiny_vae=tiny_vae,
                                               attention=method.needs_attention)
    return backbone


def _sections(config: PipelineConfig, device: torch.device,
              arguments: argparse.Namespace) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return what measures each section, all on the same frames."""
    from diffseg_ros.benchmark.stages import (
        measure_cloud,
        measure_pipeline,
        measure_tracking,
        resized,
        scene_frames,
    )
    from diffseg_ros.pipeline import Pipeline

    quick = arguments.quick
    images = [Frame(read_image(path)) for path in arguments.images]
    frames = scene_frames(2 if quick else 4)
    if quick:
        frames = [resized(frame, 160, 120) for frame in frames]
    count = 4 if quick else 100 if device.type == 'cuda' else 24

    def segmentation() -> dict[str, Any]:
        return load_study('segmentation_speed').measure_segmentation(config, frames, images,
                                                                     quick=quick)

    def pipeline() -> dict[str, Any]:
        return measure_pipeline(frames, Pipeline(config), count)

    def shape_pipeline(shape: str, compiled: bool) -> dict[str, Any]:
        own = updated(config, {'backbone.compile': True}) if compiled else config
        gc.collect()  # frees the shape before
        backbone = _random_backbone(shape, own, tiny_vae=arguments.tiny_vae)
        seen = [resized(frame, 512, 512) for frame in frames]
        return {'device': _machine(device)['device'], 'model': backbone.name,
                'compile': own.backbone.compile,
                **measure_pipeline(seen, Pipeline(own, backbone=backbone), count)}

    ways = (False, True) if arguments.compile else (False,)
    pipelines: dict[str, Callable[[], dict[str, Any]]] = {
        f'pipeline {shape}{" compiled" * compiled}': partial(shape_pipeline, shape, compiled)
        for shape in arguments.shape for compiled in ways}
    if len(pipelines) < 2:
        pipelines = {'pipeline': next(iter(pipelines.values()), pipeline)}

    def cloud() -> dict[str, Any]:
        plain = load_study('plain_cloud').plain_points if has_studies() else None
        return measure_cloud(3 if quick else 30, plain)

    def tracking() -> dict[str, Any]:
        return measure_tracking(frames, config.tracking, 4 if quick else 50)

    def growth() -> dict[str, Any]:
        return load_study('segmentation_speed').measure_growth(config, frames[0], quick=quick)

    return {'segmentation': segmentation, **pipelines, 'cloud': cloud,
            'tracking': tracking, 'growth': growth}


def _machine(device: torch.device) -> dict[str, Any]:
    """Return what the figures depend on besides the code."""
    import torch

    name = f'{device} ({torch.cuda.get_device_name(device)})' if device.type == 'cuda' else device
    return {'device': str(name), 'cpu': platform.processor() or platform.machine(),
            'cores': os.cpu_count(), 'threads': torch.get_num_threads()}


def _print(name: str, values: dict[str, Any]) -> None:
    plain = {key: value for key, value in values.items() if not isinstance(value, dict | list)}
    if plain:
        print(f'{name}: ' + ', '.join(f'{key} {value}' for key, value in plain.items()))
    for key, value in values.items():
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, dict):
                _print(f'{name} {key}', part)


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(_run, _parser(), argv)


if __name__ == '__main__':
    sys.exit(main())
