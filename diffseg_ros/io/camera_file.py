"""camera.json of sequence folders and mask data sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.image_files import read_bytes
from diffseg_ros.types import Intrinsics

_INTRINSICS_KEYS = ('width', 'height', 'fx', 'fy', 'cx', 'cy')


def json_object(path: Path) -> dict[str, Any]:
    """
    Return the object in a JSON file, an empty one where there is no file.

    Raises
    ------
    DiffsegError
        The file holds no JSON or no object.

    """
    if not path.exists():
        return {}
    try:
        content = json.loads(read_bytes(path))
    except ValueError as error:
        raise DiffsegError(f'{path}: no JSON ({error})') from None
    if not isinstance(content, dict):
        raise DiffsegError(f'{path}: {type(content).__name__}; an object {{...}} is needed')
    return content


def camera_intrinsics(path: Path, camera: dict[str, Any]) -> Intrinsics:
    """
    Return the intrinsics in the object that was read from `path`.

    Raises
    ------
    DiffsegError
        A number is missing or unusable, or the distortion is no list of numbers.

    """
    missing = [key for key in _INTRINSICS_KEYS if type(camera.get(key)) not in (int, float)]
    if missing:
        raise DiffsegError(f'{path}: no number for {", ".join(missing)}; '
                           f'{", ".join(_INTRINSICS_KEYS)} are needed')
    try:
        fx, fy, cx, cy = (float(camera[key]) for key in _INTRINSICS_KEYS[2:])
        distortion = tuple(float(value) for value in camera.get('distortion') or ())
        return Intrinsics(int(camera['width']), int(camera['height']), fx, fy, cx, cy, distortion)
    except (TypeError, ValueError):
        raise DiffsegError(f'{path}: distortion is {camera["distortion"]!r}; a list '
                           '[k1, k2, p1, p2, k3] is needed') from None
    except DiffsegError as error:
        raise DiffsegError(f'{path}: {error}') from None


def depth_units(path: Path, camera: dict[str, Any]) -> float:
    """
    Return the units per metre of the depth images, from the object read from `path`.

    Raises
    ------
    DiffsegError
        depth_scale is missing or not a number above 0.

    """
    scale = camera.get('depth_scale')
    if not isinstance(scale, int | float) or not 0 < scale < float('inf'):
        raise DiffsegError(f'{path}: depth_scale is {scale!r}; the units per metre of depth/ are '
                           'needed, for example 1000')
    return float(scale)
