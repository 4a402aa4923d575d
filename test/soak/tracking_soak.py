"""
Feed the tracker frame after frame of things that come and go, and look for growth.

    python test/soak/tracking_soak.py --frames 20000

A camera wanders along a wall of panels; boxes drift in front of it and are replaced by new ones
for ever; segments are true, but for now and then two that are one. Prints a report as JSON;
exits with 1 when a quarter of the run was slower than the second, the memory grew after the
first quarter, an id was used twice, or there were more tracks than the tracker may keep.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
import json
import os
from pathlib import Path
import sys
import time
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402
from diffseg_ros.config import TrackingConfig  # noqa: E402
from diffseg_ros.tracking.label_map import CAPACITY  # noqa: E402
from diffseg_ros.tracking.tracker import Tracker  # noqa: E402
from diffseg_ros.types import (  # noqa: E402
    Frame,
    Intrinsics,
    Segments,  # noqa: E402
    Track,
    TrackState,
)
import numpy as np  # noqa: E402

WALL, PANEL = 4.0, 0.7
BOXES, LIFE = 8, 90
CHANNELS = 64
SLOWER, LARGER = 1.2, 1.03
SIZE = 160, 120

_CONFIG = TrackingConfig(keyframe_interval=4)


class Corridor:
    """Boxes, each of another distance and drift, before a wall of panels; sizes in metres."""

    def __init__(self, width: int, height: int) -> None:
        self.camera = Intrinsics(width, height, 0.85 * width, 0.85 * width, (width - 1) / 2,
                                 (height - 1) / 2)
        noise = np.random.default_rng(0).uniform(-60, 60, (3 * height, 3 * width, 1))
        self._texture = cv2.GaussianBlur(noise.astype(np.float32), (0, 0), 1.5)[..., None] * 3

    def frame(self, number: int) -> tuple[Frame, Segments]:
        """Return a frame at 10 Hz and its segments."""
        pose = np.eye(4)
        pose[:3, 3] = 2.5 * np.sin(number / 60), 0.2 * np.sin(number / 23), 0.0
        shape = self.camera.height, self.camera.width
        things = np.zeros(shape, np.int32)
        depth = np.full(shape, WALL, np.float32)
        rgb = np.zeros((*shape, 3), np.float32)
        for name, (left, top, right, bottom, distance) in self._boxes(number, pose[0, 3]):
            (row, column), (end_row, end_column) = (
                self._pixel(pose, x, y, distance) for x, y in ((left, top), (right, bottom)))
            rows = slice(max(row, 0), max(end_row, 0))
            columns = slice(max(column, 0), max(end_column, 0))
            things[rows, columns], depth[rows, columns] = name, distance
            colour = np.random.default_rng(name).uniform(60, 190, 3)
            part = rgb[rows, columns]
            shift = rows.start - row, columns.start - column
            part[:] = colour + self._texture[shift[0]:shift[0] + part.shape[0],
                                             shift[1]:shift[1] + part.shape[1]]
        stamp = number * 10**8
        frame = Frame(rgb.clip(0, 255).astype(np.uint8), stamp, 'camera', depth, self.camera, pose)
        return frame, self._segments(things, number)

    def _pixel(self, pose: np.ndarray, x: float, y: float, distance: float) -> tuple[int, int]:
        scale = self.camera.fx / distance
        return (round((y - pose[1, 3]) * scale + self.camera.cy),
                round((x - pose[0, 3]) * scale + self.camera.cx))

    @staticmethod
    def _boxes(number: int, x: float) -> list[tuple[int, tuple[float, ...]]]:
        """Return names and (left, top, right, bottom, distance), the farthest first."""
        first, reach = int(np.floor(x / PANEL)), 5
        wall = [(1000 + panel, (panel * PANEL, -2.5, (panel + 1) * PANEL, 2.5, WALL))
                for panel in range(first - reach, first + reach + 2)]
        boxes = []
        for place in range(BOXES):
            life, age = divmod(number + place * LIFE // BOXES, LIFE)
            name = 2000 + life * BOXES + place
            at, top, size, drift, far = np.random.default_rng([name, 1]).uniform(
                (-3.5, -0.8, 0.3, -0.6, 1.8), (3.5, 0.3, 0.8, 0.6, 3.5))
            left = at + drift * age / LIFE
            boxes.append((name, (left, top, left + size, top + size, far)))
        return wall + sorted(boxes, key=lambda box: -box[1][4])

    @staticmethod
    def _segments(things: np.ndarray, number: int) -> Segments:
        names, labels = np.unique(things, return_inverse=True)
        labels = labels.reshape(things.shape).astype(np.int32)
        if number % 5 == 0 and len(names) > 1:
            labels[labels == len(names) - 1] = len(names) - 2
            names = names[:-1]
        looks = np.stack([np.random.default_rng([name, 2]).standard_normal(CHANNELS)
                          for name in names]).astype(np.float32)
        looks /= np.linalg.norm(looks, axis=1, keepdims=True)
        return Segments(labels, np.full(things.shape, 255, np.uint8), looks)


@dataclass
class Record:
    """What was seen of each frame: milliseconds of CPU time, resident megabytes, tracks."""

    step: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    awake: list[int] = field(default_factory=list)
    asleep: list[int] = field(default_factory=list)
    used_twice: int = 0
    started: int = 0

    def note(self, milliseconds: float, tracks: tuple[Track, ...], before: set[int],
             next_id: int) -> set[int]:
        """Note a frame; return the ids that are alive, for the next."""
        alive = {track.id for track in tracks}
        # Ids rise: one that was not alive before and is not new was somebody else's.
        self.used_twice += sum(one < next_id for one in alive - before)
        self.used_twice += len(tracks) - len(alive)
        asleep = sum(track.state is TrackState.LOST for track in tracks)
        self.step.append(milliseconds)
        self.asleep.append(asleep)
        self.awake.append(len(tracks) - asleep)
        self.memory.append(resident())
        return alive


def resident() -> float:
    """Return the resident memory of this process in megabytes."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 2**20


def soak(frames: int, size: tuple[int, int] = SIZE) -> Record:
    """Run the tracker over so many frames of (width, height)."""
    corridor, tracker, record = Corridor(*size), Tracker(_CONFIG), Record()
    alive: set[int] = set()
    for number in range(frames):
        frame, segments = corridor.frame(number)
        next_id, begin = tracker.next_id, time.process_time()
        prediction = tracker.predict(frame)
        tracker.update(prediction, segments if prediction.keyframe else None)
        spent = (time.process_time() - begin) * 1e3
        alive = record.note(spent, tracker.tracks, alive, next_id)
    record.started = tracker.started
    return record


def judge(record: Record, slower: float = SLOWER) -> dict[str, Any]:
    """Return the figures of each quarter, and what is wrong under 'problems'."""
    quarters = np.array_split(np.arange(len(record.step)), 4)
    p50, p95 = ([float(np.percentile(np.take(record.step, quarter), share))
                 for quarter in quarters] for share in (50, 95))
    memory = [float(np.median(np.take(record.memory, quarter[-len(quarter) // 5:])))
              for quarter in quarters]
    problems = []
    if p95[3] > slower * p95[1]:
        problems.append(f'p95 of a step rose from {p95[1]:.2f} to {p95[3]:.2f} ms')
    if max(memory[1:]) > LARGER * memory[0]:
        problems.append(f'memory grew from {memory[0]:.0f} to {max(memory[1:]):.0f} MB')
    if record.used_twice:
        problems.append(f'{record.used_twice} ids were used twice')
    most_asleep, most = _CONFIG.max_lost, np.add(record.awake, record.asleep).max()
    if max(record.asleep) > most_asleep or most > CAPACITY:
        problems.append(f'{most} tracks, {max(record.asleep)} of them asleep; at most {CAPACITY} '
                        f'and {most_asleep} are kept')
    return {'frames': len(record.step), 'step_ms_p50': p50, 'step_ms_p95': p95,
            'memory_mb': memory, 'tracks_started': record.started,
            'most_awake': max(record.awake), 'most_asleep': max(record.asleep),
            'problems': problems}


def main() -> int:
    """Run the soak as the command line asks; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('--frames', type=int, default=20000, help='at least 40')
    parser.add_argument('--size', default='{}x{}'.format(*SIZE), metavar='WIDTHxHEIGHT')
    parser.add_argument('--json', type=Path, metavar='PATH', help='write the report here too')
    arguments = parser.parse_args()
    width, _, height = arguments.size.partition('x')
    if not (width.isdigit() and height.isdigit() and min(int(width), int(height)) >= 16):
        parser.error(f'--size {arguments.size}: give it as 640x480, 16 pixels or more a side')
    if arguments.frames < 40:
        parser.error(f'--frames {arguments.frames}: at least 40')
    cv2.setNumThreads(1)
    report = judge(soak(arguments.frames, (int(width), int(height))))
    text = json.dumps(report, indent=1)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + '\n')
    return 1 if report['problems'] else 0


if __name__ == '__main__':
    sys.exit(main())
