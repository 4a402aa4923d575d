"""A small mask data set, and where the real ones are."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

NAMES = ('a', 'b', 'c')


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Return a data set of three 48x40 images, left half dark and right half bright."""
    folder = tmp_path / 'halves'
    for part in ('images', 'labels', 'depth'):
        (folder / part).mkdir(parents=True)
    labels = np.zeros((40, 48), np.uint8)
    labels[:, 24:] = 1
    labels[0] = 255
    for number, name in enumerate(NAMES):
        image = np.full((40, 48, 3), 30 + 10 * number, np.uint8)
        image[:, 24:] = 220, 200, 40
        cv2.imwrite(str(folder / 'images' / f'{name}.png'), image)
        cv2.imwrite(str(folder / 'labels' / f'{name}.png'), labels)
        depth = np.full((20, 24), 1500, np.uint16)
        depth[0, 0] = 0
        cv2.imwrite(str(folder / 'depth' / f'{name}.png'), depth)
    (folder / 'camera.json').write_text(json.dumps({
        'width': 48, 'height': 40, 'fx': 50.0, 'fy': 51.0, 'cx': 23.5, 'cy': 19.5,
        'depth_scale': 1000}))
    (folder / 'dataset.json').write_text('{"labels": "classes", "background": null}')
    (folder / 'classes.txt').write_text('wall\nwindow\n')
    return folder
