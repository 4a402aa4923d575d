"""Sequence folders: numbered images with optional depth, intrinsics, poses and instances."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar

from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.transforms import Matrix, pose_from_quaternion
from diffseg_ros.io.camera_file import camera_intrinsics, depth_units, json_object
from diffseg_ros.io.depth import metres_from_units
from diffseg_ros.io.image_files import decode_rgb, decode_units, read_bytes
from diffseg_ros.io.source import SourceFrame
from diffseg_ros.types import Frame
import numpy as np
import numpy.typing as npt

CAMERA_FRAME = 'camera'
"""frame_id of the images of every sequence folder."""
IGNORED_INSTANCE = 65535
"""Value of instance images that is not scored."""

_IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png')
_DEFAULT_PERIOD_NS = 33_333_333
_LATEST_NS = 2**31 * 10**9

_Value = TypeVar('_Value')


class SequenceFolder:
    """
    A recording as a folder: rgb/, and optionally depth/, instances/ and text files.

    Attributes
    ----------
    intrinsics
        From camera.json, or None.
    background
        Instance id that is no object (sequence.json), or None.

    """

    def __init__(self, path: Path) -> None:
        """
        Read everything but the images.

        Raises
        ------
        DiffsegError
            Counts differ, or a file of the folder cannot be understood.

        """
        self._path = path
        self._rgb = _images(path / 'rgb', _IMAGE_SUFFIXES)
        self._depth = _images(path / 'depth', ('.png',))
        self._instances = _images(path / 'instances', ('.png',))
        times = _parsed_lines(path / 'times.txt', _nanoseconds)
        poses = _parsed_lines(path / 'poses.txt', _pose)
        self._check_counts(times, poses)
        self._times = times or [number * _DEFAULT_PERIOD_NS for number in range(len(self._rgb))]
        self._poses: list[Matrix | None] = poses or [None] * len(self._rgb)
        camera = json_object(path / 'camera.json')
        self.intrinsics = (camera_intrinsics(path / 'camera.json', camera) if camera
                           else None)
        self._depth_scale = self._read_depth_scale(camera)
        background = json_object(path / 'sequence.json').get('background')
        self.background: int | None = None if background is None else int(background)
        self.notes = self._make_notes(has_times=bool(times))

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self._path.resolve().name

    @property
    def frame_count(self) -> int:
        """Number of images in rgb/."""
        return len(self._rgb)

    @property
    def has_instances(self) -> bool:
        """Whether there is ground truth."""
        return bool(self._instances)

    def __iter__(self) -> Iterator[SourceFrame]:
        """Yield the frames in the order of the file names."""
        return (self.read(number) for number in range(len(self._rgb)))

    def read(self, number: int) -> SourceFrame:
        """Read one frame."""
        try:
            rgb = decode_rgb(read_bytes(self._rgb[number]), str(self._rgb[number]))
            frame = Frame(rgb, self._times[number], CAMERA_FRAME, self._read_depth(number),
                          self.intrinsics, self._poses[number])
        except DiffsegError as error:
            return SourceFrame(number, None, str(error))
        return SourceFrame(number, frame)

    def instances(self, number: int) -> npt.NDArray[np.uint16]:
        """
        Return the true instance ids of a frame: (H, W) uint16, IGNORED_INSTANCE = ignore.

        Raises
        ------
        DiffsegError
            There is no ground truth, or the image cannot be read.

        """
        if not self._instances:
            raise DiffsegError(f'{self._path}: no instances/; ground truth is needed')
        return _units(self._instances[number])

    def _read_depth(self, number: int) -> npt.NDArray[np.float32] | None:
        if self._depth_scale is None:
            return None
        return metres_from_units(_units(self._depth[number]), self._depth_scale)

    def _check_counts(self, times: list[int], poses: list[Matrix | None]) -> None:
        if not self._rgb:
            raise DiffsegError(f'{self._path / "rgb"}: no images; rgb/NNNNNN.jpg or .png are '
                               'needed')
        parts: dict[str, Sequence[object]] = {
            'depth': self._depth, 'instances': self._instances, 'times.txt': times,
            'poses.txt': poses}
        counts = {'rgb': len(self._rgb)} | {
            part: len(items) for part, items in parts.items()
            if items or (self._path / part).exists()}
        if len(set(counts.values())) > 1:
            listed = ', '.join(f'{part} {count}' for part, count in counts.items())
            raise DiffsegError(f'{self._path}: counts differ: {listed}; each must hold one entry '
                               'a frame')
        for others in (self._depth, self._instances):
            for image, other in zip(self._rgb, others):
                if image.stem != other.stem:
                    raise DiffsegError(f'{other}: the image at its place is {image.name}; both '
                                       'need the same number')

    def _read_depth_scale(self, camera: dict[str, Any]) -> float | None:
        if not self._depth or not camera:
            return None
        return depth_units(self._path / 'camera.json', camera)

    def _make_notes(self, *, has_times: bool) -> list[str]:
        notes = []
        if not has_times:
            notes.append('no times.txt: frames are stamped 1/30 s apart')
        if not self._depth:
            notes.append('no depth: masks only, no clouds')
        elif self._depth_scale is None:
            notes.append('no camera.json: depth without scale and intrinsics is not used: masks '
                         'only, no clouds')
        return notes


def _images(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if path.suffix.lower() in suffixes),
                  key=lambda path: (path.stem.zfill(20), path.name))


def _units(path: Path) -> npt.NDArray[np.uint16]:
    return decode_units(read_bytes(path), str(path))


def _parsed_lines(path: Path, parse: Callable[[str], _Value]) -> list[_Value]:
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
            kind = '"tx ty tz qx qy qz qw"' if parse is _pose else 'decimal seconds'
            raise DiffsegError(f'{path}: line {number} is {line.strip()[:80]!r}; {kind} is '
                               'needed') from None
    return values


def _nanoseconds(line: str) -> int:
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
