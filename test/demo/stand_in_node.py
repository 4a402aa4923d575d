"""The real node with a pipeline that needs no model; run as a module by the demo's tests."""

from __future__ import annotations

import os
import sys
import time
from types import SimpleNamespace

from diffseg_ros.cli import node
from diffseg_ros.types import Result, Target, TargetState
import numpy as np


class QuarterPipeline:
    """Labels the quarters of every image 1 to 4."""

    def __init__(self, config, first_id=1):
        if os.environ.get('STAND_IN_FAULT') == 'load':
            raise RuntimeError('no weights today')
        self.backbone = SimpleNamespace(name='quarters', device='cpu')
        self.model = {'device': 'cpu', 'model': 'quarters', 'model_kind': 'other',
                      'model_settings': ''}
        self.naming = {}
        self.track_count = 4
        self.next_id = first_id + 4
        self.target = None

    def configure(self, config):
        """Ignore settings."""

    def finish(self):
        """Wait for nothing."""

    def reset(self):
        """Forget nothing."""

    def follow(self, pixel, labels=None):
        """Follow the quarter with the pixel."""
        x, y = map(round, pixel)
        self.target = Target(TargetState.TRACKED, (int(labels[y, x]),), labels == labels[y, x])
        return self.target

    def process(self, frame):
        """Take 30 ms, like work."""
        if os.environ.get('STAND_IN_FAULT') == 'crash':
            os._exit(7)
        time.sleep(0.03)
        height, width = frame.rgb.shape[:2]
        labels = (1 + 2 * (np.arange(height)[:, None] >= height // 2)
                  + (np.arange(width)[None] >= width // 2)).astype(np.int32)
        labels[:10] = -1
        return Result(frame, labels, np.full(labels.shape, 200, np.uint8), 0, {'total': 30.0},
                      target=self.target)


if __name__ == '__main__':
    sys.exit(node.main(pipeline_factory=QuarterPipeline))
