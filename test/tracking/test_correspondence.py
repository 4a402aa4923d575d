from diffseg_ros.tracking.correspondence import Correspondence
import numpy as np
import pytest
import torch

FINE = Correspondence.FINE


def smooth_features(height=12, width=16, seed=0):
    """Return (C, 4 h, 4 w) features that change slowly and differ everywhere."""
    noise = torch.randn(1, 32, height, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(noise, scale_factor=FINE, mode='bicubic')[0]


def tokens(fine, shift=0):
    """Return one feature a token of the fine ones moved by so many cells to the right."""
    return torch.roll(fine, shift, dims=2)[:, FINE // 2::FINE, FINE // 2::FINE]


def ids(shift=0, edge=30):
    image = np.ones((12 * FINE, 16 * FINE), np.int32)
    image[:, edge + shift:] = 2
    return image


def test_nothing_is_known_before_the_first_frame_or_of_another_shape():
    matcher = Correspondence()
    assert matcher.match(tokens(smooth_features()), 0.3) is None
    matcher.remember(tokens(smooth_features()), ids())
    assert matcher.match(tokens(smooth_features(8, 8)), 0.3) is None


@pytest.mark.parametrize('shift', [0, 2, 4, 8])
def test_labels_follow_a_shift_to_less_than_a_token(shift):
    fine, matcher = smooth_features(), Correspondence()
    matcher.remember(tokens(fine), ids())
    found = matcher.match(tokens(fine, shift), 0.4)
    inner = (slice(None), slice(FINE * 3, -FINE))
    assert (found.ids == ids(shift))[inner].mean() > 0.93
    assert found.share[inner].mean() > 0.5 and found.share.max() <= 1.001


def test_far_places_do_not_count_in_recent_frames():
    fine, matcher = smooth_features(), Correspondence()
    for _ in range(2):
        matcher.remember(tokens(smooth_features(seed=1)), ids())
    matcher.remember(tokens(fine), ids())
    matcher.remember(tokens(fine), ids())
    moved = tokens(fine, 8 * FINE)
    near, far = matcher.match(moved, 0.05), matcher.match(moved, 1.0)
    expected = np.roll(ids(), 8 * FINE, axis=1)
    assert (far.ids == expected).mean() > 0.95 > (near.ids == expected).mean()


def test_what_comes_into_view_is_not_mistaken_for_what_it_is_like():
    fine, matcher = smooth_features(), Correspondence()
    matcher.remember(tokens(fine), ids())
    now = tokens(fine, 6 * FINE)
    # The new part looks like the last column that went on to the right, only less so.
    now[:, :, :6] = 0.8 * now[:, :, 6:7] + 0.2 * tokens(smooth_features(seed=3))[:, :, :6]
    found = matcher.match(now, 1.0)
    assert (found.share[:, :5 * FINE] == 0).mean() > 0.9
    assert (found.share[:, 7 * FINE:] > 0).mean() > 0.9


def test_the_anchor_remembers_what_recent_frames_do_not_show():
    matcher, edge = Correspondence(), 32
    seen = smooth_features()
    matcher.remember(tokens(seen), ids(edge=edge))
    for seed in range(1, 30):
        matcher.remember(tokens(smooth_features(seed=seed)), np.full_like(ids(), 9))
    found = matcher.match(tokens(seen), 0.3)
    assert (found.ids == ids(edge=edge)).mean() > 0.8 and (found.ids == 9).mean() < 0.1


def test_memory_is_bounded_and_starts_again_with_another_shape():
    matcher = Correspondence()
    for seed in range(40):
        matcher.remember(tokens(smooth_features(seed=seed)), ids())
    assert len(matcher._recent) + len(matcher._sparse) <= 3
    matcher.remember(tokens(smooth_features(8, 8)), np.ones((8 * FINE, 8 * FINE), np.int32))
    assert matcher.match(tokens(smooth_features()), 0.3) is None
