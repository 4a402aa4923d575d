"""The robot's own body is in no output."""

from __future__ import annotations

from pathlib import Path

import cv2
from diffseg_ros.errors import DiffsegError
from diffseg_ros.postprocessing.static_mask import StaticMask
from diffseg_ros.types import Frame, Result, Target, TargetState
import numpy as np
import pytest


def result(depth_shape: tuple[int, int] = (24, 32)) -> Result:
    frame = Frame(np.full((48, 64, 3), 90, np.uint8),
                  depth=np.full(depth_shape, 2.0, np.float32))
    target = Target(TargetState.TRACKED, (5,), np.ones((48, 64), bool))
    return Result(frame, np.full((48, 64), 5, np.int32), np.full((48, 64), 200, np.uint8), 0,
                  target=target)


def painted(path: Path, shape: tuple[int, int], value: int = 1) -> str:
    """Write a mask whose lower third is not black."""
    image = np.zeros(shape, np.uint8)
    image[2 * shape[0] // 3:] = value
    assert cv2.imwrite(str(path), image)
    return str(path)


@pytest.mark.parametrize('shape', [(48, 64), (96, 128), (24, 32)])
@pytest.mark.parametrize('value', [1, 255])
def test_everything_under_the_mask_is_gone_and_nothing_else(tmp_path, shape, value):
    mask = StaticMask(painted(tmp_path / 'body.png', shape, value))
    given = result()
    seen = mask.apply(given)
    assert (seen.labels[:32] == 5).all() and (seen.labels[32:] == -1).all()
    assert (seen.confidence[:32] == 200).all() and (seen.confidence[32:] == 0).all()
    assert (seen.frame.depth[:16] == 2).all() and np.isnan(seen.frame.depth[16:]).all()
    assert seen.target.mask[:32].all() and not seen.target.mask[32:].any()
    assert seen.labels.dtype == np.int32 and seen.frame.depth.dtype == np.float32
    assert (given.labels == 5).all() and (given.frame.depth == 2).all()


def test_without_depth_the_labels_are_masked_all_the_same(tmp_path):
    mask = StaticMask(painted(tmp_path / 'body.png', (48, 64)))
    given = result()
    blind = Result(Frame(given.frame.rgb), given.labels, given.confidence, 0)
    assert (mask.apply(blind).labels[32:] == -1).all()


@pytest.mark.parametrize(('make', 'reason'), [
    (lambda path: None, 'cannot be read'),
    (lambda path: path.write_text('no image'), 'no readable image'),
    (lambda path: cv2.imwrite(str(path), np.full((48, 64), 255, np.uint8)),
     'nothing of the view is left')])
def test_files_that_are_no_mask_are_refused_by_name(tmp_path, make, reason):
    path = tmp_path / 'body.png'
    make(path)
    with pytest.raises(DiffsegError, match=reason) as refused:
        StaticMask(str(path))
    assert str(path) in str(refused.value) and '\n' not in str(refused.value)


def test_mask_of_another_shape_is_refused(tmp_path):
    mask = StaticMask(painted(tmp_path / 'body.png', (48, 48)))
    with pytest.raises(DiffsegError, match='48x48 pixels do not fit the image, 64x48'):
        mask.apply(result())
