"""
How well the scale of relative depth is found, from each of its sources.

`python -m studies.depth_scale SOURCE... [--only TABLE]`: a source is the seed of a generated room,
of which 40 frames are rendered, or a sequence folder with depth. No pretrained model is at hand,
so a stand-in predicts: the true depth of every frame, or its inverse, spoiled by a scale and a
shift of its own and by errors of 3 % at every pixel ("noise") or of 5 % that vary slowly over the
image ("waves"), as those of real models do. Printed are tables in Markdown. Errors of scale are
|found / true - 1|; milliseconds are those of the processor, of all threads together.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any, NamedTuple, TypeVar

import cv2
from diffseg_ros.depth.alignment import align, Alignment, to_metres
from diffseg_ros.depth.base import DepthKind, KnownDepth
from diffseg_ros.depth.ground import align_to_ground, known_from_ground
from diffseg_ros.depth.ranges import known_from_ranges
from diffseg_ros.depth.scale_filter import ScaleFilter
from diffseg_ros.depth.triangulation import Triangulator
from diffseg_ros.geometry.camera import unproject, unproject_pixels
from diffseg_ros.io.sequence_folder import SequenceFolder
from diffseg_ros.synthetic.sequence_writer import render_sequence
from diffseg_ros.types import DepthImage, Frame, Intrinsics
import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

ROOM_FRAMES, EVERY = 40, 4
NOISE, WAVES, WAVE_LENGTH = 0.03, 0.05, 60
NEAREST, FARTHEST = 0.3, 8.0
OUTLIERS, SOME_OUTLIERS = (0.1, 0.2, 0.3, 0.4), 0.2
PATCH_FACTOR = 1.5
RANGES = 50, 100, 200, 500
WRONG, ON_GROUND = 0.1, 0.05
GAIN = 0.3
TURN_NOISE, SHIFT_NOISE = 0.1, 0.002
"""Standard deviations of poses that are shaken: degrees and metres."""
KINDS = DepthKind.AFFINE, DepthKind.INVERSE
FLOORS = {'redkitchen': (0.010, -0.896, -0.444, 1.519)}
"""Unit vector up in the world and height of the camera at 0; by RANSAC on its depth."""
COLOUR_FOCAL = {'redkitchen': 525.0}
"""Its camera.json is that of the depth camera; this is what a Kinect's colour camera has."""
Z_UP = 0.0, 0.0, 1.0, 0.0

_Found = TypeVar('_Found')


class Prediction(NamedTuple):
    """What a stand-in predicts for a frame, and the scale and shift that undo it."""

    values: npt.NDArray[np.float32]
    kind: DepthKind
    scale: float
    shift: float


class Recording(NamedTuple):
    """A recording with depth, by its name."""

    name: str
    frames: list[Frame]


def predicted(depth: DepthImage, kind: DepthKind, rng: np.random.Generator,
              waves: bool = False) -> Prediction:
    """Return (H, W) metres as a relative model would see them."""
    error = rng.standard_normal(depth.shape).astype(np.float32)
    if waves:
        error = cv2.GaussianBlur(error, (0, 0), WAVE_LENGTH)
        error /= error.std()
    spoiled = depth * (1 + (WAVES if waves else NOISE) * error)
    scale, shift = rng.uniform(0.2, 5), rng.uniform(-1, 1)
    target = spoiled if kind is DepthKind.AFFINE else 1 / spoiled
    return Prediction(((target - shift) / scale).astype(np.float32), kind, scale, shift)


def all_known(depth: DepthImage) -> KnownDepth:
    """Return what a depth camera knows: every valid pixel."""
    rows, columns = np.nonzero(np.isfinite(depth))
    return KnownDepth(rows, columns, depth[rows, columns])


def with_outliers(known: KnownDepth, share: float, rng: np.random.Generator) -> KnownDepth:
    """Return known depth of which a share has any depth instead of its own."""
    metres, wrong = known.metres.copy(), rng.random(len(known.metres)) < share
    metres[wrong] = rng.uniform(NEAREST, FARTHEST, np.count_nonzero(wrong))
    return known._replace(metres=metres)


def with_patch(known: KnownDepth, share: float, rng: np.random.Generator) -> KnownDepth:
    """Return known depth of which one band of the image is too far by one and the same factor."""
    metres, count = known.metres.copy(), int(share * len(known.metres))
    first = rng.integers(0, len(metres) - count + 1)
    metres[first:first + count] *= PATCH_FACTOR
    return known._replace(metres=metres)


class Scores:
    """Gathers what came out, for a row of a table."""

    def __init__(self) -> None:
        self.scale: list[float] = []
        self.metres: list[float] = []
        self.milliseconds: list[float] = []
        self.count = 0

    def add(self, truth: Prediction, depth: DepthImage, found: Alignment | None,
            milliseconds: float = 0.0) -> None:
        """Add a frame; one without an alignment is counted only."""
        self.count += 1
        self.milliseconds.append(milliseconds)
        if found is not None:
            self.scale.append(abs(found.scale / truth.scale - 1))
            metres = to_metres(truth.values, truth.kind, found)
            exact = to_metres(truth.values, truth.kind,
                              Alignment(truth.scale, truth.shift, 0.0, 1.0))
            self.metres.append(float(np.nanmedian(np.abs(metres / exact - 1))))

    def cells(self) -> list[str]:
        """Return what RESULT names."""
        if not self.scale:
            return [f'0 of {self.count}', '-', '-', '-', f'{np.median(self.milliseconds):.1f}']
        return [f'{len(self.scale)} of {self.count}', f'{np.median(self.scale):.2%}',
                f'{max(self.scale):.2%}', f'{np.median(self.metres):.2%}',
                f'{np.median(self.milliseconds):.1f}']


RESULT = ['frames with a scale', 'error of scale, median', 'largest', 'error of metres, median',
          'ms']


def timed(call: Callable[..., _Found], *arguments: Any) -> tuple[_Found, float]:
    """Return what a call gives, and its milliseconds."""
    start = process_time()
    found = call(*arguments)
    return found, 1e3 * (process_time() - start)


def align_ranges(truth: Prediction, points: npt.NDArray[np.float32],
                 camera: Intrinsics) -> Alignment | None:
    """Return the scale that ranges give a prediction."""
    return align(truth.values, truth.kind, known_from_ranges(points, camera, size(truth.values)))


def size(image: npt.NDArray[np.float32]) -> tuple[int, int]:
    """Return height and width."""
    height, width = image.shape
    return height, width


def row(*cells: str) -> None:
    """Print a row of a table."""
    print('| ' + ' | '.join(cells) + ' |', flush=True)


def header(title: str, *cells: str) -> None:
    """Print a title and the head of a table."""
    print(f'\n{title}\n')
    row(*cells)
    row(*['---'] * len(cells))


def dense(recordings: list[Recording]) -> None:
    """Print how known depth with outliers gives the scale."""
    header('Depth of a camera, of which a share is wrong', 'source', 'kind', 'errors of the model',
           'wrong', *RESULT)
    spoil = {'anything': with_outliers, 'one band x 1.5': with_patch}
    for name, frames in recordings:
        for kind in KINDS:
            for waves, form, share in (
                    *((False, 'anything', share) for share in (0.0, *OUTLIERS)),
                    *((False, 'one band x 1.5', share) for share in OUTLIERS),
                    (True, 'anything', SOME_OUTLIERS)):
                scores, rng = Scores(), np.random.default_rng(0)
                for frame in frames[::EVERY]:
                    assert frame.depth is not None
                    truth = predicted(frame.depth, kind, rng, waves)
                    known = spoil[form](all_known(frame.depth), share, rng)
                    scores.add(truth, frame.depth, *timed(
                        align, truth.values, kind, known))
                row(name, kind.value, 'waves' if waves else 'noise', f'{share:.0%} {form}',
                    *scores.cells())


def sparse_points(frame: Frame, count: int, rng: np.random.Generator
                  ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return (count, 3) points of a frame, of which 20 % are at another depth, and which ones."""
    assert frame.depth is not None and frame.intrinsics is not None
    rows, columns = np.nonzero(np.isfinite(frame.depth))
    chosen = rng.choice(len(rows), count, replace=False)
    camera = frame.intrinsics.resized(*frame.depth.shape[::-1])
    points = unproject_pixels(frame.depth, camera, rows[chosen], columns[chosen])
    points = points[np.isfinite(points).all(axis=1)]
    wrong = rng.random(len(points)) < SOME_OUTLIERS
    factor = rng.uniform(NEAREST, FARTHEST, len(points)) / points[:, 2]
    return np.where(wrong[:, None], points * factor[:, None], points).astype(np.float32), wrong


def least_squares(truth: Prediction, known: KnownDepth) -> Alignment:
    """Return the scale by least squares of relative errors: the best where no point is wrong."""
    metres = known.metres.astype(np.float64)
    target = metres if truth.kind is DepthKind.AFFINE else 1 / metres
    slope, offset = np.polynomial.polynomial.polyfit(
        1 / target, truth.values[known.rows, known.columns] / target, 1)
    return Alignment(1 / slope, -offset / slope, 0.0, 1.0, len(metres))


def sparse(recordings: list[Recording]) -> None:
    """Print how a few ranges give the scale."""
    header(f'Ranges of another sensor, {SOME_OUTLIERS:.0%} of them wrong', 'source', 'kind',
           'points', *RESULT, 'error of scale by least squares on the right points, median')
    for name, frames in recordings:
        for kind in KINDS:
            for count in RANGES:
                scores, bound, rng = Scores(), Scores(), np.random.default_rng(1)
                for frame in frames[::EVERY]:
                    assert frame.depth is not None and frame.intrinsics is not None
                    truth = predicted(frame.depth, kind, rng)
                    points, wrong = sparse_points(frame, count, rng)
                    scores.add(truth, frame.depth, *timed(
                        align_ranges, truth, points, frame.intrinsics))
                    bound.add(truth, frame.depth, least_squares(truth, known_from_ranges(
                        points[~wrong], frame.intrinsics, size(truth.values))))
                row(name, kind.value, str(count), *scores.cells(), bound.cells()[1])


def ground(recordings: list[Recording]) -> None:
    """Print how the ground gives the scale, and where it is refused."""
    header('The ground, with the height of the camera and up from the true poses', 'source',
           'kind', 'pixels in question that show the ground', 'off by over 10 %', *RESULT)
    for name, frames in recordings:
        if frames[0].pose is None:
            row(name, *['-'] * 3, 'no poses: up is unknown', *['-'] * 4)
            continue
        *normal, above = FLOORS.get(name, Z_UP)
        for kind in KINDS:
            scores, rng, shares = Scores(), np.random.default_rng(2), []
            for frame in frames[::EVERY]:
                assert frame.depth is not None and frame.pose is not None
                assert frame.intrinsics is not None
                up, camera = frame.pose[:3, :3].T @ normal, frame.intrinsics
                height = float(frame.pose[:3, 3] @ normal + above)
                known = known_from_ground(camera, size(frame.depth), height, up)
                seen = frame.depth[known.rows, known.columns] / known.metres
                shares.append(np.mean(np.abs(seen - 1) < ON_GROUND) if len(seen) else 0.0)
                truth = predicted(frame.depth, kind, rng)
                scores.add(truth, frame.depth, *timed(
                    align_to_ground, truth.values, kind, camera, height, up))
            row(name, kind.value, f'{min(shares):.0%} to {max(shares):.0%}',
                str(sum(error > WRONG for error in scores.scale)), *scores.cells())


def triangulated(frames: list[Frame],
                 shaken: bool) -> Iterator[tuple[Frame, KnownDepth | None, float]]:
    """Yield frames with a pose, what motion tells of their depth, and the milliseconds."""
    triangulator, rng = Triangulator(), np.random.default_rng(5)
    for frame in frames:
        assert frame.intrinsics is not None
        if frame.pose is None:
            continue
        pose = frame.pose.copy()
        if shaken:
            turn = Rotation.from_rotvec(np.deg2rad(TURN_NOISE) * rng.standard_normal(3))
            pose[:3, :3] = turn.as_matrix() @ pose[:3, :3]
            pose[:3, 3] += SHIFT_NOISE * rng.standard_normal(3)
        yield frame, *timed(triangulator.update, frame.rgb, pose, frame.intrinsics)


def motion(recordings: list[Recording]) -> None:
    """Print how motion gives known points, and these the scale."""
    header(f'Motion, every frame; "shaken" are poses off by {TURN_NOISE:g} degrees and '
           f'{1000 * SHIFT_NOISE:g} mm in each axis', 'source', 'poses', 'frames with points',
           'points', 'error of points, median', '90 % below', 'ms', 'kind', *RESULT[:4])
    for name, frames in recordings:
        if frames[0].pose is None:
            row(name, 'none', *['-'] * 10)
            continue
        cases = [('as recorded', frames, False), ('shaken', frames, True)]
        if name in COLOUR_FOCAL:
            cases.append((f'as recorded, focal length {COLOUR_FOCAL[name]:g}',
                          [as_colour_camera(frame, COLOUR_FOCAL[name]) for frame in frames],
                          False))
        for poses, changed, shaken in cases:
            found = list(triangulated(changed, shaken))
            cells = [name, poses, *point_cells(found)]
            for kind in KINDS:
                scores, rng = Scores(), np.random.default_rng(3)
                for frame, known, _ in found:
                    assert frame.depth is not None
                    truth = predicted(frame.depth, kind, rng)
                    if known is not None:
                        scores.add(truth, frame.depth, align(truth.values, kind, known))
                if scores.count:
                    row(*cells, kind.value, *scores.cells()[:4])
            if not any(known for _, known, _ in found):
                row(*cells, *['-'] * 5)


def as_colour_camera(frame: Frame, focal: float) -> Frame:
    """Return a frame whose camera has another focal length, with its depth where that sees it."""
    assert frame.intrinsics is not None and frame.depth is not None
    camera = frame.intrinsics
    rows, columns = np.indices(frame.depth.shape, dtype=np.float32)
    depth = cv2.remap(frame.depth, (columns - camera.cx) * (camera.fx / focal) + camera.cx,
                      (rows - camera.cy) * (camera.fy / focal) + camera.cy, cv2.INTER_NEAREST,
                      borderMode=cv2.BORDER_CONSTANT, borderValue=np.nan)
    return replace(frame, depth=depth, intrinsics=replace(camera, fx=focal, fy=focal))


def point_cells(found: list[tuple[Frame, KnownDepth | None, float]]) -> list[str]:
    """Return how many points motion gave, how wrong they are, and the milliseconds."""
    errors = []
    for frame, known, _ in found:
        assert frame.depth is not None
        if known is not None:
            error = np.abs(known.metres / frame.depth[known.rows, known.columns] - 1)
            errors.append(error[np.isfinite(error)])
    milliseconds = f'{np.median([ms for *_, ms in found]):.0f}'
    if not errors:
        return [f'0 of {len(found)}', '-', '-', '-', milliseconds]
    every = np.concatenate(errors)
    return [f'{len(errors)} of {len(found)}', f'{np.median([len(part) for part in errors]):.0f}',
            f'{np.median(every):.2%}', f'{np.quantile(every, 0.9):.1%}', milliseconds]


def carried(metres: DepthImage, before: Frame, now: Frame) -> KnownDepth:
    """Return where the depth of the frame before is seen now, by the true poses."""
    assert before.pose is not None and now.pose is not None and now.intrinsics is not None
    camera: Intrinsics = now.intrinsics.resized(*metres.shape[::-1])
    planes = unproject(metres, camera, np.linalg.inv(now.pose) @ before.pose)
    points = np.stack([plane[::4, ::4].ravel() for plane in planes], axis=1)
    return known_from_ranges(points, camera, size(metres))


def smoothed(recordings: list[Recording]) -> None:
    """Print what smoothing does to the scale, ours and by parameters or by quantiles of depth."""
    header('Smoothing over all frames, with waves and 50 ranges, 20 % of them wrong, in each: by '
           'how much depth is off as a whole (median of the image)',
           'source', 'kind', 'each frame alone, median', 'largest', 'ScaleFilter', 'largest',
           'mean parameters', 'largest', 'mean quantiles of depth', 'largest', 'ms')
    for name, frames in recordings:
        if frames[0].pose is None:
            row(name, '-', 'no poses', *['-'] * 8)
            continue
        for kind in KINDS:
            results, milliseconds = smoothed_errors(frames, kind)
            row(name, kind.value, *(cell for errors in results.values() for cell in (
                f'{np.median(errors):.2%}', f'{max(errors):.1%}')),
                f'{np.median(milliseconds):.1f}')


def smoothed_errors(frames: list[Frame],
                    kind: DepthKind) -> tuple[dict[str, list[float]], list[float]]:
    """Return the errors of every frame's metres by each way of smoothing, and milliseconds."""
    results: dict[str, list[float]] = {way: [] for way in (
        'alone', 'filter', 'parameters', 'quantiles')}
    rng, scale_filter, milliseconds = np.random.default_rng(4), ScaleFilter(), []
    last: tuple[DepthImage, Frame] | None = None
    mean: npt.NDArray[np.float64] | None = None
    depths: npt.NDArray[np.float64] | None = None
    for frame in frames:
        assert frame.depth is not None and frame.intrinsics is not None
        truth = predicted(frame.depth, kind, rng, waves=True)
        measured = align_ranges(truth, sparse_points(frame, 50, rng)[0], frame.intrinsics)
        again = carried(*last, frame) if last else None
        found, spent = timed(scale_filter.update, truth.values, kind, measured, again, frame.stamp)
        milliseconds.append(spent)
        if found is None or measured is None:
            continue
        last = to_metres(truth.values, kind, found), frame
        own = np.array(measured[:2])
        mean = own if mean is None else mean + GAIN * (own - mean)
        values = np.nanquantile(truth.values, (0.25, 0.75))
        here = values * own[0] + own[1]
        depths = here if depths is None else depths + GAIN * (here - depths)
        scale = (depths[1] - depths[0]) / (values[1] - values[0])
        ways = {'alone': own, 'filter': np.array(found[:2]), 'parameters': mean,
                'quantiles': np.array([scale, depths[0] - scale * values[0]])}
        for way, (scale, shift) in ways.items():
            metres = to_metres(truth.values, kind, Alignment(scale, shift, 0.0, 1.0))
            share = np.nan_to_num(metres / frame.depth, nan=0.0)[np.isfinite(frame.depth)]
            results[way].append(abs(float(np.median(share)) - 1))
    return results, milliseconds


TABLES = {'dense': dense, 'sparse': sparse, 'ground': ground, 'motion': motion,
          'smoothed': smoothed}


def recording(source: str, rooms: Path) -> Recording:
    """Return the frames of a folder, or of a room that is rendered to a folder in `rooms`."""
    folder = Path(source)
    if source.isdigit():
        folder = rooms / f'room_{source}'
        list(render_sequence(folder, ROOM_FRAMES, int(source)))
    frames = SequenceFolder(folder)
    return Recording(frames.name, list(frames))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n\n')[0])
    parser.add_argument('sources', nargs='+')
    parser.add_argument('--only', choices=sorted(TABLES))
    arguments = parser.parse_args()
    with TemporaryDirectory() as rooms:
        recordings = [recording(source, Path(rooms)) for source in arguments.sources]
    for name, table in TABLES.items():
        if arguments.only in (None, name):
            table(recordings)


if __name__ == '__main__':
    main()
