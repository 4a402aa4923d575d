"""Frames refuse what does not fit together."""

from diffseg_ros.errors import DiffsegError
from diffseg_ros.types import Frame
import numpy as np
import pytest

DEPTH = np.ones((4, 4), np.float32)


@pytest.mark.parametrize(('given', 'words'), [
    ({'rgb': np.zeros((4, 4), np.uint8)}, 'frame rgb: got uint8 (4, 4); HxWx3 uint8'),
    ({'rgb': np.zeros((1, 4, 3), np.uint8)}, 'frame rgb: size 4x1'),
    ({'depth': DEPTH.astype(float)}, 'frame depth: got float64 (4, 4)'),
    ({'pose': np.eye(3)}, 'frame pose: got shape (3, 3); 4x4'),
    ({'odom_pose': np.eye(3)}, 'frame odom_pose: got shape (3, 3); 4x4'),
    ({'ranges': np.ones((5, 2), np.float32)}, 'frame ranges: got float32 (5, 2); Nx3'),
    ({'depth': DEPTH, 'depth_confidence': DEPTH[:2]}, 'frame depth_confidence: got shape (2, 4)'),
    ({'up': np.zeros(3)}, 'frame up: got [0. 0. 0.]; 3 values, not all 0')])
def test_what_does_not_fit_is_named(given, words):
    with pytest.raises(DiffsegError) as error:
        Frame(**{'rgb': np.zeros((4, 4, 3), np.uint8)} | given)
    assert str(error.value).startswith(words)
