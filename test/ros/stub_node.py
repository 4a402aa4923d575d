"""diffseg_node with a pipeline that needs no model: labels are round(100 * granularity)."""

from __future__ import annotations

import os
import sys
import time
from types import SimpleNamespace

from diffseg_ros.cli.node import main
from diffseg_ros.config import PipelineConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.types import Frame, Result, Track, TrackState
import numpy as np

MAGENTA, RED, WHITE = (255, 0, 255), (255, 0, 0), (255, 255, 255)
"""
Colour of the first pixel of an image that breaks this pipeline: a stage raises, the GPU is full,
or the result cannot be published.
"""
BROKEN = 0.99
"""Value of segmentation.granularity that cannot be applied, or begins an epoch in trouble."""


LOST_TRACK = Track(1, TrackState.LOST, age=9, unseen=3, pixels=0)


class StubPipeline:
    """Takes STUB_DELAY seconds a frame."""

    def __init__(self, config: PipelineConfig, first_id: int) -> None:
        if config.backbone.model == 'missing':
            raise DiffsegError('model missing: it is not there')
        if config.backbone.model == 'slow':
            time.sleep(600)
        if config.backbone.model == 'huge':
            import torch
            raise torch.cuda.OutOfMemoryError('tried to allocate 20 GiB')
        self.backbone = SimpleNamespace(name='stub', device='cpu')
        self.model = {'device': 'cpu', 'model': 'stub', 'model_kind': 'other',
                      'model_settings': ''}
        self.naming: dict[str, str] = {}
        self.track_count = 1000
        self.next_id = first_id + 1000
        self._first_id = first_id
        self._config = config
        self._epoch = 0

    def configure(self, config: PipelineConfig) -> None:
        self._config = config
        if config.segmentation.granularity == BROKEN:
            raise RuntimeError('settings refused')

    def finish(self) -> None:
        pass

    def reset(self) -> None:
        self._epoch += 1
        if self._config.segmentation.granularity == BROKEN:
            raise RuntimeError('reset refused')

    def process(self, frame: Frame) -> Result:
        time.sleep(float(os.environ.get('STUB_DELAY', '0')))
        first = tuple(frame.rgb[0, 0])
        if first == MAGENTA:
            raise RuntimeError('magenta')
        if first == RED:
            import torch
            raise torch.cuda.OutOfMemoryError('tried to allocate 20 MiB')
        base = self._first_id - 1 + round(100 * self._config.segmentation.granularity)
        labels = np.full(frame.rgb.shape[:2], base, np.int32)
        labels[0] = -1
        if first == WHITE:
            labels = labels.reshape(-1)
        confidence = np.full(labels.shape, 200, np.uint8)
        return Result(frame, labels, confidence, self._epoch, {'features': 1.0, 'total': 1.0},
                      tracks=(LOST_TRACK,))


if __name__ == '__main__':
    sys.exit(main(pipeline_factory=StubPipeline))
