"""Tokens matched there and back: the same thing, moved; another; one that is too small."""

from diffseg_ros.config import TrackingConfig
from diffseg_ros.tracking.association import Appearance, reidentify
from diffseg_ros.tracking.looks import Looks, segment_looks, similarity_there_and_back
from diffseg_ros.tracking.track_manager import TrackManager, TrackRecord
import numpy as np
import pytest
import torch

RANDOM = torch.Generator().manual_seed(0)
GRID = torch.randn(32, 18, 24, generator=RANDOM)
LABELS = np.zeros((90, 120), np.int32)
LABELS[10:60, 15:80], LABELS[60:70, 90:100] = 1, 2


def test_looks_are_the_directions_of_a_segments_tokens():
    ground, thing, small = segment_looks(GRID, LABELS, 3)
    assert small is None  # two tokens along each side
    rows, columns = np.meshgrid(np.arange(2, 12), np.arange(3, 16), indexing='ij')
    # 13 tokens wide: more than 12, so every second one along both sides.
    kept = ((rows % 2 == 0) & (columns % 2 == 0)).ravel()
    np.testing.assert_array_equal(
        thing.places, np.stack([rows.ravel(), columns.ravel()], axis=1)[kept] / 2)
    centred = GRID - GRID.mean(dim=(1, 2), keepdim=True)
    expected = (centred / centred.norm(dim=0))[:, rows.ravel()[kept], columns.ravel()[kept]].T
    np.testing.assert_allclose(thing.tokens, expected, atol=1e-3)
    assert thing.tokens.dtype == np.float16 and len(ground.tokens) <= 144


def patch(row, column, height=8, width=9):
    """Return the looks of a part of the grid."""
    labels = np.zeros((18, 24), np.int32)
    labels[row:row + height, column:column + width] = 1
    return segment_looks(GRID, labels, 2)[1]


def test_the_same_thing_comes_back_wherever_it_is_and_another_does_not():
    thing = patch(2, 3)
    assert similarity_there_and_back(thing, thing) == pytest.approx(1, abs=1e-3)
    moved = Looks(thing.tokens, thing.places + [5, 2])
    assert similarity_there_and_back(thing, moved) == pytest.approx(1, abs=1e-3)
    assert similarity_there_and_back(thing, patch(10, 14)) < 0.2
    # Half of it is hidden: that half does not count.
    half = Looks(thing.tokens[:36], thing.places[:36])
    assert similarity_there_and_back(thing, half) == pytest.approx(0.6, abs=0.15)
    assert similarity_there_and_back(half, thing) == pytest.approx(1, abs=1e-3)


def lost(embedding, looks):
    """Return a track that looks like this."""
    return TrackRecord(1, 0, 0, 0, 0, embedding=np.array(embedding, np.float32), looks=looks)


def test_matching_tokens_make_up_for_a_mean_that_changed():
    before, now = [1.0, 0.0], np.array([0.7, np.sqrt(1 - 0.7**2)], np.float32)
    thing, other = patch(2, 3), patch(10, 14)
    threshold = TrackingConfig().reidentify_similarity
    for old, new, found in ((thing, thing, True), (thing, other, False), (None, thing, False),
                            (thing, None, False)):
        track, = reidentify([Appearance(now, looks=new)], [lost(before, old)], threshold)
        assert (track is not None) == found
    # A mean that says the contrary is believed.
    opposed = np.array([-1.0, 0.0], np.float32)
    assert reidentify([Appearance(opposed, looks=thing)], [lost(before, thing)],
                      threshold) == [None]


def test_the_looks_kept_are_the_latest_that_are_not_much_smaller():
    track = TrackManager().start()
    near, far, later = patch(2, 3), patch(2, 3, 4, 4), patch(3, 3)
    for looks, size, kept in ((near, 1000, near), (far, 300, near), (later, 800, later)):
        track.update_looks(looks, size)
        assert track.looks is kept
