"""When tracks are seen, the plot of it, and contact sheets."""

from __future__ import annotations

from pathlib import Path

import cv2
from diffseg_ros.errors import DiffsegError
from diffseg_ros.viz.colours import label_colours
from diffseg_ros.viz.overlay import ContactSheet
from diffseg_ros.viz.plots import draw_timeline, MAX_TRACKS, Timeline
import numpy as np
import pytest


def image(*ids: int) -> np.ndarray:
    """Return an image whose columns, four pixels each, carry the ids."""
    return np.array([ids], np.int32).repeat(4, axis=0)


def filled_timeline() -> Timeline:
    timeline = Timeline()
    for number, ids in enumerate([(5, 6), (5, -1), (5, 7), (6, 7), (6, 7)]):
        timeline.add(10**9 + number * 10**8, image(*ids))
    return timeline


def test_spans() -> None:
    lives = filled_timeline().lives()
    # 5, 6 and 7 are seen in three frames each: the oldest come first.
    assert [(life.track_id, life.spans) for life in lives] == [
        (5, [[0, 2]]), (6, [[0, 0], [3, 4]]), (7, [[2, 4]])]
    assert filled_timeline().counts == [2, 1, 2, 2, 2]


def near(picture: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Return where an RGB picture has a colour, up to rounding."""
    return (np.abs(picture.astype(int) - colour).max(axis=2) <= 3).any(axis=0)


def drawn(timeline: Timeline, path: Path, switches: list | None = None) -> np.ndarray:
    draw_timeline(timeline, path, 'a title', switches)
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def test_timeline_shows_spans_in_the_colours_of_the_overlay(tmp_path: Path) -> None:
    timeline = filled_timeline()
    picture = drawn(timeline, tmp_path / 'new' / 'timeline.png')
    left, right = (np.flatnonzero(near(picture, label_colours(np.array(track_id))))
                   for track_id in (5, 7))
    # 5 covers frames 0 to 2, 7 frames 2 to 4, of five.
    width = right.max() - left.min()
    assert (left.max() - left.min()) / width == pytest.approx(3 / 5, abs=0.02)
    assert (right.min() - left.min()) / width == pytest.approx(2 / 5, abs=0.02)
    lost = np.flatnonzero(near(picture, label_colours(np.array(6))))
    gaps = np.diff(lost)
    assert gaps.max() / width == pytest.approx(2 / 5, abs=0.02)
    switched = drawn(timeline, tmp_path / 'switches.png', [(3, 5, 6)])
    assert not np.array_equal(picture, switched)


def test_many_tracks_and_stamps_that_stand_still(tmp_path: Path) -> None:
    timeline = Timeline()
    for number in range(3):
        timeline.add(0, np.arange(90, dtype=np.int32).reshape(9, 10) + 30 * number)
    many = drawn(timeline, tmp_path / 'many.png')
    few = drawn(filled_timeline(), tmp_path / 'few.png')
    assert MAX_TRACKS < 90 and few.shape[0] < many.shape[0] < 1200
    empty = Timeline()
    empty.add(0, image(-1))
    assert drawn(empty, tmp_path / 'empty.png').shape[1] == many.shape[1]


def widest_gap(picture: np.ndarray, axis: int) -> int:
    """Return the most white rows (axis 0) or columns (1) in a row, the edges included."""
    inked = np.flatnonzero((picture.min(axis=2) < 250).any(axis=1 - axis))
    return int(np.diff([-1, *inked, picture.shape[axis]]).max())


@pytest.mark.parametrize(('tracks', 'ended'), [
    (0, False), (1, False), (8, False), (90, False), (90, True)])
def test_picture_has_no_empty_band(tracks: int, ended: bool, tmp_path: Path) -> None:
    timeline = Timeline()
    for number in range(12):
        ids = range(0 if number < 6 or not ended else tracks // 2, tracks)
        timeline.add(number * 66_666_667, image(-1, *ids))
    picture = drawn(timeline, tmp_path / 'timeline.png')
    # Without tracks the rows' own place is empty.
    assert widest_gap(picture, 0) < (20 if tracks else 60)
    assert widest_gap(picture, 1) < 20


@pytest.mark.parametrize(('total', 'numbers'), [
    (23, range(0, 23, 2)), (3, [0, 1, 2]), (1, [0])])
def test_sheet_keeps_evenly_spaced_frames(total: int, numbers: range | list[int],
                                          tmp_path: Path) -> None:
    sheet = ContactSheet(total)
    ids = np.repeat([3, 4], 40)[None].repeat(60, axis=0).astype(np.int32)
    for number in range(total):
        sheet.add(number, np.full((60, 80, 3), 10 * number, np.uint8), ids)
    sheet.write(tmp_path / 'sheet.png')
    picture = cv2.cvtColor(cv2.imread(str(tmp_path / 'sheet.png')), cv2.COLOR_BGR2RGB)
    rows, columns = -(-len(numbers) // 4), min(4, len(numbers))
    assert picture.shape == (6 + 306 * rows, 6 + 406 * columns, 3)
    for place, number in enumerate(numbers):
        # A tenth from the left: half of the image's grey, half of the colour of id 3.
        pixel = picture[260 + 306 * (place // 4), 46 + 406 * (place % 4)].astype(int)
        expected = (10 * number + label_colours(np.array(3)).astype(int)) / 2
        assert np.abs(pixel - expected).max() <= 1


def test_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(DiffsegError, match='no frame to show'):
        ContactSheet(5).write(tmp_path / 'sheet.jpg')
    with pytest.raises(DiffsegError, match='no frame to show'):
        draw_timeline(Timeline(), tmp_path / 'timeline.png')
    (tmp_path / 'taken.png').mkdir()
    with pytest.raises(DiffsegError, match='taken.png: cannot be written'):
        draw_timeline(filled_timeline(), tmp_path / 'taken.png')
