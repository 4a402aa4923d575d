"""
How far predicted depth is off between keyframes, where it is carried along with the labels.

`python -m studies.depth_carried SOURCE...`: a source is a sequence folder with depth, or the seed
of a generated room. Its frames lose their depth; a stand-in for a model predicts the sensor's
depth, spoilt by an error of 2 % that varies over the image, in every ninth frame. Against the
sensor's depth are compared: what is carried, with and without the poses, and the keyframe's depth
as it was (held). Errors are means of |predicted - measured| / measured; how far the stand-in
itself is off shows after 0 frames.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
import sys
from typing import NamedTuple

import cv2
from diffseg_ros.config import PipelineConfig
from diffseg_ros.depth.base import DepthKind
from diffseg_ros.io.source import open_source
from diffseg_ros.pipeline import Pipeline
from diffseg_ros.settings import updated
from diffseg_ros.types import DepthImage, Frame, RgbImage
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
    """Of one frame: errors of what is carried and held, the share carried, milliseconds."""

    carried: float
    edges: float
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
        bare = replace(frame, depth=None, pose=frame.pose if poses else None)
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


def main() -> None:
    """Print a line of a Markdown table for each source, with and without poses."""
    config = updated(PipelineConfig(), {
        'depth.model': 'stand-in', 'tracking.keyframe_interval': INTERVAL,
        'tracking.keyframe_change': 1.0})
    backbone = Pipeline().backbone
    print('| source | poses | ' + ' | '.join(f'{after} frames' for after in AFTER)
          + ' | share carried after 8 | ms of depth | ms of tracking |')
    print('|---|---|' + '---|' * (len(AFTER) + 3))
    for source in sys.argv[1:]:
        frames = list(islice(frames_of(source), FRAMES))
        for poses in (True, False) if frames[0].pose is not None else (False,):
            model = StandIn()
            pipeline = Pipeline(config, backbone=backbone, depth_model=model)
            found = {after: np.nanmean(rows, axis=0) for after, rows in measure(
                frames, pipeline, model, poses=poses).items()}
            cells = [f'{row[0]:.1%} ({row[1]:.1%}, {row[2]:.1%})' for row in
                     (found[after] for after in AFTER)]
            between = np.mean([found[after] for after in AFTER[1:]], axis=0)
            print(f'| {Path(source).name} | {"yes" if poses else "no"} | ' + ' | '.join(cells)
                  + f' | {found[AFTER[-1]][3]:.0%} | {between[4]:.1f} | {between[5]:.1f} |',
                  flush=True)


if __name__ == '__main__':
    main()
