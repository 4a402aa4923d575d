"""A small recording in the folder format, and where the real ones are."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

TIMES = ('1305031232.861666123', '1305031232.893683', '1305031232.9', '1305031233.100000001')
POSES = ('1.2973 0.6607 1.5488 -0.6474 -0.5354 -0.1016 0.5328',
         '0 0 0 0 0 0 1',
         '-4 5.5 0.25 0.5 0.5 -0.5 0.5',
         '1e3 -2e-3 0 0 1 0 0')


@pytest.fixture
def sequence(tmp_path: Path) -> Path:
    """Return a sequence folder of four 16x12 RGB-D frames with everything the format has."""
    folder = tmp_path / 'tiny'
    rng = np.random.default_rng(5)
    for part in ('rgb', 'depth', 'instances'):
        (folder / part).mkdir(parents=True)
    for number in range(len(TIMES)):
        name = f'{number:06d}.png'
        cv2.imwrite(str(folder / 'rgb' / name), rng.integers(0, 256, (12, 16, 3), np.uint8))
        depth = rng.integers(0, 9000, (12, 16)).astype(np.uint16)
        depth[:3] = 0
        cv2.imwrite(str(folder / 'depth' / name), depth)
        cv2.imwrite(str(folder / 'instances' / name),
                    np.full((12, 16), 65535 if number else 7, np.uint16))
    (folder / 'camera.json').write_text(json.dumps({
        'width': 16, 'height': 12, 'fx': 20.1, 'fy': 20.3, 'cx': 7.5, 'cy': 5.4,
        'depth_scale': 5000, 'distortion': [0.2624, -0.9531, -0.0054, 0.0026, 1.1633]}))
    (folder / 'times.txt').write_text('\n'.join(TIMES) + '\n')
    (folder / 'poses.txt').write_text('\n'.join(POSES) + '\n')
    (folder / 'sequence.json').write_text('{"background": 3}')
    return folder
