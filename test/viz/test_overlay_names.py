"""Names on overlays: where there is room, and nothing else changes."""

from __future__ import annotations

import cv2
from diffseg_ros.viz.colours import label_colours
from diffseg_ros.viz.overlay import ContactSheet, draw_overlay
import numpy as np
import pytest

LARGE, SMALL, NARROW = 3, 4, 5


def scene(scale: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return a grey image and ids: a large one, a small square and a narrow strip."""
    labels = np.full((240, 320), LARGE, np.int32)
    labels[20:30, 20:30] = SMALL
    labels[:, 300:308] = NARROW
    labels = labels.repeat(scale, axis=0).repeat(scale, axis=1)
    return np.full((*labels.shape, 3), 90, np.uint8), labels


@pytest.mark.parametrize('scale', [1, 2, 4])
def test_names_are_written_inside_the_segments_that_have_room(scale):
    rgb, labels = scene(scale)
    plain = draw_overlay(rgb, labels)
    drawn = draw_overlay(rgb, labels, names={LARGE: 'chair', SMALL: 'cup', NARROW: 'curtain'})
    changed = (drawn != plain).any(axis=2)
    assert changed.any() and set(labels[changed].tolist()) == {LARGE}
    rows, columns = np.nonzero(changed)
    assert np.ptp(columns) < 0.4 * labels.shape[1] and np.ptp(rows) < 0.1 * labels.shape[0]
    assert np.array_equal(draw_overlay(rgb, labels, names={}), plain)


def test_a_name_too_long_for_its_segment_is_left_out():
    rgb, labels = scene()
    long = draw_overlay(rgb, labels, names={LARGE: 'a name that is far too long for the picture'})
    assert np.array_equal(long, draw_overlay(rgb, labels))


def test_chosen_colours_take_the_place_of_those_of_ids():
    labels = np.array([[-1, 3, 3, 70000], [4, 4, -1, 3]], np.int32)
    drawn, usual = label_colours(labels, {3: (1, 2, 3), 9: (7, 7, 7)}), label_colours(labels)
    assert (drawn[labels == 3] == [1, 2, 3]).all()
    assert np.array_equal(drawn[labels != 3], usual[labels != 3])
    assert label_colours(np.zeros(0, np.int64), {3: (1, 2, 3)}).shape == (0, 3)


def test_contact_sheet_writes_names_beside_ids(tmp_path):
    rgb, labels = scene()
    pictures = []
    for names in ({}, {LARGE: 'chair'}, {LARGE: 20 * 'too long '}):
        sheet = ContactSheet(1)
        sheet.add(0, rgb, labels, names)
        sheet.write(tmp_path / 'sheet.png')
        pictures.append(cv2.imread(str(tmp_path / 'sheet.png')))
    plain, named, without_room = pictures
    assert np.array_equal(plain, without_room)
    assert (plain != named).any()
