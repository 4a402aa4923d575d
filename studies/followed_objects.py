"""
How well an object is followed from one click: mask IoU, and how often it is found again.

`python -m studies.followed_objects SEQUENCE... [--objects N] [--no-depth] [--at-once]` clicks on
up to N objects of each sequence folder with instances, each in a run of its own: at its innermost
pixel, in the first frame in which it is whole, that is, it does not touch the margin of the image;
with --at-once in frame 0, whole or not.
Printed are, as means over the objects,

- first: the IoU of the mask with the truth in the frame of the click, that of the segment there;
- iou: of the mask with the truth, over the frames since the click that show the object;
- again: the share with an IoU of 0.5 among the frames that show it after it was out of view for
  five frames or more;
- wrong: the share of the frames without the object in which the mask is not empty;
- the same for those objects alone whose first IoU is 0.5 or more, and
- for propagation alone: the first mask carried from frame to frame by the camera's motion
  and optical flow, without segments, memory and appearance.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

import cv2
from diffseg_ros.config import TrackingConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.label_images import resize_labels
from diffseg_ros.io.sequence_folder import SequenceFolder
from diffseg_ros.pipeline import Pipeline
from diffseg_ros.tracking.label_map import LabelMap
from diffseg_ros.tracking.propagation import Propagator
from diffseg_ros.tracking.track_manager import TrackManager
from diffseg_ros.tracking.tracking_frame import TrackingFrame
from diffseg_ros.types import Frame, LabelImage, Mask
import numpy as np

LEAST_SHARE = 0.002
"""Smallest object that is clicked on, as a share of the image."""
SHOWN_SHARE = 0.0005
"""Share of the image from which on a frame shows the object; one that shows less is not scored."""
ABSENCE = 5
UNDEFINED = 65535
FOUND_IOU = 0.5


class Choice(NamedTuple):
    """An object, and the click on it: the number of the frame, x and y."""

    instance: int
    frame: int
    pixel: tuple[int, int]


@dataclass(frozen=True)
class Score:
    """See the text of the file; `again` and `wrong` are None where no frame counts."""

    first: float
    iou: float
    again: float | None
    wrong: float | None


def choices(truths: Sequence[LabelImage], background: int | None, count: int, *,
            at_once: bool) -> list[Choice]:
    """Return clicks on the first `count` objects that are whole in a frame, or are in frame 0."""
    found: dict[int, Choice] = {}
    for number, truth in enumerate(truths[:1] if at_once else truths):
        margin = {UNDEFINED, background}
        if not at_once:
            margin |= {*truth[0], *truth[-1], *truth[:, 0], *truth[:, -1]}
        instances, pixels = np.unique(truth, return_counts=True)
        for instance in instances[pixels >= LEAST_SHARE * truth.size].tolist():
            if instance not in margin and instance not in found and len(found) < count:
                found[instance] = Choice(instance, number, middle(truth == instance))
    return list(found.values())


def middle(mask: Mask) -> tuple[int, int]:
    """Return x and y of the pixel that is farthest from the rim of a mask."""
    padded = np.pad(mask.astype(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1]
    row, column = np.unravel_index(int(distance.argmax()), mask.shape)
    return int(column), int(row)


def followed(frames: Sequence[Frame], choice: Choice, pipeline: Pipeline) -> list[Mask]:
    """Return the masks of an object since the click on it."""
    pipeline.reset()
    masks = []
    for number, frame in enumerate(frames):
        result = pipeline.process(frame)
        if number == choice.frame:
            masks.append(pipeline.follow(choice.pixel).mask)
        elif result.target is not None:
            masks.append(result.target.mask)
    return masks


def carried(frames: Sequence[Frame], first: Mask) -> list[Mask]:
    """Return a mask of the first frame, carried through all by motion alone."""
    config = TrackingConfig(memory=False, common_motion=False)
    propagator, tracks = Propagator(config), TrackManager()
    masks: list[Mask] = []
    rest, target = tracks.start(), tracks.start()
    assert rest is not None and target is not None
    labels: LabelMap | None = None
    for frame in frames:
        small = TrackingFrame.from_frame(frame, config.width)
        labels = propagator.propagate(small, labels, tracks).labels
        if not masks:
            labels.slots[:] = np.where(resize_labels(first, *small.shape), target.slot, rest.slot)
        labels.confidence[:] = 1
        masks.append(resize_labels(labels.slots == target.slot, *first.shape))
    return masks


def score(masks: Sequence[Mask], truths: Sequence[Mask]) -> Score:
    """Return how well masks fit the true ones, of the same frames."""
    ious, again, wrong, absent = [], [], [], 0
    was_away = False
    for mask, truth in zip(masks, truths, strict=True):
        if not truth.any():
            absent += 1
            was_away |= absent >= ABSENCE
            wrong.append(bool(mask.any()))
        elif truth.mean() >= SHOWN_SHARE:
            absent = 0
            ious.append(float((mask & truth).sum() / (mask | truth).sum()))
            if was_away:
                again.append(ious[-1] >= FOUND_IOU)
    return Score(ious[0], float(np.mean(ious)), float(np.mean(again)) if again else None,
                 float(np.mean(wrong)) if wrong else None)


def mean(values: Sequence[float | None]) -> str:
    """Return the mean of what is known, as a text."""
    known = [value for value in values if value is not None]
    return f'{np.mean(known):.3f} ({len(known)})' if known else '-'


def study(folder: Path, count: int, pipeline: Pipeline, *, depth: bool, at_once: bool) -> None:
    """Print the scores of a sequence."""
    source = SequenceFolder(folder)
    frames, truths = [], []
    for item in source.numbered_frames():
        if item.frame is None:
            raise DiffsegError(f'{folder}: frame {item.number} cannot be read: {item.error}')
        frames.append(item.frame if depth else replace(item.frame, depth=None, pose=None))
        truths.append(source.instances(item.number).astype(np.int32))
    scores: dict[str, list[Score]] = {'followed': [], 'propagation alone': []}
    for choice in choices(truths, source.background, count, at_once=at_once):
        rest = slice(choice.frame, None)
        true = [truth == choice.instance for truth in truths[rest]]
        masks = followed(frames, choice, pipeline)
        scores['followed'].append(score(masks, true))
        scores['propagation alone'].append(score(carried(frames[rest], masks[0]), true))
        one, other = scores['followed'][-1], scores['propagation alone'][-1]
        print(f'  object {choice.instance} from frame {choice.frame}: '
              + ' | '.join(' '.join('-' if value is None else f'{value:.3f}'
                                    for value in astuple(each)) for each in (one, other)),
              flush=True)
    for name, each in scores.items():
        for least, which in ((0.0, 'all'), (FOUND_IOU, 'those segmented well at the click')):
            kept = [one for one in each if one.first >= least]
            print(f'{folder.name}{"" if depth else " without depth"}, {name}, {which}: '
                  + ', '.join(f'{field.name} {mean([getattr(one, field.name) for one in kept])}'
                              for field in fields(Score)), flush=True)


def main() -> None:
    """Print the scores of all sequences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('sequences', nargs='+', type=Path)
    parser.add_argument('--objects', type=int, default=10)
    parser.add_argument('--no-depth', action='store_true')
    parser.add_argument('--at-once', action='store_true')
    arguments = parser.parse_args()
    pipeline = Pipeline()
    for folder in arguments.sequences:
        study(folder, arguments.objects, pipeline, depth=not arguments.no_depth,
              at_once=arguments.at_once)


if __name__ == '__main__':
    main()
