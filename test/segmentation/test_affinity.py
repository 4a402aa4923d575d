from diffseg_ros.errors import DiffsegError
from diffseg_ros.segmentation.affinity import (
    feature_affinity,
    token_affinity,
    token_colours,
)
from diffseg_ros.segmentation.cues import CutSettings
from diffseg_ros.types import Frame, Intrinsics
import numpy as np
import pytest
import torch

PLAIN = CutSettings(colour=0.0, position=0.0, geometry=0.0, alpha=10.0)


@pytest.fixture
def features():
    return torch.from_numpy(np.random.default_rng(0).standard_normal((8, 3, 4)).astype(np.float32))


@pytest.fixture
def frame():
    rgb = np.zeros((30, 40, 3), np.uint8)
    rgb[:, 20:] = 255
    depth = np.full((30, 40), 2, np.float32)
    depth[:, 20:] = 1
    return Frame(rgb, depth=depth, intrinsics=Intrinsics(40, 30, 40, 40, 19.5, 14.5))


def test_without_further_cues_it_is_the_affinity_of_diffcut(frame, features):
    flat = features.flatten(1).double().numpy()
    unit = flat / np.linalg.norm(flat, axis=0)
    cosine = unit.T @ unit
    expected = ((cosine - cosine.min()) / (cosine.max() - cosine.min())) ** 10
    np.testing.assert_allclose(token_affinity(frame, features, PLAIN), expected, atol=1e-5)


def test_cues_multiply(frame, features):
    colour = PLAIN.replace(colour=3.0)
    both = token_affinity(frame, features, colour)
    alone = token_affinity(frame, features, colour.replace(alpha=0.0))
    np.testing.assert_allclose(both, alone * token_affinity(frame, features, PLAIN), atol=1e-6)
    # Black and white are 100 apart in Lab lightness: exp(-3 * 1).
    assert float(alone[0, 3]) == pytest.approx(np.exp(-3), rel=1e-3)
    assert float(alone[0, 1]) == pytest.approx(1)


def test_all_cues_off_is_refused(frame, features):
    with pytest.raises(DiffsegError, match='set one above 0'):
        token_affinity(frame, features, PLAIN.replace(alpha=0.0))


def test_constant_features_have_full_affinity():
    assert (feature_affinity(torch.ones(5, 7), 10) == 1).all()


@pytest.mark.parametrize('alpha', [1.0, 2.0, 5.0, 10.0, 2.5])
def test_any_exponent(alpha):
    features = torch.randn(6, 20, generator=torch.Generator().manual_seed(0))
    linear = feature_affinity(features, 1.0)
    expected = linear.double().pow(alpha).float()
    torch.testing.assert_close(feature_affinity(features, alpha), expected)


def test_what_is_far_apart_is_nothing_but_never_denormal(frame, features):
    affinity = token_affinity(frame, features, PLAIN.replace(alpha=0.0, colour=1000.0))
    smallest = torch.finfo(torch.float32).tiny
    assert smallest < float(affinity.min()) < 1e-12


def test_token_colours_are_area_means(frame):
    colours = token_colours(frame.rgb, 1, 2)
    assert colours[0, 0] == pytest.approx(0, abs=1e-3)
    assert colours[1, 0] == pytest.approx(1, abs=1e-3)
