"""What the demo clicks on, and the score of what was followed."""

from __future__ import annotations

from types import SimpleNamespace

from diffseg_ros.demo.click import choose_click, Click, followed_iou
import numpy as np
import pytest


def sequence(instances, background=0):
    return SimpleNamespace(frame_count=20, background=background,
                           instances=lambda number: instances * (number == 4))


def test_the_largest_whole_thing_is_clicked_on_in_its_middle():
    instances = np.zeros((40, 60), np.uint16)
    instances[10:20, 20:30] = 5
    instances[25:29, 40:44] = 6
    instances[30:, :30] = 7
    instances[2:8, 2:50] = 8
    click = choose_click(sequence(instances))
    assert (click.frame, click.instance) == (4, 5)
    x, y = click.pixel
    assert 23 <= x <= 26 and 13 <= y <= 16


def test_where_nothing_is_whole_there_is_no_click():
    assert choose_click(sequence(np.full((40, 60), 7, np.uint16))) is None


def test_the_score_is_a_mean_of_the_frames_after_the_click_that_show_something():
    thing, half, nothing = (np.arange(8)[None] < end for end in (8, 4, 0))
    truth = [thing, thing, thing, nothing, nothing]
    found = [nothing, nothing, half, nothing, half]
    score = followed_iou(Click(1, (0.0, 0.0), 5), range(5), truth.__getitem__, found.__getitem__)
    assert score == pytest.approx((0.5 + 0) / 2)
    assert followed_iou(Click(4, (0.0, 0.0), 5), range(5), truth.__getitem__,
                        found.__getitem__) is None
