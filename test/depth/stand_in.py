"""A model that knows the hall: it predicts the inverse of the true depth, by a scale and shift."""

from __future__ import annotations

from diffseg_ros.depth.base import DepthKind
from diffseg_ros.errors import DiffsegError
from diffseg_ros.types import Frame
import numpy as np

SCALE, SHIFT = 0.3, 0.05
"""1 / metres = SCALE * value + SHIFT."""


class KnowingModel:
    """Recognises the images of frames; an image that is entirely black breaks it."""

    name = 'knowing'

    def __init__(self, frames: list[Frame], kind: DepthKind = DepthKind.INVERSE) -> None:
        self.kind = kind
        self.seen = 0
        self._frames = frames

    def predict(self, rgb: np.ndarray) -> np.ndarray:
        if not rgb.any():
            raise DiffsegError('the lens is covered')
        self.seen += 1
        frame, = [frame for frame in self._frames if np.array_equal(frame.rgb, rgb)]
        assert frame.depth is not None
        if self.kind is DepthKind.INVERSE:
            return ((1 / frame.depth - SHIFT) / SCALE).astype(np.float32)
        return frame.depth.copy()
