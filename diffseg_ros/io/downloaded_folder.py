"""Folders of RGB-D images as others offer them: TUM RGB-D, ScanNet, images paired by name."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from pathlib import Path
import re

from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.transforms import TransformTree
from diffseg_ros.io.base import CAMERA_FRAME, DEFAULT_PERIOD_NS
from diffseg_ros.io.images import read_bytes, read_image, sorted_images
from diffseg_ros.io.sequence_folder import (
    camera_intrinsics,
    depth_scale,
    ImageSequence,
    json_object,
    nanoseconds,
    of_view,
)
from diffseg_ros.types import Frame, Intrinsics, Matrix
import numpy as np

_TOLERANCE_NS = 20_000_000
_LONGEST_GAP_NS = 100_000_000
_TUM_UNITS, _SCANNET_UNITS = 5000.0, 1000.0
_OWN_PARTS = ('times.txt', 'poses.txt', 'instances')


@dataclass
class _Content:
    """What a folder holds, an entry for each image; `units` of depth are a metre."""

    images: list[Path]
    depth: list[Path | None]
    units: float | None = None
    times: list[int] = field(default_factory=list)
    poses: list[Matrix | None] = field(default_factory=list)
    intrinsics: Intrinsics | None = None


class DownloadedFolder(ImageSequence):
    """A folder of images with depth for some of them; camera.json says what its files do not."""

    def __init__(self, path: Path, content: _Content) -> None:
        super().__init__(path.resolve().name, content.images)
        if not content.images:
            raise DiffsegError(f'{path}: no images')
        self._content = content
        camera = path / 'camera.json'
        values = json_object(camera)
        if values or content.intrinsics is None:
            self.camera_file = str(camera)
        if values:
            content.intrinsics = camera_intrinsics(camera, values)
            if 'depth_scale' in values or content.units is None:
                content.units = depth_scale(camera, values)
        if not content.times:
            content.times = [number * DEFAULT_PERIOD_NS for number in range(self.frame_count)]
            self._warnings.append('no times: frames are stamped 1/30 s apart')
        content.poses = content.poses or [None] * self.frame_count
        paired = sum(depth is not None for depth in content.depth)
        if content.intrinsics is None or content.units is None:
            units = f'{content.units or 1000:.0f}'
            self._warnings.append(
                'no camera.json: depth without intrinsics is not used: masks only, no clouds; '
                'add it with {"width": W, "height": H, "fx": FX, "fy": FY, "cx": CX, "cy": CY, '
                f'"depth_scale": {units}}}')
            content.depth = [None] * self.frame_count
        elif paired < self.frame_count:
            self._warnings.append(f'{self.frame_count - paired} of {self.frame_count} images '
                                  'have no depth: clouds only with depth.model')

    @property
    def seconds(self) -> float:
        return (self._content.times[-1] - self._content.times[0]) / 1e9

    def _frame(self, number: int) -> Frame:
        content, depth = self._content, self._content.depth[number]
        rgb = read_image(content.images[number])
        return Frame(rgb, content.times[number], CAMERA_FRAME,
                     None if depth is None else self._read_depth(depth, content.units or 1.0, rgb),
                     of_view(rgb, content.intrinsics, self.camera_file or self.name),
                     content.poses[number])


def open_downloaded(path: Path) -> DownloadedFolder | None:
    """Open a folder of a kind that others offer, None if it is none; or raise DiffsegError."""
    if (path / 'rgb.txt').is_file():
        return DownloadedFolder(path, _tum(path))
    if (path / 'color').is_dir():
        return DownloadedFolder(path, _scannet(path))
    images, depth = sorted_images(path / 'rgb'), sorted_images(path / 'depth', ('.png',))
    if ([file.stem for file in images] == [file.stem for file in depth] or not depth
            or any((path / part).exists() for part in _OWN_PARTS)):
        return None
    partners = {_number(file): file for file in depth}
    if len(partners) < len(depth) or not any(_number(file) in partners for file in images):
        return None
    return DownloadedFolder(path, _Content(images, [partners.get(_number(file))
                                                    for file in images]))


def _tum(path: Path) -> _Content:
    """Return what rgb.txt, depth.txt and groundtruth.txt list, paired by their stamps."""
    rgb = _stamped_lines(path / 'rgb.txt')
    depth = (_stamped_lines(path / 'depth.txt') if (path / 'depth.txt').exists()
             else _named_by_stamps(path / 'depth'))
    times = [stamp for stamp, _ in rgb]
    stamps = [stamp for stamp, _ in depth]
    # The closest first; a depth image belongs to one image, as in the data set's own tools.
    pairs = sorted((abs(stamps[other] - time), number, other) for number, time in enumerate(times)
                   for other in range(*_around(stamps, time)))
    partners: list[Path | None] = [None] * len(times)
    used = set()
    for distance, number, other in pairs:
        if distance <= _TOLERANCE_NS and partners[number] is None and other not in used:
            partners[number] = path / depth[other][1][0]
            used.add(other)
    truth = _stamped_lines(path / 'groundtruth.txt')
    lines = [stamp for stamp, _ in truth]
    return _Content([path / words[0] for _, words in rgb], partners, _TUM_UNITS, times,
                    [_pose_at(truth[slice(*_around(lines, time))], time) for time in times])


def _around(stamps: list[int], stamp: int) -> tuple[int, int]:
    """Return the range of the stamps just before and just after another."""
    place = bisect_left(stamps, stamp)
    return max(0, place - 1), min(len(stamps), place + 1)


def _pose_at(lines: list[tuple[int, list[str]]], stamp: int) -> Matrix | None:
    """Return the pose between two lines, None without them or where they are far apart."""
    if not lines or lines[-1][0] - lines[0][0] > _LONGEST_GAP_NS:
        return None
    tree = TransformTree()
    for time, words in lines:
        values = [float(word) for word in words]
        tree.add('world', CAMERA_FRAME, time, values[:3], values[3:7])
    return tree.pose(CAMERA_FRAME, stamp)


def _stamped_lines(path: Path) -> list[tuple[int, list[str]]]:
    """Return (stamp in ns, the other words) of each line, sorted; [] without a file."""
    if not path.exists():
        return []
    found = []
    for number, line in enumerate(read_bytes(path).decode(errors='replace').splitlines(), 1):
        stamp, *words = line.split() or ['#']
        if stamp.startswith('#'):
            continue
        try:
            values = words[:1] if len(words) < 7 else [str(float(word)) for word in words[:7]]
            found.append((nanoseconds(stamp), values))
            values[0]
        except (ArithmeticError, ValueError, IndexError):
            raise DiffsegError(f'{path}: line {number} is {line.strip()[:80]!r}; "seconds file" '
                               'or "seconds tx ty tz qx qy qz qw" is needed') from None
    return sorted(found)


def _named_by_stamps(folder: Path) -> list[tuple[int, list[str]]]:
    """Return what depth.txt would list, by the names of the images."""
    return sorted((nanoseconds(file.stem), [f'{folder.name}/{file.name}'])
                  for file in sorted_images(folder, ('.png',))
                  if re.fullmatch(r'\d{1,10}(\.\d+)?', file.stem))


def _scannet(path: Path) -> _Content:
    """Return the images of color/, with depth/, pose/ and intrinsic/ by their numbers."""
    images = sorted_images(path / 'color')
    depth = {_number(file): file for file in sorted_images(path / 'depth', ('.png',))}
    poses = {_number(file): file for file in (path / 'pose').glob('*.txt')}
    content = _Content(images, [depth.get(_number(file)) for file in images], _SCANNET_UNITS)
    if poses:
        content.poses = [_finite(_matrix(poses[_number(file)])) if _number(file) in poses else None
                         for file in images]
    camera = path / 'intrinsic' / 'intrinsic_color.txt'
    if camera.exists() and images:
        matrix = _matrix(camera)
        height, width = read_image(images[0]).shape[:2]
        content.intrinsics = Intrinsics(width, height, float(matrix[0, 0]), float(matrix[1, 1]),
                                        float(matrix[0, 2]), float(matrix[1, 2]))
    return content


def _finite(pose: Matrix) -> Matrix | None:
    return pose if np.isfinite(pose).all() else None


def _matrix(path: Path) -> Matrix:
    """Return the (4, 4) matrix in a text file, or raise DiffsegError."""
    try:
        return np.array(read_bytes(path).split(), np.float64).reshape(4, 4)
    except ValueError:
        raise DiffsegError(f'{path}: no matrix; 4 lines of 4 numbers are needed') from None


def _number(path: Path) -> str:
    """Return what images of one frame have in common: the last number in the name, or all."""
    numbers = re.findall(r'\d+(?:\.\d+)?', path.stem)
    return (numbers[-1].lstrip('0') or '0') if numbers else path.stem
