"""diffseg_benchmark: time per stage, and ours beside the published algorithms, in one run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, TYPE_CHECKING

from diffseg_ros.cli.command import add_json_option, run_command, write_json
from diffseg_ros.cli.pipeline_options import add_pipeline_options, pipeline_config
from diffseg_ros.config import updated
from diffseg_ros.errors import DiffsegError

if TYPE_CHECKING:
    from diffseg_ros.benchmark.run import Benchmark

SECTIONS = ('segmentation', 'pipeline', 'cloud', 'tracking')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='diffseg_benchmark', description=__doc__)
    parser.add_argument('sections', nargs='*', metavar='SECTION',
                        help=f'{", ".join(SECTIONS)}; all without one')
    parser.add_argument('--growth', action='store_true',
                        help='also time segmentation at 256, 1024, 2304 and 4096 tokens (some '
                        'minutes on a CPU)')
    parser.add_argument('--device', help="'auto', 'cpu', 'cuda' or 'cuda:N' (auto)")
    parser.add_argument('--model', help="'embedded', a folder with a diffusers pipeline, or a hub "
                        'id (embedded)')
    parser.add_argument('--shape', choices=('sd15', 'sd21', 'ssd1b', 'tiny'),
                        help='time a U-Net of this shape with random weights at 512x512 pixels '
                        'in place of a model')
    parser.add_argument('--tiny-vae', action='store_true',
                        help='with --shape: encode photos by an AutoencoderTiny')
    parser.add_argument('--images', nargs='+', type=Path, default=[], metavar='IMAGE',
                        help='photos to cut besides the generated frames')
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
        raise DiffsegError('--tiny-vae: goes with --shape only; choose one of sd15, sd21, ssd1b')
    given = {'backbone.device': arguments.device, 'backbone.model': arguments.model}
    config = updated(pipeline_config(arguments),
                     {name: value for name, value in given.items() if value is not None})

    from diffseg_ros.benchmark.run import Benchmark

    benchmark = Benchmark(config, shape=arguments.shape, tiny_vae=arguments.tiny_vae,
                          photos=arguments.images, quick=arguments.quick)
    report: dict[str, Any] = {}
    for section in SECTIONS:
        if section in (arguments.sections or SECTIONS):
            report[section] = getattr(benchmark, section)()
            _print(section, report[section])
    if arguments.growth:
        report['growth'] = benchmark.growth()
        for method, rows in report['growth'].items():
            for row in rows:
                _print(f'growth {method}', row)
    report.update(_machine(benchmark))
    write_json(arguments.json, report)


def _machine(benchmark: Benchmark) -> dict[str, Any]:
    details = benchmark.machine()
    print(', '.join(f'{name} {value}' for name, value in details.items()))
    return details


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
