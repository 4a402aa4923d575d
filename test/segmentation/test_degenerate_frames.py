"""Every method on input without structure, of the smallest sizes, or broken."""

from diffseg_ros.config import SegmentationConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.segmentation.segmenter import Segmenter
from diffseg_ros.types import Frame
import numpy as np
import pytest
import torch

METHODS = ('regions', 'diffcut', 'kway', 'ncut', 'diffseg')
WAYS = [(method, refinement) for method in METHODS for refinement in ('basins', 'pamr')]
each_way = pytest.mark.parametrize(('method', 'refinement'), WAYS)


def segment(frame, features, method, refinement='basins', **settings):
    height, width = features.shape[1:]
    flat = torch.full((height, width, height, width), 1 / (height * width))
    segmenter = Segmenter(SegmentationConfig(method=method, refinement=refinement, **settings))
    return segmenter.segment(frame, features, attention=[flat])


def constant(height, width, depth=None):
    depths = None if depth is None else np.full((height, width), depth, np.float32)
    return Frame(np.full((height, width, 3), 90, np.uint8), depth=depths)


@each_way
@pytest.mark.parametrize('depth', [None, 2.0, np.nan])
def test_constant_image_is_one_segment_that_is_certain(method, refinement, depth):
    segments = segment(constant(40, 60, depth), torch.ones(4, 6, 9), method, refinement,
                       position=0.0, geometry=0.0)
    assert not segments.labels.any() and (segments.confidence == 255).all()
    assert np.isfinite(segments.embeddings).all()


@each_way
@pytest.mark.parametrize('shape', [(1, 12), (12, 1), (1, 1), (1, 2)])
def test_single_rows_and_tokens(method, refinement, shape):
    rng = np.random.default_rng(0)
    frame = Frame(rng.integers(0, 255, (shape[0] * 4, shape[1] * 4, 3), np.uint8),
                  depth=np.full((shape[0] * 4, shape[1] * 4), 1.5, np.float32))
    features = torch.from_numpy(rng.standard_normal((5, *shape)).astype(np.float32))
    segments = segment(frame, features, method, refinement)
    assert segments.labels.shape == frame.rgb.shape[:2] and segments.labels.min() == 0
    assert len(segments.embeddings) == segments.labels.max() + 1
    assert np.isfinite(segments.embeddings).all()


@each_way
def test_photos_of_few_pixels(method, refinement):
    segments = segment(constant(2, 3), torch.ones(4, 2, 3), method, refinement)
    assert segments.labels.shape == (2, 3)


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('alpha', [0.0, 5.0])
@pytest.mark.parametrize('value', [torch.nan, torch.inf])
def test_broken_features_are_refused(method, alpha, value):
    features = torch.ones(4, 6, 9)
    features[0, 0, 0] = value
    with pytest.raises(DiffsegError, match='NaN or infinity'):
        segment(constant(40, 60), features, method, alpha=alpha)


@pytest.mark.parametrize('method', ['diffcut', 'kway', 'ncut'])
@pytest.mark.parametrize('depth_cue', ['geometry', 'depth', 'normals', 'distance'])
def test_without_any_cue_nothing_is_cut(method, depth_cue):
    off = {'alpha': 0.0, 'colour': 0.0, 'position': 0.0, 'geometry': 0.0}
    with pytest.raises(DiffsegError, match='set one above 0'):
        segment(constant(40, 60, 2.0), torch.ones(4, 6, 9), method, **off)
    with pytest.raises(DiffsegError, match='the frame has no depth'):
        segment(constant(40, 60), torch.ones(4, 6, 9), method, **{**off, depth_cue: 1.0})


@pytest.mark.parametrize('method', METHODS)
def test_one_segment_at_most(method):
    rng = np.random.default_rng(1)
    frame = Frame(rng.integers(0, 255, (40, 60, 3), np.uint8))
    features = torch.from_numpy(rng.standard_normal((5, 6, 9)).astype(np.float32))
    segments = segment(frame, features, method, max_segments=1)
    assert not segments.labels.any() and len(segments.embeddings) == 1
