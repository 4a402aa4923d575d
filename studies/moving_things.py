"""
How well moving things are told from the room: recall and precision of their pixels.

`python -m studies.moving_things SEED...` renders a room for each seed with a camera that stands
still and one that walks, tracks what moves, and prints pixels found, wrong and missed, and the
median error of the velocities. The first second, in which nothing can be known, does not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import sys

from diffseg_ros.pipeline import Pipeline
from diffseg_ros.synthetic.camera_path import camera_path
from diffseg_ros.synthetic.depth_sensor import measure_depth
from diffseg_ros.synthetic.renderer import Renderer
from diffseg_ros.synthetic.scene import create_scene
from diffseg_ros.types import Frame, LabelImage, Result
import numpy as np
import numpy.typing as npt

FRAMES, RATE = 60, 10
SLOW = 0.05
"""Metres per second below which a thing neither moves nor stands still, and does not count."""

Velocities = dict[int, npt.NDArray[np.float64]]
"""(3,) metres per second in the world by instance, of the things that ever move."""


def room(seed: int, *, walks: bool) -> Iterator[tuple[Frame, LabelImage, Velocities]]:
    """Yield frames of a room with the instance of each pixel and the true velocities."""
    renderer = Renderer(create_scene(seed))
    camera, times = renderer.camera, np.arange(FRAMES) / RATE
    poses = camera_path(renderer.scene, times, seed)
    for number, time in enumerate(times):
        noise = seed * 100_003 + number
        pose = poses[number if walks else 0]
        seen = renderer.render(float(time), pose, noise)
        depth = measure_depth(seen.depth, seen.incidence, seen.reflectance, camera.fx, noise)
        velocities = {}
        for thing in renderer.scene.instances:
            if thing.motion is not None:
                after, before = (thing.motion(time + step)[:3, 3] for step in (0.05, -0.05))
                velocities[thing.number] = (after - before) / 0.1
        yield (Frame(seen.rgb, round(time * 1e9), depth=depth.astype(np.float32),
                     intrinsics=camera, pose=pose), seen.instances.astype(np.int32), velocities)


def counts(result: Result, instances: LabelImage, velocities: Velocities
           ) -> npt.NDArray[np.int64]:
    """Return how many pixels of a frame are found, wrong and missed."""
    fast = {number: np.linalg.norm(speed) > SLOW for number, speed in velocities.items()}
    truth = np.isin(instances, [number for number, moves in fast.items() if moves])
    counted = ~np.isin(instances, [number for number, moves in fast.items() if not moves])
    found = np.isin(result.labels, [track.id for track in result.tracks if track.moving])
    return np.array([np.count_nonzero(part & counted)
                     for part in (found & truth, found & ~truth, ~found & truth)])


def errors(result: Result, instances: LabelImage, velocities: Mapping[int, npt.NDArray]
           ) -> Iterator[float]:
    """Yield how wrong the velocity of each track is that lies mostly on one moving thing."""
    pose = result.frame.pose
    for track in result.tracks:
        below = instances[result.labels == track.id]
        if track.velocity is None or pose is None or not below.size:
            continue
        thing = int(np.bincount(below).argmax())
        if thing in velocities and (below == thing).mean() > 0.5:
            yield float(np.linalg.norm(pose[:3, :3] @ track.velocity - velocities[thing]))


def main() -> None:
    """Print a line for each room and camera, and one for all rooms."""
    backbone = Pipeline().backbone
    for walks in (False, True):
        wrong: list[float] = []
        total = np.zeros(3, np.int64)
        for seed in map(int, sys.argv[1:]):
            pipeline, here = Pipeline(backbone=backbone), np.zeros(3, np.int64)
            for number, (frame, instances, velocities) in enumerate(room(seed, walks=walks)):
                result = pipeline.process(frame)
                if number >= RATE:
                    here += counts(result, instances, velocities)
                    wrong += errors(result, instances, velocities)
            total += here
            print(f'room {seed}', _line(here, walks), flush=True)
        print('all', _line(total, walks), f'median error of the velocity {np.median(wrong):.2f} '
              f'm/s of {len(wrong)}')


def _line(counted: npt.NDArray[np.int64], walks: bool) -> str:
    found, wrong, missed = counted.tolist()
    return (f'camera {"walks" if walks else "still"}: precision '
            f'{found / max(found + wrong, 1):.2f}, recall {found / max(found + missed, 1):.2f}')


if __name__ == '__main__':
    main()
