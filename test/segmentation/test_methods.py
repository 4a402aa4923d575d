"""Every registered method: valid segments of any frame, and the right ones of clear frames."""

import cv2
from diffseg_ros.errors import DiffsegError
from diffseg_ros.registry import segmentation_methods
from diffseg_ros.types import Frame, Intrinsics
from hypothesis import given, settings, strategies
import numpy as np
import pytest
from scenes import noise, segment
import torch

METHODS = segmentation_methods.names()
each_method = pytest.mark.parametrize('method', METHODS)
each_refinement = pytest.mark.parametrize('refinement', ['basins', 'pamr'])


def even_attention(features):
    height, width = features.shape[1:]
    return [torch.full((height, width, height, width), 1 / (height * width))]


def random_features(height, width, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(
        (5, height, width)).astype(np.float32))


def assert_valid(segments, frame, features):
    assert segments.labels.shape == segments.confidence.shape == frame.rgb.shape[:2]
    assert segments.labels.dtype == np.int32 and segments.confidence.dtype == np.uint8
    count = int(segments.labels.max()) + 1
    assert np.array_equal(np.unique(segments.labels), np.arange(count))
    assert segments.embeddings.shape == (count, len(features))
    assert segments.embeddings.dtype == np.float32 and np.isfinite(segments.embeddings).all()


@each_method
@each_refinement
@given(height=strategies.integers(2, 70), width=strategies.integers(2, 70),
       rows=strategies.integers(1, 9), columns=strategies.integers(1, 9),
       depth=strategies.sampled_from(['none', 'unknown', 'random', 'holes']),
       expected=strategies.booleans(), seed=strategies.integers(0, 999))
@settings(max_examples=20)
def test_segments_are_valid(method, refinement, height, width, rows, columns, depth, expected,
                            seed):
    rng = np.random.default_rng(seed)
    metres = None
    if depth != 'none':
        metres = rng.uniform(0.3, 6, (height, width)).astype(np.float32)
        metres[rng.random((height, width)) < {'unknown': 2, 'random': 0, 'holes': 0.4}[depth]] = (
            np.nan)
    camera = Intrinsics(width, height, 50.0, 50.0, width / 2, height / 2)
    frame = Frame(noise(height, width, seed), depth=metres,
                  intrinsics=camera if seed % 2 else None)
    features = random_features(rows, columns, seed)
    prior = rng.random((3, rows, columns)).astype(np.float32) if expected else None
    maps = torch.softmax(torch.from_numpy(rng.standard_normal((rows * columns,) * 2)), dim=1)
    segments = segment(frame, features, method, prior=prior,
                       attention=[maps.float().view(rows, columns, rows, columns)],
                       refinement__method=refinement)
    assert_valid(segments, frame, features)


@each_method
@each_refinement
@pytest.mark.parametrize('depth', [None, 2.0, np.nan])
def test_constant_image_is_one_segment_that_is_certain(method, refinement, depth):
    metres = None if depth is None else np.full((40, 60), depth, np.float32)
    frame, features = Frame(np.full((40, 60, 3), 90, np.uint8), depth=metres), torch.ones(4, 6, 9)
    segments = segment(frame, features, method, attention=even_attention(features),
                       refinement__method=refinement, cut__position=0.0, cut__geometry=0.0,
                       regions__geometry=0.0)
    assert_valid(segments, frame, features)
    assert not segments.labels.any() and (segments.confidence == 255).all()


@each_method
@pytest.mark.parametrize('alpha', [0.0, 5.0])
@pytest.mark.parametrize('value', [torch.nan, torch.inf])
def test_broken_features_are_refused(method, alpha, value):
    features = torch.ones(4, 6, 9)
    features[0, 0, 0] = value
    with pytest.raises(DiffsegError, match='NaN or infinity'):
        segment(Frame(noise(40, 60)), features, method, attention=even_attention(features),
                cut__alpha=alpha)


@pytest.mark.parametrize('method', ['diffcut', 'kway'])
@pytest.mark.parametrize('cue', ['geometry', 'depth', 'normals', 'distance'])
def test_without_any_cue_nothing_is_cut(method, cue):
    off = {f'cut__{name}': 0.0 for name in ('alpha', 'colour', 'position', 'geometry')}
    depth = np.full((40, 60), 2, np.float32)
    with pytest.raises(DiffsegError, match='set one above 0'):
        segment(Frame(noise(40, 60), depth=depth), torch.ones(4, 6, 9), method, **off)
    with pytest.raises(DiffsegError, match='the frame has no depth'):
        segment(Frame(noise(40, 60)), torch.ones(4, 6, 9), method, **{**off, f'cut__{cue}': 1.0})


@each_method
def test_one_segment_at_most(method):
    features = random_features(6, 9)
    segments = segment(Frame(noise(40, 60)), features, method, max_segments=1,
                       attention=even_attention(features))
    assert not segments.labels.any() and len(segments.embeddings) == 1


def quadrants(height, width):
    """Return a frame of four colours, its truth, and features that tell the colours apart."""
    truth = np.zeros((height, width), np.int32)
    truth[:, width // 2:] += 1
    truth[height // 2:] += 2
    colours = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200], [220, 220, 40]], np.uint8)
    tokens = np.kron(np.arange(4).reshape(2, 2), np.ones((6, 8), int))
    features = torch.nn.functional.one_hot(torch.from_numpy(tokens), 4).permute(2, 0, 1).float()
    return Frame(colours[truth]), truth, features


@pytest.mark.parametrize(('method', 'refinement'), [
    ('regions', 'basins'), ('diffcut', 'basins'), ('kway', 'basins'), ('diffcut', 'pamr')])
@pytest.mark.parametrize('shape', [(48, 64), (97, 131), (480, 640)])
def test_quadrants_are_recovered_to_the_pixel(shape, method, refinement):
    frame, truth, features = quadrants(*shape)
    segments = segment(frame, features, method, cut__position=0.0, refinement__method=refinement)
    pairs, counts = np.unique(np.stack([segments.labels.ravel(), truth.ravel()]), axis=1,
                              return_counts=True)
    assert segments.labels.max() == 3
    best = sum(counts[pairs[0] == label].max() for label in range(4))
    assert best / truth.size > 0.98


@pytest.mark.parametrize(('method', 'refinement', 'drop'), [
    ('regions', 'basins', 2), ('diffcut', 'pamr', 20), ('diffcut', 'basins', 20)])
def test_confidence_is_low_at_boundaries(method, refinement, drop):
    frame, _, features = quadrants(96, 128)
    frame = Frame(cv2.GaussianBlur(frame.rgb, (0, 0), 4))
    confidence = segment(frame, features, method, cut__position=0.0,
                         refinement__method=refinement).confidence
    assert confidence[:, 63:65].mean() < confidence[10:38, 10:54].mean() - drop


def test_one_row_of_tokens():
    row = np.repeat(np.array([[[0] * 3, [255] * 3]], np.uint8), 30, axis=1)
    features = torch.eye(2).repeat_interleave(5, dim=1)[:, None]
    segments = segment(Frame(np.repeat(row, 4, axis=0)), features)
    assert segments.labels.max() == 1
