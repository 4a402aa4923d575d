"""The study of followed objects: its clicks, its scores, and one click on real videos."""

from __future__ import annotations

from diffseg_ros.io.sequence_folder import SequenceFolder
from diffseg_ros.pipeline import Pipeline
from diffseg_ros.types import Frame
import numpy as np
from studies.followed_objects import carried, Choice, choices, followed, middle, score


def square(left, size=20, shape=(60, 80)):
    mask = np.zeros(shape, bool)
    mask[20:20 + size, left:left + size] = True
    return mask


def test_objects_are_clicked_on_where_they_are_whole_first():
    assert middle(square(10)) in [(19, 29), (20, 30), (19, 30), (20, 29)]
    truths = [np.where(square(0), 1, 0) + np.where(square(50), 2, 0),
              np.where(square(10), 1, 0) + np.where(square(50), 2, 0)]
    found = choices(truths, 0, 10, at_once=False)
    assert [(choice.instance, choice.frame) for choice in found] == [(2, 0), (1, 1)]
    assert [choice.instance for choice in choices(truths, 0, 10, at_once=True)] == [1, 2]
    assert len(choices(truths, 0, 1, at_once=False)) == 1


def test_scores_tell_fit_finding_again_and_what_is_wrong():
    shown, gone = square(10), np.zeros((60, 80), bool)
    half = square(10)
    half[:, 20:] = False
    truths = [shown, shown, *[gone] * 5, shown, shown]
    masks = [shown, half, *[gone] * 4, shown, half, gone]
    found = score(masks, truths)
    assert (found.first, found.iou, found.again, found.wrong) == (1.0, 0.5, 0.5, 0.2)
    assert score(masks[:2], truths[:2]).again is None


def test_motion_alone_carries_a_mask():
    wall = np.random.default_rng(0).integers(0, 255, (60, 120, 3), np.uint8).repeat(2, 0)
    wall = wall.repeat(2, 1)[:120]
    frames = [Frame(np.ascontiguousarray(wall[:, 2 * step:2 * step + 160]), step * 10**8)
              for step in range(4)]
    first = np.zeros((120, 160), bool)
    first[40:80, 60:100] = True
    last = carried(frames, first)[-1]
    moved = np.roll(first, -6, axis=1)
    assert (last & moved).sum() > 0.8 * (last | moved).sum()


def test_one_click_follows_the_object_of_real_videos(real_sequences):
    pipeline, ious = Pipeline(), []
    for name in ('davis_blackswan', 'davis_camel', 'davis_cows'):
        source = SequenceFolder(real_sequences / name)
        truths = [source.instances(number) == 1 for number in range(source.frame_count)]
        masks = followed(list(source), Choice(1, 0, middle(truths[0])), pipeline)
        ious.append(score(masks, truths).iou)
    assert np.mean(ious) > 0.6
