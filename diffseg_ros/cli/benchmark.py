"""diffseg_benchmark: time per stage, and ours beside the published algorithms, in one run."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
import platform
import sys
from typing import Any

from diffseg_ros.cli.command import add_json_option, run_command, write_json
from diffseg_ros.cli.pipeline_options import add_pipeline_options, pipeline_config
from diffseg_ros.cli.studies import has_studies, load_study
from diffseg_ros.config import PipelineConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.settings import updated
from diffseg_ros.types import Frame

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
    parser.add_argument('--shape', choices=('sd15', 'sd21', 'ssd1b', 'tiny'),
                        help='time a U-Net of this shape with random weights at 512x512 pixels '
                        'instead of a model')
    parser.add_argument('--tiny-vae', action='store_true',
                        help='with --shape: encode images by an AutoencoderTiny')
    parser.add_argument('--images', nargs='+', type=Path, default=[], metavar='IMAGE',
                        help='images to cut besides the generated frames')
    parser.add_argument('--quick', action='store_true',
                        help='few repetitions and small inputs: a trial run, not a measurement')
    add_pipeline_options(parser)
    add_json_option(parser)
    return parser


def _run(arguments: argparse.Namespace) -> None:
    unknown = [name for name in arguments.sections if name not in SECTIONS]
    if unknown:
        raise DiffsegError(f'section {unknown[0]!r}: unknown; choose from {", ".join(SECTIONS)}')
    if arguments.tiny_vae and arguments.shape is None:
        raise DiffsegError('--tiny-vae: needs --shape; choose one of sd15, sd21, ssd1b')
    given = {'backbone.device': arguments.device, 'backbone.model': arguments.model}
    config = updated(pipeline_config(arguments),
                     {name: value for name, value in given.items() if value is not None})
    benchmark = _Benchmark(config, arguments)
    report: dict[str, Any] = {}
    default = SECTIONS if has_studies() else SECTIONS[1:]
    for section in SECTIONS:
        if section in (arguments.sections or default):
            report[section] = getattr(benchmark, section)()
            _print(section, report[section])
    if arguments.growth:
        report['growth'] = benchmark.growth()
        for method, rows in report['growth'].items():
            for row in rows:
                _print(f'growth {method}', row)
    machine = benchmark.machine()
    print(', '.join(f'{name} {value}' for name, value in machine.items()))
    write_json(arguments.json, {**report, **machine})


class _Benchmark:
    """Measures the sections one by one on the same frames."""

    def __init__(self, config: PipelineConfig, arguments: argparse.Namespace) -> None:
        from diffseg_ros.backbones.device import resolve_device
        from diffseg_ros.benchmark.stages import resized, scene_frames
        from diffseg_ros.io.images import read_image

        self._config = config
        self._shape, self._tiny_vae = arguments.shape, arguments.tiny_vae
        self._quick = arguments.quick
        self._device = resolve_device(config.backbone.device)
        self._images = [Frame(read_image(path)) for path in arguments.images]
        self._frames = scene_frames(2 if self._quick else 4)
        if self._quick:
            self._frames = [resized(frame, 160, 120) for frame in self._frames]
        self._model = config.backbone.model

    def segmentation(self) -> dict[str, Any]:
        return load_study('segmentation_speed').measure_segmentation(
            self._config, self._frames, self._images, quick=self._quick)

    def growth(self) -> dict[str, Any]:
        return load_study('segmentation_speed').measure_growth(
            self._config, self._frames[0], quick=self._quick)

    def pipeline(self) -> dict[str, Any]:
        from diffseg_ros.benchmark.stages import measure_pipeline, resized
        from diffseg_ros.pipeline import create_method, Pipeline

        frames, backbone = self._frames, None
        if self._shape is not None:
            study = load_study('random_unets')
            backbone = study.random_backbone(
                self._shape, self._config.backbone.replace(tokens=study.TOKENS_AT_512),
                tiny_vae=self._tiny_vae,
                attention=create_method(self._config.segmentation).needs_attention)
            frames = [resized(frame, 512, 512) for frame in frames]
            self._model = backbone.name
        count = 4 if self._quick else 100 if self._device.type == 'cuda' else 24
        return measure_pipeline(frames, Pipeline(self._config, backbone=backbone), count)

    def cloud(self) -> dict[str, Any]:
        from diffseg_ros.benchmark.stages import measure_cloud

        plain = load_study('plain_cloud').plain_points if has_studies() else None
        return measure_cloud(3 if self._quick else 30, plain)

    def tracking(self) -> dict[str, Any]:
        from diffseg_ros.benchmark.stages import measure_tracking

        return measure_tracking(self._frames, self._config.tracking, 4 if self._quick else 50)

    def machine(self) -> dict[str, Any]:
        """Return what the figures depend on besides the code."""
        import torch

        device = str(self._device)
        if self._device.type == 'cuda':
            device = f'{device} ({torch.cuda.get_device_name(self._device)})'
        return {'device': device, 'model': self._model, 'cpu': platform.processor()
                or platform.machine(), 'cores': os.cpu_count(),
                'threads': torch.get_num_threads(), 'quick': self._quick}


def _print(name: str, values: dict[str, Any]) -> None:
    plain = {key: value for key, value in values.items() if not isinstance(value, dict)}
    if plain:
        print(f'{name}: ' + ', '.join(f'{key} {value}' for key, value in plain.items()))
    for key, value in values.items():
        if isinstance(value, dict):
            _print(f'{name} {key}', value)


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(_run, _parser(), argv)


if __name__ == '__main__':
    sys.exit(main())
