"""
Feed the node 640x480 RGB-D at 30 Hz for minutes and look for leaks, growing age and lost counts.

    python test/soak/soak.py --minutes 10

Prints a report as JSON; exits with 1 when the memory grew, the age did, or an image is not
accounted for. The memory after the first minute, or after a third of a shorter run, is the
yardstick.

    python test/soak/soak.py --minutes 0.25 --recording SEQUENCE --outputs labels points

plays a recording there and back: `share` says how many images gave labels, `node_ms` how old they
were when the node published them, and what took the time.
"""

from __future__ import annotations

import argparse
import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
import json
import os
from pathlib import Path
import subprocess
import sys
import time
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'test' / 'ros')]

import cv2  # noqa: E402
from diffseg_ros.geometry.label_images import resize_labels  # noqa: E402
from diffseg_ros.io.source import open_source  # noqa: E402
from diffseg_ros.types import Intrinsics  # noqa: E402
import numpy as np  # noqa: E402

NODE = ('-m', 'diffseg_ros.cli.node')
SETTLE_SECONDS = 20.0
PREPARED = 30


@dataclass
class Record:
    """
    What was seen during a run.

    Attributes
    ----------
    memory
        (seconds since the start, resident megabytes of the node) once a second.
    ages
        (seconds since the start, age of the labels in ms when they arrived).

    """

    sent: int = 0
    memory: list[tuple[float, float]] = field(default_factory=list)
    ages: list[tuple[float, float]] = field(default_factory=list)


def blocks(width: int, height: int) -> Iterator[tuple[np.ndarray, np.ndarray, Intrinsics]]:
    """Yield colours, depth and camera of blocks that move over a background."""
    generator = np.random.default_rng(0)
    scene = np.kron(generator.integers(0, 255, (height // 40, width // 40, 3), np.uint8),
                    np.ones((40, 40, 1), np.uint8))
    metres = scene[..., 0].astype('<f4') / 100 + 0.5
    camera = Intrinsics(width, height, 0.8 * width, 0.8 * width, width / 2, height / 2)
    for number in range(PREPARED):
        yield np.roll(scene, 4 * number, 1), np.roll(metres, 4 * number, 1), camera


def recorded(path: Path, width: int, height: int
             ) -> Iterator[tuple[np.ndarray, np.ndarray, Intrinsics]]:
    """Yield the same of a recording's frames, there and back."""
    frames = list(open_source(path))
    for frame in frames + frames[-2:0:-1]:
        yield (cv2.resize(frame.rgb, (width, height)), resize_labels(frame.depth, height, width),
               frame.intrinsics.resized(width, height))


def as_messages(rgb: np.ndarray, metres: np.ndarray, camera: Intrinsics) -> tuple[Any, Any, Any]:
    """Return camera_info, depth and image."""
    from sensor_msgs.msg import CameraInfo, Image

    height, width = metres.shape
    images = (Image(width=width, height=height, encoding=encoding, step=pixels.nbytes // height,
                    data=array.array('B', pixels.tobytes()))
              for pixels, encoding in ((metres, '32FC1'), (rgb, 'rgb8')))
    return CameraInfo(
        width=width, height=height, distortion_model=camera.distortion_model,
        d=list(camera.distortion),
        k=[camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]), *images


@contextmanager
def running_node(program: tuple[str, ...], domain: int, log: Path,
                 delay: float) -> Iterator[subprocess.Popen]:
    """Start the node; end it afterwards."""
    environment = {**os.environ, 'ROS_DOMAIN_ID': str(domain), 'PYTHONPATH': str(ROOT),
                   'STUB_DELAY': str(delay)}
    with log.open('wb') as output:
        process = subprocess.Popen([sys.executable, *program], env=environment, stdout=output,
                                   stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def resident(pid: int) -> float:
    """Return the resident memory of a process in megabytes."""
    pages = int(Path(f'/proc/{pid}/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 2**20


def feed(client: Any, pid: int, seconds: float, rate: float,
         frames: list[tuple[Any, Any, Any]]) -> Record:
    """Publish at `rate` and collect; what is late goes out at once."""
    record = Record()
    client.got['labels'].clear()
    begin = time.monotonic()
    while (elapsed := time.monotonic() - begin) < seconds:
        stamp = time.time_ns()
        for message, publisher in zip(frames[record.sent % len(frames)],
                                      (client.infos, client.depths, client.images)):
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10**9)
            message.header.frame_id = 'camera'
            publisher.publish(message)
        record.sent += 1
        if not record.memory or elapsed - record.memory[-1][0] >= 1:
            record.memory.append((elapsed, resident(pid)))
        client.spin(max(record.sent / rate - (time.monotonic() - begin), 0.001))
        now = time.time_ns()
        for labels in client.got['labels']:
            taken = labels.header.stamp.sec * 10**9 + labels.header.stamp.nanosec
            record.ages.append((elapsed, (now - taken) / 1e6))
        for messages in client.got.values():
            messages.clear()
        del client.statuses[:-1]
    return record


def judge(record: Record, values: dict[str, str], seconds: float) -> dict[str, Any]:
    """Return the report; `problems` is empty when all is well."""
    counts = {name: int(value) for name, value in values.items()
              if name in ('received', 'processed', 'failed', 'idle', 'dropped')
              or name.startswith('dropped.')}
    settled = sum(counts[name] for name in ('processed', 'failed', 'idle', 'dropped'))
    begin = min(60.0, seconds / 3)
    window = min(10.0, seconds / 6)

    def around(pairs: list[tuple[float, float]], share: float, first: float,
               last: float) -> float:
        chosen = [value for when, value in pairs if first <= when <= last]
        return float(np.percentile(chosen, share)) if chosen else float('nan')

    base = around(record.memory, 50, begin, begin + window)
    final = around(record.memory, 50, seconds - window, seconds)
    early = around(record.ages, 95, begin, begin + window)
    late = around(record.ages, 95, seconds - window, seconds)
    report = {
        'seconds': seconds, 'sent': record.sent, **counts, 'labels': len(record.ages),
        'share': round(len(record.ages) / max(record.sent, 1), 3),
        'node_ms': {name.removesuffix('_ms'): float(value) for name, value in values.items()
                    if name.endswith('_ms')},
        'memory_mb': {'first': round(base, 1), 'last': round(final, 1),
                      'highest': round(max(value for _, value in record.memory), 1),
                      'every_10_s': [round(value) for _, value in record.memory[::10]]},
        'memory_growth': round(final / base - 1, 4),
        'age_ms': {'p50': round(around(record.ages, 50, 0, seconds), 1),
                   'p95': round(around(record.ages, 95, 0, seconds), 1),
                   'p95_first': round(early, 1), 'p95_last': round(late, 1),
                   'highest': round(max((age for _, age in record.ages), default=0.0), 1)}}
    report['problems'] = [problem for problem, wrong in (
        (f'{counts["received"]} received, {settled} accounted for',
         counts['received'] != settled),
        (f'{counts["failed"]} failed', counts['failed'] > 0),
        ('no labels came', not record.ages),
        (f'memory grew by {report["memory_growth"]:.1%}', not final <= 1.03 * base),
        (f'age rose from {early:.0f} to {late:.0f} ms', not late <= 1.5 * early + 500)) if wrong]
    return report


def soak(minutes: float, *, rate: float = 30.0, size: tuple[int, int] = (640, 480),
         program: tuple[str, ...] = NODE, delay: float = 0.0, log: Path = Path(os.devnull),
         recording: Path | None = None,
         outputs: Sequence[str] = ('labels', 'points')) -> dict[str, Any]:
    """Run a node for some minutes and return the report."""
    from node_rig import Client, own_domain

    frames = [as_messages(*frame) for frame in
              (recorded(recording, *size) if recording else blocks(*size))]
    with own_domain() as domain:
        client = Client(domain)
        try:
            with running_node(program, domain, log, delay) as process:
                client.subscribe(*outputs)
                client.until(lambda: client.values.get('state') == 'active')
                client.ready()
                record = feed(client, process.pid, minutes * 60, rate, frames)
                client.until(lambda: client.accounted() and 'no more images' in client.sentence,
                             SETTLE_SECONDS)
                return judge(record, client.values, minutes * 60)
        finally:
            client.close()


def main() -> int:
    """Run and print the report."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('--minutes', type=float, default=10.0)
    parser.add_argument('--rate', type=float, default=30.0, metavar='HZ')
    parser.add_argument('--size', type=int, nargs=2, default=(640, 480),
                        metavar=('WIDTH', 'HEIGHT'))
    parser.add_argument('--recording', type=Path, metavar='SEQUENCE',
                        help='feed its frames, without poses, instead of blocks')
    parser.add_argument('--outputs', nargs='+', default=('labels', 'points'), metavar='NAME',
                        help='subscribe to these; labels must be among them')
    parser.add_argument('--stub', action='store_true',
                        help='the node with a pipeline that needs no model')
    parser.add_argument('--log', type=Path, default=Path(os.devnull),
                        help='file for what the node prints')
    arguments = parser.parse_args()
    program = (str(ROOT / 'test' / 'ros' / 'stub_node.py'),) if arguments.stub else NODE
    report = soak(arguments.minutes, rate=arguments.rate, log=arguments.log, program=program,
                  delay=0.06, size=tuple(arguments.size), recording=arguments.recording,
                  outputs=arguments.outputs)
    print(json.dumps(report, indent=2))
    return 1 if report['problems'] else 0


if __name__ == '__main__':
    sys.exit(main())
