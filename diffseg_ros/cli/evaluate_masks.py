"""diffseg_evaluate masks: segments of photos against true masks."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
import tempfile
import time
from typing import Any, TYPE_CHECKING

from diffseg_ros.cli.command import add_json_option, progress, write_json
from diffseg_ros.cli.pipeline_options import add_pipeline_options, pipeline_config
from diffseg_ros.config import flatten, PipelineConfig, updated
from diffseg_ros.errors import DiffsegError

if TYPE_CHECKING:
    from diffseg_ros.evaluation.calibration import CalibrationAccumulator
    from diffseg_ros.evaluation.datasets import MaskDataset
    from diffseg_ros.types import Frame
    import numpy as np
    import numpy.typing as npt

    Labels = npt.NDArray[np.int32]
    Method = Callable[[Frame], tuple[Labels, npt.NDArray[np.uint8] | None]]

BASELINES = ('grid', 'lab_ncut', 'lab_kmeans', 'felzenszwalb', 'random_weights')
CURVE = 'calibration.png'
_WHITENED = 20  # photos of each data set that random weights' features are whitened by
_MEAN_KEYS = ('miou', 'pixel_accuracy', 'boundary_f', 'segments_per_image', 'seconds_per_image')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `diffseg_evaluate masks`."""
    parser.add_argument('datasets', nargs='+', type=Path, metavar='DATASET',
                        help='folder with images/ and labels/')
    methods = next(option.choices for name, _, option in flatten(PipelineConfig())
                   if name == 'segmentation.method')
    parser.add_argument('--method', choices=methods,
                        help='evaluate the pipeline with this grouping (the default without '
                        '--baseline)')
    parser.add_argument('--baseline', choices=BASELINES, action='append', default=[],
                        help='evaluate this instead, or beside --method; may be repeated. '
                        'random_weights is the pipeline with an untrained embedded model')
    parser.add_argument('--limit', type=int, metavar='N', help='only the first N images of a set')
    parser.add_argument('--output', type=Path, metavar='DIR',
                        help='write overlays to DIR/METHOD/DATASET/NAME.jpg')
    parser.add_argument('--plots', action='store_true',
                        help=f'draw DIR/METHOD/{CURVE} (how often pixels of each confidence are '
                        'right), of methods that give a confidence')
    add_pipeline_options(parser)
    add_json_option(parser)


def run(arguments: argparse.Namespace) -> None:
    """Score the data sets; print and write the report."""
    from diffseg_ros.evaluation.datasets import MaskDataset

    if arguments.limit is not None and arguments.limit < 1:
        raise DiffsegError(f'--limit {arguments.limit}: at least 1 is needed')
    if arguments.plots and arguments.output is None:
        raise DiffsegError('--plots: the picture needs a folder; give one with --output')
    config = pipeline_config(arguments)
    datasets = [MaskDataset(path) for path in arguments.datasets]
    names = [dataset.name for dataset in datasets]
    if len(set(names)) < len(names):
        raise DiffsegError(f'data sets: {", ".join(names)}; each name may occur once, because the '
                           'report is by name')
    reports = {}
    with ExitStack() as stack:
        for name, method in _methods(arguments, config, datasets, stack):
            print(_row(name, 'mIoU', 'pixel acc.', 'boundary F', 'segments', 's/image', 'images'))
            reports[name] = _report(name, method, datasets, arguments)
    write_json(arguments.json, reports[name] if len(reports) == 1 else {'methods': reports})


def _methods(arguments: argparse.Namespace, config: PipelineConfig, datasets: list[MaskDataset],
             stack: ExitStack) -> Iterator[tuple[str, Method]]:
    """Yield the name and function of each method asked for, loaded when its turn comes."""
    from studies.baselines import CLASSICAL, write_random_weights

    if arguments.method or not arguments.baseline:
        if arguments.method:
            config = updated(config, {'segmentation.method': arguments.method})
        yield config.segmentation.method, _pipeline_method(config)
    for name in dict.fromkeys(arguments.baseline):
        if name == 'random_weights':
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            write_random_weights(folder, [frame.rgb for dataset in datasets
                                          for _, frame, _ in islice(dataset, _WHITENED)])
            yield name, _pipeline_method(updated(config, {'backbone.model': str(folder)}))
        else:
            yield name, _photo_method(CLASSICAL[name])


def _pipeline_method(config: PipelineConfig) -> Method:
    from diffseg_ros.pipeline import Pipeline

    pipeline = Pipeline(config)

    def segment(frame: Frame) -> tuple[Labels, npt.NDArray[np.uint8]]:
        segments = pipeline.segment(frame)
        return segments.labels, segments.confidence
    return segment


def _photo_method(baseline: Callable[[npt.NDArray[np.uint8]], Labels]) -> Method:
    return lambda frame: (baseline(frame.rgb), None)


def _report(name: str, method: Method, datasets: list[MaskDataset],
            arguments: argparse.Namespace) -> dict[str, Any]:
    from diffseg_ros.evaluation.calibration import CalibrationAccumulator

    reports, curves = {}, []
    for dataset in datasets:
        folder = arguments.output and arguments.output / name / dataset.name
        report, calibration = _score(method, dataset, arguments.limit, folder)
        _print_report(dataset.name, report)
        reports[dataset.name] = report
        if calibration is not None:
            curves.append(calibration)
            report['calibration'] = calibration.report()
    rows = dict(reports)
    if len(datasets) > 1:
        rows['mean'] = _mean(list(reports.values()))
        _print_report('mean', rows['mean'])
        if curves:
            rows['mean']['calibration'] = CalibrationAccumulator.mean(curves).report()
    if arguments.plots and curves:
        _draw_curves(arguments.output / name / CURVE, name, rows)
    if len(datasets) == 1:
        return reports[datasets[0].name]
    return {'datasets': reports, 'mean': rows['mean']}


def _draw_curves(path: Path, method: str, reports: dict[str, dict[str, Any]]) -> None:
    from diffseg_ros.viz.calibration_plot import draw_calibration

    draw_calibration({name: report['calibration'] for name, report in reports.items()}, path,
                     f'method {method}')


def _score(method: Method, dataset: MaskDataset, limit: int | None, folder: Path | None,
           ) -> tuple[dict[str, Any], CalibrationAccumulator | None]:
    """Run the method on the images of one data set; write overlays where a folder is given."""
    from diffseg_ros.evaluation.calibration import CalibrationAccumulator

    accumulator = dataset.accumulator()
    calibration: CalibrationAccumulator | None = None
    count = min(len(dataset), limit or len(dataset))
    seconds = 0.0
    for name, frame, truth in progress(islice(dataset, count), count, dataset.name):
        start = time.perf_counter()
        labels, confidence = method(frame)
        seconds += time.perf_counter() - start
        accumulator.add(labels, truth)
        if confidence is not None:
            calibration = calibration or CalibrationAccumulator()
            calibration.add(labels, confidence, truth)
        if folder is not None:
            _write_overlay(folder / f'{name}.jpg', frame, labels)
    report = accumulator.report()
    per_class = report.pop('per_class')
    return ({**report, 'seconds_per_image': seconds / count, 'per_class': per_class}, calibration)


def _write_overlay(path: Path, frame: Frame, labels: npt.NDArray[np.int32]) -> None:
    import cv2
    from diffseg_ros.viz.overlay import draw_overlay

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
