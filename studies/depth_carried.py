"""
How far predicted depth is off between keyframes, where it is carried along with the labels.

`python -m studies.depth_carried SOURCE...`: a source is a sequence folder with depth, or the seed
of a generated room. Its frames lose their depth; a stand-in for a model predicts the sensor's
depth, spoilt by an error of 2 % that varies over the image, in every ninth frame. Against the
sensor's depth are compared: what is carried, with and without the poses, and the keyframe's depth
as it was (held). Errors are means of |predicted - measured| / measured, of pixels whose source is
known, of all others, and of all where depth is held; how far the stand-in itself is off shows
after 0 frames. The last line gives processor time of carrying alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
import sys
from time import thread_time
from typing import NamedTuple

import cv2
from diffseg_ros.config import PipelineConfig
from diffseg_ros.depth.base import DepthKind
from diffseg_ros.depth.carrier import Carrier, View
from diffseg_ros.geometry.pixel_source import Source
from diffseg_ros.io.source import open_source
from diffseg_ros.pipeline import Pipeline
from diffseg_ros.settings import updated
from diffseg_ros.types import DepthImage, Frame, Intrinsics, RgbImage
import numpy as np
import numpy.typing as npt

AFTER = 0, 1, 4, 8
"""Frames since the keyframe at which errors are measured."""
INTERVAL = max(AFTER) + 1
FRAMES = 9 * INTERVAL
SPOILT = 0.02
"""Standard deviation of the stand-in's relative error."""


class StandIn:
    """A model that is told the depth, and predicts it with an error that varies smoothly."""

    name, kind = 'sensor, spoilt by 2 %', DepthKind.METRIC

    def __init__(self) -> None:
        self.truth: DepthImage | None = None

    def predict(self, rgb: RgbImage) -> npt.NDArray[np.float32]:
        """Return (H, W) metres; holes of the sensor get the nearest depth."""
        assert self.truth is not None
        rng = np.random.default_rng(int(rgb[::16, ::16].sum()))
        coarse = rng.normal(0, SPOILT, (6, 8)).astype(np.float32)
        error = cv2.resize(coarse, rgb.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        return _without_holes(self.truth) * (1 + error)


def _without_holes(depth: DepthImage) -> DepthImage:
    valid = depth > 0
    nearest = cv2.distanceTransformWithLabels((~valid).view(np.uint8), cv2.DIST_L2, 3,
                                              labelType=cv2.DIST_LABEL_PIXEL)[1]
    return depth[valid][nearest - 1]


class Measured(NamedTuple):
    """Of one frame: errors with and without a source and if held, share carried, milliseconds."""

    carried: float
    without_source: float
    held: float
    share: float
    depth_ms: float
    tracking_ms: float


def frames_of(source: str) -> Iterator[Frame]:
    """Yield frames with depth of a folder or of a generated room."""
    if not source.isdigit():
        yield from open_source(Path(source))
        return
    from studies.moving_things import room
    for frame, _, _ in room(int(source), walks=True):
        yield frame


def measure(frames: Iterable[Frame], pipeline: Pipeline, model: StandIn, *,
            poses: bool) -> dict[int, list[Measured]]:
    """Return what was measured by the number of frames since the keyframe."""
    found: dict[int, list[Measured]] = defaultdict(list)
    after = 0
    held: DepthImage = np.zeros((1, 1), np.float32)
    for frame in frames:
        assert frame.depth is not None
        model.truth = frame.depth
        bare = replace(frame, depth=None)
        if not poses:
            bare = replace(bare, pose=None, odom_pose=None)
        result = pipeline.process(bare)
        after = 0 if result.keyframe else after + 1
        depth, confidence = result.frame.depth, result.frame.depth_confidence
        assert depth is not None and confidence is not None
        held = depth if result.keyframe else held
        if after in AFTER:
            sure = confidence > 0.75 * confidence.max()
            found[after].append(Measured(
                _error(depth, frame.depth, sure), _error(depth, frame.depth, ~sure),
                _error(held, frame.depth, sure | True), float(sure.mean()),
                result.latency_ms.get('depth', 0.0), result.latency_ms['tracking']))
    return found


def _error(depth: DepthImage, truth: DepthImage, where: npt.NDArray[np.bool_]) -> float:
    valid = (truth > 0) & where
    if not valid.any():
        return np.nan
    with np.errstate(invalid='ignore'):
        errors = np.abs(depth[valid] - truth[valid]) / truth[valid]
    return float(np.nan_to_num(errors, nan=1.0).mean())


def milliseconds(repeats: int = 30) -> list[float]:
    """Return processor time, at 640x480, of filling a step, composing and moving the points."""
    rng = np.random.default_rng(0)
    shape, camera = (480, 640), Intrinsics(640, 480, 525.0, 525.0, 319.5, 239.5)
    index = np.roll(np.arange(480 * 640).reshape(shape), 3, axis=1)
    known = cv2.resize(rng.random((24, 32), np.float32), shape[::-1]) > 0.25
    metres = rng.uniform(1, 4, shape).astype(np.float32)
    frame = Frame(np.zeros((*shape, 3), np.uint8), intrinsics=camera, pose=np.eye(4))
    carrier, laps = Carrier(), list[list[float]]()
    for _ in range(repeats):
        marks = [thread_time()]
        step = Source(index, known).filled()
        marks.append(thread_time())
        carrier.follow(step)
        marks.append(thread_time())
        carrier.carry(metres, View.of(frame), frame)
        marks.append(thread_time())
        laps.append(np.diff(marks).tolist())
    return (1e3 * np.median(laps, axis=0)).tolist()


def main() -> None:
    """Print a line of a Markdown table for each source, with and without poses."""
    config = updated(PipelineConfig(), {
        'depth.model': 'stand-in', 'tracking.keyframe_interval': INTERVAL,
        'tracking.keyframe_change': 1.0})
    backbone = Pipeline().backbone
    print('| source | poses | ' + ' | '.join(f'% after {after}' for after in AFTER)
          + ' | carried after 8 | ms of depth | ms of tracking |')
    print('|---|---|' + '---|' * (len(AFTER) + 3))
    for source in sys.argv[1:]:
        frames = list(islice(frames_of(source), FRAMES))
        for poses in (True, False) if frames[0].pose is not None else (False,):
            model = StandIn()
            pipeline = Pipeline(config, backbone=backbone, depth_model=model)
            found = {after: np.nanmean(rows, axis=0) for after, rows in measure(
                frames, pipeline, model, poses=poses).items()}
            cells = [' / '.join('-' if np.isnan(part) else f'{100 * part:.1f}'
                                for part in found[after][:3]) for after in AFTER]
            between = np.mean([found[after] for after in AFTER[1:]], axis=0)
            print(f'| {Path(source).name} | {"yes" if poses else "no"} | ' + ' | '.join(cells)
                  + f' | {found[AFTER[-1]][3]:.0%} | {between[4]:.1f} | {between[5]:.1f} |',
                  flush=True)
    filled, composed, moved = milliseconds()
    print(f'640x480, of one core: {filled:.1f} ms to fill a step, {composed:.1f} to compose it, '
          f'{moved:.1f} to move the points')


if __name__ == '__main__':
    main()
