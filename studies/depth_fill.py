"""
Holes of sensor depth, filled by a model's prediction and without one.

`python -m studies.depth_fill FOLDER... [--pictures FOLDER]`: sequence folders with depth. In every
third frame discs of 8 to 60 pixels' radius, drawn until they cover 20 % of the valid depth, are
hidden, filled, and compared with what was there. `--pictures` writes real holes before and after.

No pretrained weights are to be had where this was written. The model is a stand-in made from the
true depth: holes filled by nearest values and sensor noise taken off by a median of 5x5 pixels,
then blurred, bent by a smooth field (normal numbers on a 5x7 grid, cubic between them, times
`bend`), spoiled by noise of each pixel (`noise`, relative), and brought to arbitrary values by a
scale of 0.2 to 5 and a shift of -1 to 1 that change from frame to frame.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
import time
from typing import NamedTuple

import cv2
from diffseg_ros.depth.alignment import align, to_metres
from diffseg_ros.depth.base import DepthKind, KnownDepth
from diffseg_ros.depth.completion import complete
from diffseg_ros.io.images import write_image
from diffseg_ros.io.sequence_folder import SequenceFolder
from diffseg_ros.types import DepthImage, Frame, Mask, RgbImage
import numpy as np
import numpy.typing as npt
from scipy import ndimage

HIDDEN, RADII = 0.2, (8, 60)
STEP = 3
WITHIN = 0.05


class Strength(NamedTuple):
    """How far the stand-in is from the truth: relative, and pixels of blur."""

    bend: float
    noise: float
    blur: float


STRENGTHS = {'mild': Strength(0.05, 0.01, 1.0), 'strong': Strength(0.15, 0.03, 3.0)}

Fill = Callable[[RgbImage, DepthImage, DepthImage], DepthImage]
"""From colours, measured and predicted metres, to depth without holes."""


def hide(depth: DepthImage, random: np.random.Generator) -> Mask:
    """Return (H, W) what is hidden of the valid depth: HIDDEN of it, in discs."""
    valid = np.isfinite(depth)
    hidden = np.zeros(depth.shape, np.uint8)
    while np.count_nonzero(hidden[valid]) < HIDDEN * np.count_nonzero(valid):
        radius = np.exp(random.uniform(*np.log(RADII)))
        row, column = random.uniform((0, 0), depth.shape)
        cv2.circle(hidden, (int(column), int(row)), int(radius), 1, cv2.FILLED)
    return (hidden > 0) & valid


def stand_in(truth: DepthImage, strength: Strength,
             random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return (H, W) float32 values of a model, from true depth with holes."""
    nearest = ndimage.distance_transform_edt(np.isnan(truth), return_distances=False,
                                             return_indices=True)
    depth = cv2.medianBlur(truth[tuple(nearest)], 5)
    depth = cv2.GaussianBlur(depth, (0, 0), strength.blur)
    field = cv2.resize(random.standard_normal((5, 7)).astype(np.float32), depth.shape[::-1],
                       interpolation=cv2.INTER_CUBIC)
    depth *= np.exp(strength.bend * field
                    + strength.noise * random.standard_normal(depth.shape)).astype(np.float32)
    values: npt.NDArray[np.float32] = (depth * np.float32(np.exp(random.uniform(-1.6, 1.6)))
                                       + np.float32(random.uniform(-1, 1)))
    return values


def aligned(values: npt.NDArray[np.float32], measured: DepthImage) -> DepthImage:
    """Return metres: values by the scale and shift that the measured depth tells."""
    rows, columns = np.nonzero(np.isfinite(measured))
    alignment = align(values, DepthKind.AFFINE,
                      KnownDepth(rows, columns, measured[rows, columns]))
    assert alignment is not None
    return np.fmax(to_metres(values, DepthKind.AFFINE, alignment), np.float32(0.05))


def model_alone(rgb: RgbImage, measured: DepthImage, predicted: DepthImage) -> DepthImage:
    """Take the prediction as it is."""
    return np.where(np.isfinite(measured), measured, predicted)


def bent(rgb: RgbImage, measured: DepthImage, predicted: DepthImage) -> DepthImage:
    """Bend the prediction to the rim, as the package does."""
    return complete(measured, predicted)


def inpainted(rgb: RgbImage, measured: DepthImage, predicted: DepthImage) -> DepthImage:
    """Fill by OpenCV's inpainting, which sees neither colours nor the prediction."""
    # In millimetres, as depth cameras give them: of float metres it makes nonsense.
    units = np.rint(1000 * np.nan_to_num(measured)).astype(np.uint16)
    holes = np.isnan(measured).astype(np.uint8)
    return cv2.inpaint(units, holes, 5, cv2.INPAINT_TELEA).astype(np.float32) / 1000


def joint_bilateral(rgb: RgbImage, measured: DepthImage, predicted: DepthImage) -> DepthImage:
    """
    Fill by means of neighbours, weighted by distance and likeness of colour.

    Pass by pass from the rim inwards, as in Petschnigg et al., "Digital photography with flash and
    no-flash image pairs", SIGGRAPH 2004, with the colour image as the guide.
    """
    reach, spatial, colour = 10, 5.0, 12.0
    depth = np.pad(measured, reach, constant_values=np.nan)
    guide = np.pad(cv2.GaussianBlur(rgb, (0, 0), 1.0).astype(np.float32),
                   ((reach, reach), (reach, reach), (0, 0)))
    rows, columns = np.mgrid[-reach:reach + 1:2, -reach:reach + 1:2].reshape(2, -1)
    nearness = np.exp(-(rows ** 2 + columns ** 2) / (2 * spatial ** 2)).astype(np.float32)
    inside = np.zeros(depth.shape, bool)
    inside[reach:-reach, reach:-reach] = True
    while True:
        holes = np.isnan(depth) & inside
        # The rim: those that see several known ones.
        seen = cv2.boxFilter((~np.isnan(depth)).astype(np.float32), -1, (2 * reach + 1,) * 2)
        y, x = np.nonzero(holes & (seen > 0.2))
        if not len(y):
            y, x = np.nonzero(holes & (seen > 0))
        if not len(y):
            return depth[reach:-reach, reach:-reach]
        total, weight = np.zeros(len(y), np.float32), np.full(len(y), 1e-12, np.float32)
        for row, column, near in zip(rows, columns, nearness, strict=True):
            value = depth[y + row, x + column]
            apart = np.square(guide[y + row, x + column] - guide[y, x]).sum(axis=1)
            share = np.where(np.isnan(value), 0, near * np.exp(-apart / (2 * colour ** 2)) + 1e-9)
            total += share * np.nan_to_num(value)
            weight += share
        filled = weight > 1e-10
        depth[y[filled], x[filled]] = (total / weight)[filled]


FILLS: dict[str, Fill] = {'inpainting (OpenCV, Telea)': inpainted,
                          'joint bilateral (colour)': joint_bilateral,
                          'model alone': model_alone, 'model bent to the rim': bent}
NEED_MODEL = 'model alone', 'model bent to the rim'


class Errors(NamedTuple):
    """What a fill is off at hidden pixels: metres, relative, share, and its CPU milliseconds."""

    mean: float
    relative: float
    within: float
    milliseconds: float


def measure(fill: Fill, frame: Frame, measured: DepthImage, predicted: DepthImage,
            hidden: Mask) -> Errors:
    """Return what a fill does in one frame."""
    assert frame.depth is not None
    begin = time.process_time()
    found = fill(frame.rgb, measured, predicted)
    elapsed = time.process_time() - begin
    truth = frame.depth[hidden]
    error = np.abs(found[hidden] - truth)
    relative = error / truth
    return Errors(float(error.mean()), float(np.median(relative)),
                  float((relative < WITHIN).mean()), 1000 * elapsed)


def frames(folder: Path) -> Iterator[tuple[int, Frame]]:
    """Yield numbered frames with depth of a sequence folder."""
    for number, frame in enumerate(SequenceFolder(folder)):
        if number % STEP == 0 and frame.depth is not None and np.isfinite(frame.depth).any():
            yield number, frame


def study(folder: Path) -> dict[tuple[str, str], Errors]:
    """Return the mean errors by (strength, fill) over the frames of a sequence."""
    found: dict[tuple[str, str], list[Errors]] = defaultdict(list)
    for number, frame in frames(folder):
        assert frame.depth is not None
        hidden = hide(frame.depth, np.random.default_rng([number, 0]))
        measured = np.where(hidden, np.float32(np.nan), frame.depth)
        for index, (name, strength) in enumerate(STRENGTHS.items(), start=1):
            values = stand_in(frame.depth, strength, np.random.default_rng([number, index]))
            predicted = aligned(values, measured)
            for fill in (FILLS if index == 1 else NEED_MODEL):
                key = name if fill in NEED_MODEL else '', fill
                found[key].append(measure(FILLS[fill], frame, measured, predicted, hidden))
    return {key: Errors(*np.mean(errors, axis=0)) for key, errors in found.items()}


def picture(frame: Frame, number: int) -> RgbImage:
    """Return colours, measured depth and filled depth of a frame, side by side."""
    assert frame.depth is not None
    values = stand_in(frame.depth, STRENGTHS['strong'], np.random.default_rng([number, 2]))
    filled = complete(frame.depth, aligned(values, frame.depth))
    low, high = np.nanpercentile(frame.depth, (1, 99))
    pictures = []
    for depth in (frame.depth, filled):
        scaled = np.clip((depth - low) / (high - low), 0, 1)
        colours = cv2.applyColorMap((255 * np.nan_to_num(scaled)).astype(np.uint8),
                                    cv2.COLORMAP_TURBO)[..., ::-1]
        pictures.append(np.where(np.isnan(depth)[..., None], np.uint8(0), colours))
    return np.concatenate([frame.rgb, *pictures], axis=1)


def main() -> None:
    """Print a table for each folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folders', nargs='+', type=Path)
    parser.add_argument('--pictures', type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    for folder in options.folders:
        print(f'\n{folder.name}\n\n| fill | stand-in | mean error (mm) | median relative error | '
              'within 5 % | ms of one core |\n| --- | --- | --- | --- | --- | --- |')
        for (strength, fill), errors in study(folder).items():
            print(f'| {fill} | {strength} | {1000 * errors.mean:.0f} | {errors.relative:.2%} | '
                  f'{errors.within:.1%} | {errors.milliseconds:.1f} |', flush=True)
        if options.pictures:
            options.pictures.mkdir(parents=True, exist_ok=True)
            for number, frame in frames(folder):
                write_image(options.pictures / f'{folder.name}_{number:03d}.jpg',
                            picture(frame, number))


if __name__ == '__main__':
    main()
