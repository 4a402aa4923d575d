"""diffseg_evaluate masks: segments of images against true masks."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
import tempfile
import time
from typing import Any

from diffseg_ros.cli.command import progress, write_json
from diffseg_ros.cli.output_folder import OutputFolder
from diffseg_ros.cli.source_frames import positive
from diffseg_ros.cli.studies import load_study
from diffseg_ros.config import PipelineConfig
from diffseg_ros.evaluation.datasets import MaskDataset
from diffseg_ros.evaluation.measure import MeasureSet
from diffseg_ros.evaluation.report import check_names, mean_report, Report, Table
from diffseg_ros.io.images import write_image
from diffseg_ros.model_defaults import with_model_defaults
from diffseg_ros.registry import segmentation_methods
from diffseg_ros.segmentation.scene_objects import frame_objects
from diffseg_ros.settings import updated
from diffseg_ros.types import Frame, LabelImage, RgbImage
from diffseg_ros.viz.overlay import draw_overlay
from diffseg_ros.viz.plots import draw_calibration
import numpy as np
import numpy.typing as npt

Method = Callable[[Frame], tuple[LabelImage, npt.NDArray[np.uint8] | None]]
"""Returns the labels of an image, and their confidence or None."""

BASELINES = ('grid', 'lab_ncut', 'lab_kmeans', 'felzenszwalb', 'random_weights')
CURVE = 'calibration.png'
_OBJECTS = 'objects'

_COLUMNS = {'miou': ('mIoU', '.3f'), 'pixel_accuracy': ('pixel acc.', '.3f'),
            'boundary_f': ('boundary F', '.3f'), 'overlap_precision': ('overlap P', '.3f'),
            'overlap_recall': ('overlap R', '.3f'), 'overlap_f': ('overlap F', '.3f'),
            'object_boundary_precision': ('boundary P', '.3f'),
            'object_boundary_recall': ('boundary R', '.3f'),
            'object_boundary_f': ('boundary F', '.3f'), 'objects_found': ('found', '.2f'),
            'objects_there': ('there', '.2f'), 'segments_per_image': ('segments', '.1f'),
            'seconds_per_image': ('s/image', '.3f'), 'images': ('images', 'd')}
_WHITENED = 20  # images of each data set that the features of random weights are whitened with


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `diffseg_evaluate masks`."""
    parser.add_argument('datasets', nargs='+', type=Path, metavar='DATASET',
                        help='folder with images/ and labels/')
    parser.add_argument('--method', choices=segmentation_methods.names(),
                        help='evaluate the pipeline with this segmentation method (the default '
                        'without --baseline)')
    parser.add_argument('--baseline', choices=BASELINES, action='append', default=[],
                        help='evaluate this instead of the pipeline, or beside --method; may be '
                        'repeated. random_weights is the pipeline with an untrained embedded '
                        'model. Baselines come with the source repository')
    parser.add_argument('--protocol', choices=('masks', _OBJECTS), default='masks',
                        help='what is scored: all segments, or the objects on support surfaces '
                        'that depth and camera show, whatever the method (RGB-D data sets)')
    parser.add_argument('--limit', type=positive, metavar='N',
                        help='only the first N images of a set')
    parser.add_argument('--output', type=Path, metavar='DIR',
                        help='write overlays to DIR/METHOD/DATASET/NAME.jpg')
    parser.add_argument('--plots', action='store_true',
                        help=f'draw DIR/METHOD/{CURVE} (accuracy against confidence) of methods '
                        'that give a confidence')


def run(arguments: argparse.Namespace, config: PipelineConfig) -> None:
    """Score the data sets; print and write the report."""
    from diffseg_ros.backbones.loader import model_kind

    if arguments.method:
        config = updated(config, {'segmentation.method': arguments.method})
    config = with_model_defaults(config, model_kind(config.backbone), config.segmentation.method)
    datasets = [MaskDataset(path) for path in arguments.datasets]
    check_names([dataset.name for dataset in datasets])
    empty = MeasureSet(arguments.protocol, config.measures).compute()
    columns = {key: column for key, column in _COLUMNS.items()
               if key in empty or key == 'seconds_per_image'}
    table = Table(columns, empty, name_width=24, width=12)
    reports = {}
    with _output(arguments, config, datasets):
        for name, method in _methods(arguments, config, datasets):
            table.print_heading(name)
            reports[name] = _report(name, method, datasets, table, config, arguments)
    write_json(arguments.json, reports[name] if len(reports) == 1 else {'methods': reports})


def _output(arguments: argparse.Namespace, config: PipelineConfig,
            datasets: list[MaskDataset]) -> AbstractContextManager[object]:
    if arguments.output is None:
        return nullcontext()
    names = {config.segmentation.method, *arguments.baseline}
    if arguments.protocol == _OBJECTS:
        names = {_OBJECTS}
    files = [f'{dataset.name}/*.jpg' for dataset in datasets] + [CURVE]
    return OutputFolder(arguments.output, 'diffseg_evaluate masks',
                        [f'{name}/{file}' for name in sorted(names) for file in files],
                        arguments.datasets)


def _methods(arguments: argparse.Namespace, config: PipelineConfig,
             datasets: list[MaskDataset]) -> Iterator[tuple[str, Method]]:
    """Yield the name and function of each chosen method, loaded when its turn comes."""
    if arguments.protocol == _OBJECTS:
        yield _OBJECTS, lambda frame: (frame_objects(frame), None)
        return
    baselines = load_study('baselines') if arguments.baseline else None
    if arguments.method or baselines is None:
        yield config.segmentation.method, _pipeline_method(config)
    for name in dict.fromkeys(arguments.baseline):
        assert baselines is not None
        if name != 'random_weights':
            yield name, _image_method(baselines.CLASSICAL[name])
            continue
        with tempfile.TemporaryDirectory() as folder:
            baselines.write_random_weights(Path(folder), [
                frame.rgb for dataset in datasets for _, frame, _ in islice(dataset, _WHITENED)])
            yield name, _pipeline_method(updated(config, {'backbone.model': folder}))


def _pipeline_method(config: PipelineConfig) -> Method:
    from diffseg_ros.pipeline import Pipeline

    pipeline = Pipeline(config)

    def segment(frame: Frame) -> tuple[LabelImage, npt.NDArray[np.uint8]]:
        segments = pipeline.segment(frame)
        return segments.labels, segments.confidence
    return segment


def _image_method(baseline: Callable[[RgbImage], LabelImage]) -> Method:
    return lambda frame: (baseline(frame.rgb), None)


def _report(name: str, method: Method, datasets: list[MaskDataset], table: Table,
            config: PipelineConfig, arguments: argparse.Namespace) -> dict[str, Any]:
    """Score all data sets and draw the plot of one method."""
    reports: dict[str, Report] = {}
    scored = []
    for dataset in datasets:
        measures = MeasureSet(arguments.protocol, config.measures)
        folder = arguments.output and arguments.output / name / dataset.name
        seconds = _score(method, dataset, measures, arguments.limit, folder)
        scored.append(measures)
        reports[dataset.name] = {**measures.compute(), 'seconds_per_image': seconds}
        table.print_row(dataset.name, reports[dataset.name])
    rows = dict(reports)
    if len(datasets) > 1:
        rows['mean'] = {**mean_report(list(reports.values())), **MeasureSet.pooled(scored)}
        table.print_row('mean', rows['mean'])
    curves = {key: row['calibration'] for key, row in rows.items() if 'calibration' in row}
    if arguments.plots and curves:
        draw_calibration(curves, arguments.output / name / CURVE, f'method {name}')
    if len(datasets) == 1:
        return reports[datasets[0].name]
    return {'datasets': reports, 'mean': rows['mean']}


def _score(method: Method, dataset: MaskDataset, measures: MeasureSet, limit: int | None,
           folder: Path | None) -> float:
    """Update the measures, write overlays, and return the method's seconds per image."""
    count = min(len(dataset), limit or len(dataset))
    seconds = 0.0
    for name, frame, truth in progress(islice(dataset, count), count, dataset.name):
        start = time.perf_counter()
        labels, confidence = method(frame)
        seconds += time.perf_counter() - start
        measures.update(dataset.observation(frame, truth, labels, confidence))
        if folder is not None:
            write_image(folder / f'{name}.jpg', draw_overlay(frame.rgb, labels))
    return seconds / count
