"""Frames to measure with: a generated room, or images of the user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.label_images import resize_labels
from diffseg_ros.io.images import decode_rgb
from diffseg_ros.synthetic.camera_path import camera_path
from diffseg_ros.synthetic.renderer import Renderer
from diffseg_ros.synthetic.scene import create_scene
from diffseg_ros.types import Frame
import numpy as np

_PERIOD = 0.1


def scene_frames(count: int, seed: int = 0) -> list[Frame]:
    """Return consecutive 640x480 RGB-D frames of a generated room, 0.1 s apart, with poses."""
    renderer = Renderer(create_scene(seed))
    times = np.arange(count) * _PERIOD
    frames = []
    for time, pose in zip(times, camera_path(renderer.scene, times, seed), strict=True):
        picture = renderer.render(float(time), pose, seed)
        frames.append(Frame(picture.rgb, round(time * 1e9), depth=picture.depth,
                            intrinsics=renderer.camera, pose=pose))
    return frames


def there_and_back(frames: Sequence[Frame], count: int) -> list[Frame]:
    """Return `count` frames with rising stamps that play `frames` forwards and backwards."""
    turn = [*range(len(frames)), *range(len(frames) - 2, 0, -1)]
    return [replace(frames[turn[number % len(turn)]], stamp=round(number * _PERIOD * 1e9))
            for number in range(count)]


def resized(frame: Frame, width: int, height: int) -> Frame:
    """Return the frame at another size; depth is resized by nearest neighbour."""
    rgb = cv2.resize(frame.rgb, (width, height), interpolation=cv2.INTER_AREA)
    depth = None if frame.depth is None else resize_labels(frame.depth, height, width)
    camera = None if frame.intrinsics is None else frame.intrinsics.resized(width, height)
    return replace(frame, rgb=rgb, depth=depth, intrinsics=camera)


def image_frames(paths: Sequence[Path]) -> list[Frame]:
    """
    Return one frame per image file.

    Raises
    ------
    DiffsegError
        A file does not exist or is no image.

    """
    for path in paths:
        if not path.is_file():
            raise DiffsegError(f'{path}: no such file; give images (png, jpg, ...)')
    return [Frame(decode_rgb(path.read_bytes(), path.name)) for path in paths]
