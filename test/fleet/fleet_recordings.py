"""Recordings for a fleet: good ones of all kinds, broken ones, and some that end their worker."""

from __future__ import annotations

import os
from pathlib import Path
import shutil
import subprocess
import sys

import cv2
from diffseg_ros.cli.convert import main as convert
import numpy as np
from studies.fleet_faults import CRASH, HANG, installed

ROOT = Path(__file__).resolve().parents[2]
FRAMES = 3
GOOD = 'box', 'day__box.db3', 'day__folder', 'sequence.mcap'
BROKEN = 'cut_off.mcap', 'day__parts_missing'
ENDING = {'crash': CRASH, 'hang': HANG}


def write_box(folder: Path, mark: tuple[int, int, int] = (40, 60, 90)) -> Path:
    """Write a sequence folder of a box before a wall; the upper left pixel is the mark."""
    for part in ('rgb', 'depth'):
        (folder / part).mkdir(parents=True)
    for number in range(FRAMES):
        rgb = np.full((96, 128, 3), (90, 60, 40), np.uint8)
        depth = np.full((96, 128), 3000, np.uint16)
        rgb[30:70, 20 + 4 * number:60 + 4 * number] = (240, 220, 30)
        depth[30:70, 20 + 4 * number:60 + 4 * number] = 1500
        rgb[0, 0] = mark[::-1]
        cv2.imwrite(str(folder / 'rgb' / f'{number:06d}.png'), rgb)
        cv2.imwrite(str(folder / 'depth' / f'{number:06d}.png'), depth)
    (folder / 'times.txt').write_text(''.join(f'{number / 10}\n' for number in range(FRAMES)))
    (folder / 'camera.json').write_text('{"width": 128, "height": 96, "fx": 110, "fy": 110, '
                                        '"cx": 63.5, "cy": 47.5, "depth_scale": 1000}')
    return folder


def write_recordings(folder: Path) -> Path:
    """Write the recordings that the names above list."""
    box = write_box(folder / 'box')
    (folder / 'day').mkdir()
    for name in ('sequence.mcap', 'day/box.db3', 'day/folder'):
        assert convert([str(box), str(folder / name)]) == 0
    whole = (folder / 'sequence.mcap').read_bytes()
    (folder / 'cut_off.mcap').write_bytes(whole[:len(whole) // 2])
    shutil.copytree(folder / 'day' / 'folder', folder / 'day' / 'parts_missing')
    metadata = folder / 'day' / 'parts_missing' / 'metadata.yaml'
    listed = next((folder / 'day' / 'folder').glob('*.mcap')).name
    metadata.write_text(metadata.read_text().replace(listed, f'other_{listed}'))
    return folder


def write_ending(folder: Path) -> Path:
    """Write recordings that end their worker."""
    for name, mark in ENDING.items():
        write_box(folder / name, mark)
    return folder


def command(name: str, plugins: Path, *arguments: object) -> subprocess.Popen[str]:
    """Start a command on the fast backbone of studies.fleet_faults, with workers not niced."""
    if not plugins.exists():
        installed(plugins)
    path = os.pathsep.join([str(ROOT), str(plugins)])
    return subprocess.Popen(
        [sys.executable, '-m', f'diffseg_ros.cli.{name}', *map(str, arguments),
         '--set', 'backbone.model=faulty'], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={**os.environ, 'PYTHONPATH': path, 'RAY_worker_niceness': '0'})
