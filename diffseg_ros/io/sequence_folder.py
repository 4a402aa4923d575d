"""Recordings as image files: sequence folders, folders of images, single images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
import json
from pathlib import Path
from typing import Any, TypeVar

from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.camera import same_view
from diffseg_ros.geometry.transforms import pose_from_quaternion
from diffseg_ros.io.base import CAMERA_FRAME, DEFAULT_PERIOD_NS, Source, SourceFrame
from diffseg_ros.io.images import (
    metres_from_units,
    read_bytes,
    read_image,
    read_units,
    sorted_images,
)
from diffseg_ros.types import DepthImage, Frame, Intrinsics, Matrix, RgbImage
import numpy as np
import numpy.typing as npt

_LATEST_NS = 2**31 * 10**9
_INTRINSICS = ('width', 'height', 'fx', 'fy', 'cx', 'cy')

_Value = TypeVar('_Value')


class ImageSequence(Source):
    """
    Image files in order, 1/30 s apart; the `notes` are among its warnings.

    Intrinsics are read from the file `camera`, where it is given and there.
    """

    def __init__(self, name: str, images: list[Path], *notes: str,
                 camera: Path | None = None) -> None:
        super().__init__(name, len(images))
        self._images = images
        self._warnings += notes
        self._bad_depth: dict[Path, str] = {}
        self.intrinsics: Intrinsics | None = None
        if camera is not None:
            self.camera_file, self.intrinsics = str(camera), intrinsics_in(camera)

    @property
    def warnings(self) -> list[str]:
        bad = [*self._bad_depth.values()]
        return [*super().warnings, *(
            [f'{len(bad)} depth images cannot be used: clouds there only with depth.model; the '
             f'first: {bad[0]}'] if bad else [])]

    def numbered_frames(self, first: int = 0) -> Iterator[SourceFrame]:
        return (self.read(number) for number in range(first, self.frame_count))

    def add_note(self, note: str) -> None:
        """Add a line to the warnings."""
        self._warnings.append(note)

    def read(self, number: int) -> SourceFrame:
        """Read one frame by its number."""
        try:
            return SourceFrame(number, self._frame(number))
        except DiffsegError as error:
            return SourceFrame(number, None, str(error))

    def _read_depth(self, path: Path, units: float, rgb: RgbImage) -> DepthImage | None:
        """
        Return metres from units per metre, of the view of an image.

        A bad file is noted and costs only the cloud.
        """
        try:
            metres = metres_from_units(read_units(path), units)
            (height, width), (image_height, image_width) = metres.shape, rgb.shape[:2]
            if not same_view((width, height), (image_width, image_height)):
                raise DiffsegError(f'{path}: {width}x{height} pixels, and the image has '
                                   f'{image_width}x{image_height}; register it to the colour '
                                   'camera')
            return metres
        except DiffsegError as error:
            self._bad_depth[path] = str(error)
            return None

    def _frame(self, number: int) -> Frame:
        rgb = read_image(self._images[number])
        return Frame(rgb, number * DEFAULT_PERIOD_NS, CAMERA_FRAME,
                     intrinsics=of_view(rgb, self.intrinsics, self.camera_file))


class SequenceFolder(ImageSequence):
    """
    A folder with rgb/, and optionally depth/, instances/ and text files.

    All but the images is read at once; raises DiffsegError if the files do not agree.

    Attributes
    ----------
    intrinsics
        From camera.json, or None.
    background
        Instance id that is no object (sequence.json), or None.
    has_instances
        Whether there is ground truth.

    """

    def __init__(self, path: Path) -> None:
        super().__init__(path.resolve().name,
                         sorted_images(path / 'rgb', ('.jpg', '.jpeg', '.png')))
        self._path = path
        self._depth = sorted_images(path / 'depth', ('.png',))
        self._instances = sorted_images(path / 'instances', ('.png',))
        self.has_instances = bool(self._instances)
        times = _parsed_lines(path / 'times.txt', nanoseconds, 'decimal seconds')
        poses = _parsed_lines(path / 'poses.txt', _pose, '"tx ty tz qx qy qz qw"')
        self._check_counts(times, poses)
        self._times = times or [number * DEFAULT_PERIOD_NS for number in range(self.frame_count)]
        self._poses: list[Matrix | None] = poses or [None] * self.frame_count
        camera = path / 'camera.json'
        values = json_object(camera)
        self.camera_file = str(camera)
        self.intrinsics = camera_intrinsics(camera, values) if values else None
        self._depth_scale = depth_scale(camera, values) if self._depth and values else None
        self.background = _background(path / 'sequence.json')
        if not times:
            self._warnings.append('no times.txt: frames are stamped 1/30 s apart')
        if not self._depth:
            self._warnings.append('no depth: clouds only with depth.model')
        elif self._depth_scale is None:
            self._warnings.append('no camera.json: depth without scale and intrinsics is not '
                                  'used: masks only, no clouds')

    def instances(self, number: int) -> npt.NDArray[np.uint16]:
        """Return the true ids of a frame, (H, W) uint16, 65535 = ignore; or raise DiffsegError."""
        if not self._instances:
            raise DiffsegError(f'{self._path}: no instances/; ground truth is needed')
        return read_units(self._instances[number])

    @property
    def seconds(self) -> float:
        return (self._times[-1] - self._times[0]) / 1e9

    def _frame(self, number: int) -> Frame:
        rgb, depth = read_image(self._images[number]), None
        if self._depth_scale is not None:
            depth = self._read_depth(self._depth[number], self._depth_scale, rgb)
        return Frame(rgb, self._times[number], CAMERA_FRAME, depth,
                     of_view(rgb, self.intrinsics, self.camera_file), self._poses[number])

    def _check_counts(self, times: list[int], poses: list[Matrix | None]) -> None:
        if not self._images:
            raise DiffsegError(f'{self._path / "rgb"}: no images; rgb/NNNNNN.jpg or .png are '
                               'needed')
        counts = {'rgb': self.frame_count, 'depth': len(self._depth),
                  'instances': len(self._instances), 'times.txt': len(times),
                  'poses.txt': len(poses)}
        counts = {part: count for part, count in counts.items()
                  if count or (self._path / part).exists()}
        if len(set(counts.values())) > 1:
            listed = ', '.join(f'{part} {count}' for part, count in counts.items())
            raise DiffsegError(f'{self._path}: counts differ: {listed}; each must hold one entry '
                               'per frame')
        for others in (self._depth, self._instances):
            for image, other in zip(self._images, others):
                if image.stem != other.stem:
                    raise DiffsegError(f'{other}: the image in its place is {image.name}; both '
                                       'need the same number')


def json_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, {} without a file; raise DiffsegError for others."""
    if not path.exists():
        return {}
    try:
        content = json.loads(read_bytes(path))
    except ValueError as error:
        raise DiffsegError(f'{path}: no JSON ({error})') from None
    if not isinstance(content, dict):
        raise DiffsegError(f'{path}: {type(content).__name__}; an object {{...}} is needed')
    return content


def intrinsics_in(camera: Path) -> Intrinsics | None:
    """Return the intrinsics in a file such as camera.json, None without it; or raise."""
    values = json_object(camera)
    return camera_intrinsics(camera, values) if values else None


def of_view(rgb: RgbImage, intrinsics: Intrinsics | None, camera: str) -> Intrinsics | None:
    """Return the intrinsics in a file; raise DiffsegError where an image shows another view."""
    size = rgb.shape[1], rgb.shape[0]
    if intrinsics is not None and not same_view((intrinsics.width, intrinsics.height), size):
        raise DiffsegError(f'{camera}: of {intrinsics.width}x{intrinsics.height} pixels, and the '
                           f'image has {size[0]}x{size[1]}; give the intrinsics of upright '
                           'images, at any size of the same view')
    return intrinsics


def camera_intrinsics(path: Path, camera: dict[str, Any]) -> Intrinsics:
    """Return the intrinsics in camera.json, or raise DiffsegError, which names `path`."""
    missing = [key for key in _INTRINSICS if type(camera.get(key)) not in (int, float)]
    if missing:
        raise DiffsegError(f'{path}: no number for {", ".join(missing)}; '
                           f'{", ".join(_INTRINSICS)} are needed')
    try:
        fx, fy, cx, cy = (float(camera[key]) for key in _INTRINSICS[2:])
        distortion = tuple(float(value) for value in camera.get('distortion') or ())
        return Intrinsics(int(camera['width']), int(camera['height']), fx, fy, cx, cy, distortion)
    except (TypeError, ValueError):
        raise DiffsegError(f'{path}: distortion is {camera["distortion"]!r}; a list '
                           '[k1, k2, p1, p2, k3] is needed') from None
    except DiffsegError as error:
        raise DiffsegError(f'{path}: {error}') from None


def depth_scale(path: Path, camera: dict[str, Any]) -> float:
    """Return the depth units per metre in camera.json, or raise DiffsegError."""
    scale = camera.get('depth_scale')
    if not isinstance(scale, int | float) or not 0 < scale < float('inf'):
        raise DiffsegError(f'{path}: depth_scale is {scale!r}; the units per metre of depth/ are '
                           'needed, for example 1000')
    return float(scale)


def _background(path: Path) -> int | None:
    background = json_object(path).get('background')
    if background is not None and type(background) is not int:
        raise DiffsegError(f'{path}: background is {background!r}; an instance id is needed, or '
                           'null')
    return background


def _parsed_lines(path: Path, parse: Callable[[str], _Value], kind: str) -> list[_Value]:
    if not path.exists():
        return []
    try:
        lines = read_bytes(path).decode().splitlines()
    except UnicodeDecodeError:
        raise DiffsegError(f'{path}: not a text file') from None
    values = []
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                values.append(parse(line))
        except (ValueError, InvalidOperation, DiffsegError):
            raise DiffsegError(f'{path}: line {number} is {line.strip()[:80]!r}; {kind} is '
                               'needed') from None
    return values


def nanoseconds(line: str) -> int:
    """Return decimal seconds in ns, or raise ValueError or ArithmeticError."""
    # Decimal, because a float holds the seconds of today only to 200 ns.
    stamp = int((Decimal(line.strip()) * 10**9).to_integral_value())
    if not 0 <= stamp < _LATEST_NS:
        raise ValueError(line)
    return stamp


def _pose(line: str) -> Matrix | None:
    values = [float(value) for value in line.split()]
    if len(values) != 7:
        raise ValueError(line)
    if np.isnan(values).all():
        return None
    return pose_from_quaternion(values[:3], values[3:])
