"""Reading mask data sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
from diffseg_ros.errors import DiffsegError
from diffseg_ros.evaluation.datasets import MaskDataset
import numpy as np
import pytest


def test_everything_is_read(dataset: Path) -> None:
    masks = MaskDataset(dataset)
    assert (masks.name, len(masks), masks.background, masks.classes) == (
        'halves', 3, None, ('wall', 'window'))
    for _ in range(2):
        items = list(masks)
        assert [name for name, _, _ in items] == ['a', 'b', 'c']
    _, frame, truth = items[1]
    assert frame.rgb[5, 30].tolist() == [40, 200, 220]
    assert (truth.dtype, truth.shape, np.unique(truth).tolist()) == (np.uint8, (40, 48),
                                                                     [0, 1, 255])
    assert frame.depth is not None and frame.intrinsics is not None
    assert np.isnan(frame.depth[0, 0])
    assert frame.depth[1, 1] == pytest.approx(1.5)
    assert (frame.intrinsics.fy, frame.intrinsics.width) == (51.0, 48)


def test_optional_files(dataset: Path) -> None:
    for name in ('dataset.json', 'classes.txt', 'camera.json'):
        (dataset / name).unlink()
    for path in (dataset / 'depth').iterdir():
        path.unlink()
    (dataset / 'depth').rmdir()
    masks = MaskDataset(dataset)
    assert masks.classes == ('0', '1')
    assert next(iter(masks))[1].depth is None
    (dataset / 'dataset.json').write_text('{"labels": "regions", "background": 0}')
    masks = MaskDataset(dataset)
    assert (masks.classes, masks.background) == (None, 0)


def _resize(path: Path, width: int, height: int) -> None:
    cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path), cv2.IMREAD_UNCHANGED),
                                      (width, height), interpolation=cv2.INTER_NEAREST))


def _colour(path: Path) -> None:
    cv2.imwrite(str(path), np.zeros((40, 48, 3), np.uint8))


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize(('damage', 'message'), [
    (lambda at: (at / 'labels/b.png').unlink(),
     r'labels: no file for 1 of 3 names, the first b; images/, labels/ and depth/ need'),
    (lambda at: (at / 'images/c.png').unlink(), 'images: no file for 1 of 3 names, the first c'),
    (lambda at: (at / 'depth/a.png').unlink(), 'depth: no file for 1 of 3 names, the first a'),
    (lambda at: _empty(at / 'images'), r'images: no images; \.jpg, \.jpeg, \.png'),
    (lambda at: (at / 'images').rename(at / 'pictures'), 'images: no such folder'),
    (lambda at: (at / 'images/a.jpg').write_bytes(b'x'), 'the same name as a.jpg'),
    (lambda at: (at / 'camera.json').unlink(), 'camera.json: no number for width'),
    (lambda at: (at / 'camera.json').write_text('{'), 'camera.json: no JSON'),
    (lambda at: (at / 'camera.json').write_text('[1]'), r'camera.json: list; an object'),
    (lambda at: (at / 'camera.json').write_text(
        '{"width": 4, "height": 4, "fx": 0, "fy": 1, "cx": 0, "cy": 0, "depth_scale": 1}'),
     'camera.json: camera intrinsics: K is 0'),
    (lambda at: (at / 'camera.json').write_text(
        '{"width": 4, "height": 4, "fx": 1, "fy": 1, "cx": 0, "cy": 0, "depth_scale": 0}'),
     'depth_scale is 0'),
    (lambda at: (at / 'camera.json').write_text(
        '{"width": 4, "height": 4, "fx": 1, "fy": 1, "cx": 0, "cy": 0, "depth_scale": 1, '
        '"distortion": ["a"]}'), r"distortion is \['a'\]"),
    (lambda at: (at / 'dataset.json').write_text('{"labels": "things"}'),
     "labels is 'things'; \"classes\" or \"regions\""),
    (lambda at: (at / 'dataset.json').write_text('{"background": 255}'), 'background is 255'),
    (lambda at: (at / 'dataset.json').write_text('{"background": "sky"}'), "background is 'sky'"),
    (lambda at: (at / 'classes.txt').write_bytes(b'\xff\xfe\x00'), 'classes.txt: not a text'),
    (lambda at: (at / 'classes.txt').write_text('wall\n'), 'class 1, but classes.txt names 1'),
    (lambda at: _resize(at / 'labels/b.png', 48, 39), 'b.png: 48x39 pixels, but b.png has 48x40'),
    (lambda at: _resize(at / 'depth/b.png', 48, 39), '48x39 pixels, but b.png has 48x40'),
    (lambda at: _colour(at / 'labels/b.png'), 'pixels of mode RGB; an 8-bit PNG'),
    (lambda at: (at / 'labels/c.png').write_bytes(b'no'), r'no readable PNG \(2 bytes\)'),
    (lambda at: (at / 'images/c.png').write_bytes(b'no'), r'images/c.png: no readable image'),
])
def test_broken_data_sets_are_refused(dataset: Path, damage: Callable[[Path], object],
                                      message: str) -> None:
    damage(dataset)
    with pytest.raises(DiffsegError, match=message) as caught:
        list(MaskDataset(dataset))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(('name', 'images', 'classes', 'background', 'depth'), [
    ('camvid_val', 51, 11, None, False), ('coco_objects', 63, 81, 80, False),
    ('coco_stuff', 21, 181, None, False), ('bsds_regions', 40, None, None, False),
    ('tabletop_objects', 30, None, None, True)])
def test_real_data_sets(real_masks: Path, name: str, images: int, classes: int | None,
                        background: int | None, depth: bool) -> None:
    masks = MaskDataset(real_masks / name)
    assert (len(masks), masks.background) == (images, background)
    assert (masks.classes and len(masks.classes)) == classes
    _, frame, truth = next(iter(masks))
    assert frame.rgb.shape[:2] == truth.shape
    assert (frame.depth is not None) == depth
