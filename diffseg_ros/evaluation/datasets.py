"""Images with true masks, as folders on disk."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from io import BytesIO
from pathlib import Path

from diffseg_ros.errors import DiffsegError
from diffseg_ros.evaluation.measure import Observation
from diffseg_ros.io.images import decode_units, metres_from_units, read_bytes, read_image
from diffseg_ros.io.sequence_folder import camera_intrinsics, depth_scale, json_object
from diffseg_ros.types import Frame, LabelImage
import numpy as np
import numpy.typing as npt
from PIL import Image

Truth = npt.NDArray[np.uint8]

IGNORED_CLASS = 255
"""Value of label images that is not scored."""

_IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png')


class MaskDataset:
    """
    A folder with images/, labels/ and optionally dataset.json, classes.txt, depth/, camera.json.

    Iterating yields (name, Frame, truth), in the order of the names; truth is (H, W) uint8, 255
    = ignored. It can be iterated several times. `background` is the label of the background, or
    None.

    Raises
    ------
    DiffsegError
        A file is missing, has no counterpart or cannot be understood; while iterating, an image
        cannot be read, or its labels or depth are of another size.

    """

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise DiffsegError(f'{path}: no such folder; give a mask data set (images/, labels/)')
        self.name = path.resolve().name
        self._images = _files(path / 'images', _IMAGE_SUFFIXES)
        self._labels = _counterparts(path / 'labels', self._images)
        self._depth: dict[str, Path] = {}
        if (path / 'depth').is_dir():
            self._depth = _counterparts(path / 'depth', self._images)
            camera_path = path / 'camera.json'
            camera = json_object(camera_path)
            self._intrinsics = camera_intrinsics(camera_path, camera)
            self._depth_scale = depth_scale(camera_path, camera)
        self._has_classes, self.background = _read_rules(path / 'dataset.json')
        self._class_names = _read_lines(path / 'classes.txt')

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[tuple[str, Frame, Truth]]:
        return map(self._read, self._images)

    @cached_property
    def classes(self) -> tuple[str, ...] | None:
        """
        Names of all classes, absent ones included; None where the labels are regions.

        Without classes.txt they are numbers, up to the largest label in any image.
        """
        if not self._has_classes:
            return None
        if self._class_names:
            return tuple(self._class_names)
        highest = 0 if self.background is None else self.background
        for path in self._labels.values():
            labels = _decode_labels(path)
            highest = max(highest, int(labels.max(initial=0, where=labels != IGNORED_CLASS)))
        return tuple(str(number) for number in range(highest + 1))

    def observation(self, frame: Frame, truth: Truth, labels: LabelImage,
                    confidence: npt.NDArray[np.uint8] | None = None) -> Observation:
        """Return `labels` with what measures need to score them by this data set's rules."""
        return Observation(labels, frame, confidence, truth, IGNORED_CLASS, self.background,
                           self.classes)

    def _read(self, name: str) -> tuple[str, Frame, Truth]:
        path = self._images[name]
        rgb = read_image(path)
        truth = _decode_labels(self._labels[name])
        if truth.shape != rgb.shape[:2]:
            raise _size_error(self._labels[name], truth.shape, path, rgb.shape)
        known = truth[truth != IGNORED_CLASS]
        if self.classes is not None and (known >= len(self.classes)).any():
            raise DiffsegError(f'{self._labels[name]}: class {known.max()}, but classes.txt names '
                               f'{len(self.classes)}, numbered from 0; add its name or use 255 '
                               'for ignored')
        if not self._depth:
            return name, Frame(rgb), truth
        units = decode_units(read_bytes(self._depth[name]), str(self._depth[name]))
        if units.shape[0] * rgb.shape[1] != units.shape[1] * rgb.shape[0]:
            raise _size_error(self._depth[name], units.shape, path, rgb.shape)
        depth = metres_from_units(units, self._depth_scale)
        return name, Frame(rgb, depth=depth, intrinsics=self._intrinsics), truth


def _read_rules(path: Path) -> tuple[bool, int | None]:
    """Return from dataset.json whether labels are classes, and the background's label."""
    settings = json_object(path)
    kind, background = settings.get('labels', 'classes'), settings.get('background')
    if kind not in ('classes', 'regions'):
        raise DiffsegError(f'{path}: labels is {kind!r}; "classes" or "regions" is needed')
    if background is not None and (type(background) is not int
                                   or not 0 <= background < IGNORED_CLASS):
        raise DiffsegError(f'{path}: background is {background!r}; null or a label from 0 to '
                           f'{IGNORED_CLASS - 1} is needed')
    return kind == 'classes', background


def _files(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Return the images of a folder by name, sorted."""
    if not folder.is_dir():
        raise DiffsegError(f'{folder}: no such folder; a mask data set has images/NAME.jpg|png '
                           'and labels/NAME.png')
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes:
            if path.stem in files:
                raise DiffsegError(f'{path}: the same name as {files[path.stem].name}; names '
                                   'must differ')
            files[path.stem] = path
    if not files:
        raise DiffsegError(f'{folder}: no images; {", ".join(suffixes)} are supported')
    return files


def _counterparts(folder: Path, images: dict[str, Path]) -> dict[str, Path]:
    """Return the PNG of every image; refuse a folder whose names are not the images'."""
    files = _files(folder, ('.png',))
    for missing, where in ((images.keys() - files.keys(), folder),
                           (files.keys() - images.keys(), folder.parent / 'images')):
        if missing:
            raise DiffsegError(f'{where}: no file for {len(missing)} of '
                               f'{len(images.keys() | files.keys())} names, the first '
                               f'{min(missing)}; images/, labels/ and depth/ need the same names')
    return files


def _decode_labels(path: Path) -> Truth:
    data = read_bytes(path)
    try:
        with Image.open(BytesIO(data)) as image:
            mode, labels = image.mode, np.array(image)
    except Exception as error:  # Pillow's plugins raise many kinds for damaged data
        raise DiffsegError(f'{path}: no readable PNG ({len(data)} bytes)') from error
    if mode not in ('L', 'P'):
        raise DiffsegError(f'{path}: pixels of mode {mode}; an 8-bit PNG with one channel is '
                           'needed (class or region per pixel, 255 = ignored)')
    return labels


def _size_error(path: Path, shape: tuple[int, ...], image: Path,
                expected: tuple[int, ...]) -> DiffsegError:
    return DiffsegError(f'{path}: {shape[1]}x{shape[0]} pixels, but {image.name} has '
                        f'{expected[1]}x{expected[0]}; both must show the same view (labels at '
                        'the same size, depth in the same proportions)')


def _read_lines(path: Path) -> list[str]:
    """Return the lines that are not blank, none without a file."""
    if not path.exists():
        return []
    try:
        return [line.strip() for line in read_bytes(path).decode().splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise DiffsegError(f'{path}: not a text file; one class name per line is needed') from None
