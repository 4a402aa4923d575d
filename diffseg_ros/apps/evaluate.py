"""diffseg_evaluate: accuracy against ground truth."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
import tempfile
import time
from typing import Any, TYPE_CHECKING

from diffseg_ros.apps.command import add_json_option, progress, run_command, write_json
from diffseg_ros.apps.pipeline_options import add_pipeline_options, pipeline_config
from diffseg_ros.config import flatten, PipelineConfig, updated
from diffseg_ros.errors import DiffsegError

if TYPE_CHECKING:
    from diffseg_ros.evaluation.datasets import MaskDataset
    from diffseg_ros.frame import Frame
    import numpy as np
    import numpy.typing as npt

    Method = Callable[[Frame], npt.NDArray[np.int32]]

BASELINES = ('grid', 'lab_ncut', 'lab_kmeans', 'felzenszwalb', 'random_weights')
_MEAN_KEYS = ('miou', 'pixel_accuracy', 'boundary_f', 'segments_per_image', 'seconds_per_image')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='diffseg_evaluate', description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    masks = commands.add_parser('masks', help='segments of photos against true masks',
                                description='Score segments of photos against true masks.')
    masks.add_argument('datasets', nargs='+', type=Path, metavar='DATASET',
                       help='folder with images/ and labels/')
    methods = next(option.choices for name, _, option in flatten(PipelineConfig())
                   if name == 'segmentation.method')
    masks.add_argument('--method', choices=methods,
                       help='evaluate the pipeline with this grouping (the default without '
                       '--baseline)')
    masks.add_argument('--baseline', choices=BASELINES, action='append', default=[],
                       help='evaluate this instead, or beside --method; may be repeated. '
                       'random_weights is the pipeline with an untrained embedded model')
    masks.add_argument('--limit', type=int, metavar='N', help='only the first N images of a set')
    masks.add_argument('--output', type=Path, metavar='DIR',
                       help='write overlays to DIR/METHOD/DATASET/NAME.jpg')
    add_pipeline_options(masks)
    add_json_option(masks)
    return parser


def _run(arguments: argparse.Namespace) -> None:
    from diffseg_ros.evaluation.datasets import MaskDataset

    if arguments.limit is not None and arguments.limit < 1:
        raise DiffsegError(f'--limit {arguments.limit}: at least 1 is needed')
    config = pipeline_config(arguments)
    datasets = [MaskDataset(path) for path in arguments.datasets]
    names = [dataset.name for dataset in datasets]
    if len(set(names)) < len(names):
        raise DiffsegError(f'data sets: {", ".join(names)}; each name may occur once, because the '
                           'report is by name')
    reports = {}
    with ExitStack() as stack:
        for name, method in _methods(arguments, config, stack):
            print(_row(name, 'mIoU', 'pixel acc.', 'boundary F', 'segments', 's/image', 'images'))
            reports[name] = _report(name, method, datasets, arguments)
    write_json(arguments.json, reports[name] if len(reports) == 1 else {'methods': reports})


def _methods(arguments: argparse.Namespace, config: PipelineConfig,
             stack: ExitStack) -> Iterator[tuple[str, Method]]:
    """Yield the name and function of each method asked for, loaded when its turn comes."""
    from diffseg_ros.evaluation.baselines import CLASSICAL, write_random_weights

    if arguments.method or not arguments.baseline:
        if arguments.method:
            config = updated(config, {'segmentation.method': arguments.method})
        yield config.segmentation.method, _pipeline_method(config)
    for name in dict.fromkeys(arguments.baseline):
        if name == 'random_weights':
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            write_random_weights(folder)
            yield name, _pipeline_method(updated(config, {'backbone.model': str(folder)}))
        else:
            yield name, _photo_method(CLASSICAL[name])


def _pipeline_method(config: PipelineConfig) -> Method:
    from diffseg_ros.pipeline import Pipeline

    pipeline = Pipeline(config)
    return lambda frame: pipeline.segment(frame).labels


def _photo_method(baseline: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.int32]]) -> Method:
    return lambda frame: baseline(frame.rgb)


def _report(name: str, method: Method, datasets: list[MaskDataset],
            arguments: argparse.Namespace) -> dict[str, Any]:
    reports = {}
    for dataset in datasets:
        folder = arguments.output and arguments.output / name / dataset.name
        reports[dataset.name] = _score(method, dataset, arguments.limit, folder)
        _print_report(dataset.name, reports[dataset.name])
    if len(datasets) == 1:
        return reports[datasets[0].name]
    mean = _mean(list(reports.values()))
    _print_report('mean', mean)
    return {'datasets': reports, 'mean': mean}


def _score(method: Method, dataset: MaskDataset, limit: int | None,
           folder: Path | None) -> dict[str, Any]:
    """Run the method on the images of one data set; write overlays where a folder is given."""
    accumulator = dataset.accumulator()
    count = min(len(dataset), limit or len(dataset))
    seconds = 0.0
    for name, frame, truth in progress(islice(dataset, count), count, dataset.name):
        start = time.perf_counter()
        labels = method(frame)
        seconds += time.perf_counter() - start
        accumulator.add(labels, truth)
        if folder is not None:
            _write_overlay(folder / f'{name}.jpg', frame, labels)
    report = accumulator.report()
    per_class = report.pop('per_class')
    return {**report, 'seconds_per_image': seconds / count, 'per_class': per_class}


def _write_overlay(path: Path, frame: Frame, labels: npt.NDArray[np.int32]) -> None:
    import cv2
    from diffseg_ros.visualization import draw_overlay

    path.parent.mkdir(parents=True, exist_ok=True)
    picture = cv2.cvtColor(draw_overlay(frame.rgb, labels), cv2.COLOR_RGB2BGR)
    if not cv2.imwrite(str(path), picture):
        raise DiffsegError(f'{path}: cannot be written; give a folder that can be with --output')


def _mean(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean of the measures over the data sets, each of equal weight."""
    mean: dict[str, Any] = {'images': sum(report['images'] for report in reports)}
    for key in _MEAN_KEYS:
        values = [report[key] for report in reports if report[key] is not None]
        mean[key] = sum(values) / len(values) if values else None
    return mean


def _print_report(name: str, report: dict[str, Any]) -> None:
    measures = [report[key] for key in ('miou', 'pixel_accuracy', 'boundary_f')]
    print(_row(name, *('-' if value is None else f'{value:.3f}' for value in measures),
               f'{report["segments_per_image"]:.1f}', f'{report["seconds_per_image"]:.3f}',
               str(report['images'])), flush=True)


def _row(name: str, *cells: str) -> str:
    return f'{name:24}' + ''.join(f'{cell:>12}' for cell in cells)


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(_run, _parser(), argv)
