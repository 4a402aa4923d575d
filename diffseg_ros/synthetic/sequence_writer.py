"""Renders a scene into a sequence folder with ground truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
import json
import os
from pathlib import Path
import shutil

from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.transforms import quaternion_from_pose
from diffseg_ros.io.images import write_image
from diffseg_ros.synthetic.camera_path import camera_path
from diffseg_ros.synthetic.depth_sensor import measure_depth
from diffseg_ros.synthetic.renderer import CAMERA, Renderer
from diffseg_ros.synthetic.scene import create_scene, Scene
from diffseg_ros.types import Intrinsics
import numpy as np
import numpy.typing as npt

Walk = Callable[[Scene, npt.NDArray[np.floating], int], npt.NDArray[np.float64]]
"""Returns (N, 4, 4) camera-to-world poses in a scene at (N,) seconds, by a seed."""

RATE = 10
"""Frames a second."""
DEPTH_SCALE = 1000
"""Units of the depth images per metre."""

_WORKERS = max(2, min(os.cpu_count() or 2, 4))


def render_sequence(folder: Path, frames: int, seed: int = 0,
                    camera: Intrinsics = CAMERA, walk: Walk = camera_path) -> Iterator[int]:
    """
    Write `frames` frames of the room `seed` and yield the number of each as it is written.

    The folder appears when all frames are written. `walk` gives the poses of the camera.

    Raises
    ------
    DiffsegError
        The folder cannot be written, or holds something.

    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise DiffsegError(f'{folder}: exists and is not empty; remove it or choose another '
                           '--output')
    partial = folder.with_name(f'.{folder.name}.{os.getpid()}.partial')
    try:
        partial.mkdir(parents=True)
        yield from _render_frames(partial, frames, seed, camera, walk)
        partial.rename(folder)
    except OSError as error:
        raise DiffsegError(f'{folder}: cannot be written ({error.strerror or error})') from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _render_frames(folder: Path, frames: int, seed: int, camera: Intrinsics,
                   walk: Walk) -> Iterator[int]:
    scene = create_scene(seed)
    renderer = Renderer(scene, camera)
    times = np.arange(frames) / RATE
    poses = walk(scene, times, seed)
    _write_texts(folder, camera, times, poses)
    names = {instance.number: instance.name for instance in scene.instances}
    (folder / 'sequence.json').write_text(
        json.dumps({'background': None, 'instances': names}, indent=1) + '\n')

    def produce(number: int) -> int:
        rendering = renderer.render(times[number], poses[number], seed * 100_003 + number)
        depth = measure_depth(rendering.depth, rendering.incidence, rendering.reflectance,
                              camera.fx, seed * 100_003 + number)
        units = np.nan_to_num(np.rint(depth * DEPTH_SCALE)).astype(np.uint16)
        name = f'{number:06d}'
        write_image(folder / 'rgb' / f'{name}.jpg', rendering.rgb)
        write_image(folder / 'depth' / f'{name}.png', units)
        write_image(folder / 'instances' / f'{name}.png', rendering.instances)
        return number

    with ThreadPoolExecutor(_WORKERS) as pool:
        waiting: list[Future[int]] = [pool.submit(produce, number) for number in range(frames)]
        try:
            for future in waiting:
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _write_texts(folder: Path, camera: Intrinsics, times: np.ndarray, poses: np.ndarray) -> None:
    content = {key: getattr(camera, key) for key in ('width', 'height', 'fx', 'fy', 'cx', 'cy')}
    (folder / 'camera.json').write_text(
        json.dumps(content | {'depth_scale': DEPTH_SCALE}, indent=1) + '\n')
    (folder / 'times.txt').write_text(''.join(f'{time:.9f}\n' for time in times))
    (folder / 'poses.txt').write_text(''.join(
        ' '.join(f'{value:.9f}' for value in (*pose[:3, 3], *quaternion_from_pose(pose))) + '\n'
        for pose in poses))
