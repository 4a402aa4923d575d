"""
Segment images and video with a diffusion model, without classes, prompts or training.

    import diffseg_ros as ds

    pipeline = ds.Pipeline()
    for frame in ds.open_source('video.mp4'):
        result = pipeline.process(frame)
        ds.write_labels(f'labels/{frame.stamp}.png', result.labels)

The names in `__all__` are the public interface. They are imported at first use, so that
`import diffseg_ros` is fast and needs neither PyTorch nor ROS.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, TYPE_CHECKING

if TYPE_CHECKING:
    from diffseg_ros.config import PipelineConfig
    from diffseg_ros.errors import DiffsegError
    from diffseg_ros.geometry.point_cloud import labelled_cloud, LabelledCloud
    from diffseg_ros.io.images import read_image, read_labels, write_image, write_labels
    from diffseg_ros.io.ply import read_ply, write_ply
    from diffseg_ros.io.source import open_source, Source
    from diffseg_ros.pipeline import Pipeline
    from diffseg_ros.registry import (
        register_backbone,
        register_measure,
        register_output,
        register_segmentation,
    )
    from diffseg_ros.segmentation.base import SegmentationMethod
    from diffseg_ros.settings import setting, Settings, updated
    from diffseg_ros.types import (
        Frame,
        Intrinsics,
        Result,
        Segments,
        Track,
        TrackState,
        UNLABELLED,
    )
    from diffseg_ros.viz.overlay import draw_overlay

_MODULES = {
    'config': ['PipelineConfig'],
    'errors': ['DiffsegError'],
    'geometry.point_cloud': ['LabelledCloud', 'labelled_cloud'],
    'io.images': ['read_image', 'read_labels', 'write_image', 'write_labels'],
    'io.ply': ['read_ply', 'write_ply'],
    'io.source': ['Source', 'open_source'],
    'pipeline': ['Pipeline'],
    'registry': ['register_backbone', 'register_measure', 'register_output',
                 'register_segmentation'],
    'segmentation.base': ['SegmentationMethod'],
    'settings': ['Settings', 'setting', 'updated'],
    'types': ['Frame', 'Intrinsics', 'Result', 'Segments', 'Track', 'TrackState', 'UNLABELLED'],
    'viz.overlay': ['draw_overlay'],
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__version__ = '0.2.0'
__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = getattr(import_module(f'{__name__}.{_HOME[name]}'), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
