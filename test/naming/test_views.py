"""Which tracks are looked at, and the part of the image that is taken."""

from __future__ import annotations

from diffseg_ros.naming.views import crop_of, crops_of, tracks_to_view
from diffseg_ros.types import Track, TrackState
import numpy as np


def tracks(**pixels):
    return [Track(int(name[1:]), TrackState.CONFIRMED, 9, 0, count)
            for name, count in pixels.items()]


def chosen(found):
    return [track.id for track in found]


def test_the_largest_that_were_not_looked_at_come_first():
    seen = tracks(t1=10, t2=500, t3=0, t4=90)
    assert chosen(tracks_to_view(seen, {}, {}, 2)) == [2, 4]
    assert chosen(tracks_to_view(seen, {2: 1}, {2: 500}, 9)) == [4, 1, 2]


def test_of_those_looked_at_equally_the_better_view_comes_first():
    seen = tracks(t1=100, t2=100)
    assert chosen(tracks_to_view(seen, {1: 2, 2: 2}, {1: 400, 2: 50}, 1)) == [2]


def test_what_was_looked_at_often_needs_a_clearly_better_view():
    seen = tracks(t1=100, t2=100)
    assert chosen(tracks_to_view(seen, {1: 99, 2: 99}, {1: 90, 2: 50}, 9)) == [2]


def test_a_crop_is_the_box_with_a_margin_inside_the_image():
    rgb = np.random.default_rng(0).integers(0, 255, (80, 100, 3), np.uint8)
    labels = np.zeros((80, 100), np.int32)
    labels[20:40, 0:50] = 7
    crop = crop_of(rgb, labels, 7)
    np.testing.assert_array_equal(crop.rgb, rgb[19:41, 0:52])
    np.testing.assert_array_equal(crop.mask, labels[19:41, 0:52] == 7)
    rgb[:] = 0
    assert crop.rgb.any()


def test_tracks_that_the_image_does_not_show_are_left_out():
    labels = np.full((8, 8), -1, np.int32)
    labels[2:5] = 3
    assert crop_of(np.zeros((8, 8, 3), np.uint8), labels, 4) is None
    seen, crops = crops_of(np.zeros((8, 8, 3), np.uint8), labels, tracks(t4=5, t3=9))
    assert chosen(seen) == [3] and len(crops) == 1
