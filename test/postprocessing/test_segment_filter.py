"""Which segments go, and what is left of the depth."""

from __future__ import annotations

from types import SimpleNamespace

from diffseg_ros.config import RemovalConfig
from diffseg_ros.io.messages import decode_depth
from diffseg_ros.postprocessing.segment_filter import (
    depth_pixels,
    filtered_depth,
    removed_ids,
)
from diffseg_ros.types import Track, TrackState
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import numpy as np
import pytest

IDS = np.array([-1, 1, 2, 3, 4], np.int32)
BOXES = [SimpleNamespace(id=1, size=np.array([0.1, 0.3, 0.2])),
         SimpleNamespace(id=2, size=np.array([4.0, 0.1, 2.0])),
         SimpleNamespace(id=3, size=np.array([1.0, 1.0, 1.0]))]
"""4 has no box."""


@pytest.mark.parametrize(('settings', 'wanted'), [
    ({}, []), ({'ids': (2, 7)}, [2]), ({'ids': (0,)}, []), ({'unlabelled': True}, [-1]),
    ({'max_size': 1.5}, [2]), ({'min_size': 0.5}, [1, 4]),
    ({'min_size': 0.5, 'max_size': 1.0}, [1, 2, 4]), ({'max_size': 0.2}, [1, 2, 3]),
    ({'ids': (3,), 'unlabelled': True, 'max_size': 2.0}, [-1, 2, 3])])
def test_segments_are_chosen_by_id_size_and_lack_of_label(settings, wanted):
    assert removed_ids(RemovalConfig(**settings), IDS, lambda: BOXES) == wanted


@given(st.lists(st.one_of(st.none(), st.floats(0, 20)), min_size=4, max_size=4),
       st.floats(0.1, 20))
def test_what_moved_within_so_many_seconds_is_chosen(since, seconds):
    tracks = [Track(number, TrackState.CONFIRMED, 9, 0, 50, passed == 0, passed)
              for number, passed in enumerate([*since, 0.0], 1)]
    wanted = [number for number, passed in enumerate(since, 1)
              if passed is not None and passed <= seconds]
    assert removed_ids(RemovalConfig(moving=seconds), IDS, lambda: BOXES, tracks) == wanted
    assert removed_ids(RemovalConfig(), IDS, lambda: BOXES, tracks) == []


def test_what_is_called_so_now_is_chosen():
    tracks = [Track(number, TrackState.CONFIRMED, 9, 0, 50, name=name)
              for number, name in ((1, 'person'), (2, 'unknown'), (3, ''), (9, 'person'))]
    for names, wanted in ((['person'], [1]), (['person', 'unknown'], [1, 2]), ([], [])):
        assert removed_ids(RemovalConfig(), IDS, lambda: BOXES, tracks, names) == wanted


def test_boxes_are_not_computed_for_nothing():
    def boxes() -> list:
        raise AssertionError('not needed')

    assert removed_ids(RemovalConfig(ids=(2,), unlabelled=True), IDS, boxes) == [-1, 2]


@given(hnp.arrays(np.int32, (6, 8), elements=st.integers(-1, 5)),
       st.lists(st.integers(-1, 5), max_size=4), st.sampled_from([(6, 8), (12, 16), (3, 4)]))
def test_depth_is_nan_exactly_where_the_nearest_label_is_removed(labels, ids, shape):
    depth = np.arange(1, shape[0] * shape[1] + 1, dtype=np.float32).reshape(shape)
    left = filtered_depth(depth, np.isin(labels, ids))
    rows = ((np.arange(shape[0]) + 0.5) * 6 / shape[0]).astype(int)
    columns = ((np.arange(shape[1]) + 0.5) * 8 / shape[1]).astype(int)
    gone = np.isin(labels[rows][:, columns], ids)
    assert np.array_equal(left, np.where(gone, np.nan, depth), equal_nan=True)
    assert not np.isnan(depth).any()


def test_millimetres_come_back_as_they_were():
    units = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    units[-1, -1] = 0    # 65535 says that there is no depth
    message = SimpleNamespace(encoding='16UC1', width=256, height=256, step=512, is_bigendian=0,
                              data=units.tobytes())
    pixels = depth_pixels(decode_depth(message), '16UC1')
    assert pixels.dtype == np.uint16
    assert np.array_equal(pixels, units)


def test_what_millimetres_cannot_hold_is_invalid():
    depth = np.array([[np.nan, 0.0001, 65.535, 65.536, 100.0]], np.float32)
    assert depth_pixels(depth, '16UC1').tolist() == [[0, 0, 65535, 0, 0]]
    assert depth_pixels(depth, '32FC1') is depth
