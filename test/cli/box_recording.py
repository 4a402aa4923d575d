"""A recording of a bright box that moves over a dark wall, and what a replay made of one."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

FRAMES = 5


def write_sequence(folder: Path, *, depth_scale: float = 1.0, depth: bool = True) -> Path:
    """Write a sequence of a bright box that moves over a dark wall."""
    for part in ('rgb', 'depth') if depth else ('rgb',):
        (folder / part).mkdir(parents=True)
    for number in range(FRAMES):
        rgb = np.full((96, 128, 3), (40, 60, 90), np.uint8)
        rgb[:, 64:] = (120, 80, 40)
        units = np.full((96, 128), 3000, np.uint16)
        left = 20 + 4 * number
        rgb[30:70, left:left + 40] = (30, 220, 240)
        units[30:70, left:left + 40] = 1500
        units[:4] = 0
        name = f'{number:06d}.png'
        cv2.imwrite(str(folder / 'rgb' / name), rgb)
        if depth:
            units = cv2.resize(units, None, fx=depth_scale, fy=depth_scale,
                               interpolation=cv2.INTER_NEAREST)
            cv2.imwrite(str(folder / 'depth' / name), units)
    (folder / 'times.txt').write_text(''.join(f'{10 + number / 10}\n' for number in range(FRAMES)))
    if depth:
        (folder / 'camera.json').write_text(json.dumps({
            'width': 128, 'height': 96, 'fx': 110.0, 'fy': 112.0, 'cx': 63.2, 'cy': 47.9,
            'depth_scale': 1000}))
    return folder


def label_images(folder: Path) -> dict[str, np.ndarray]:
    """Return the label images of a replay by name."""
    return {path.name: cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            for path in sorted((folder / 'labels').iterdir())}
