import dataclasses

import cv2
from diffseg_ros.config import SegmentationConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.segmentation.segmenter import Segmenter
from diffseg_ros.types import Frame
import numpy as np
import pytest
import torch


def quadrants(height, width):
    """Return a photo of four colours, its truth, and features that tell the colours apart."""
    truth = np.zeros((height, width), np.int32)
    truth[:, width // 2:] += 1
    truth[height // 2:] += 2
    colours = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200], [220, 220, 40]], np.uint8)
    tokens = np.zeros((12, 16), int)
    tokens[:, 8:] += 1
    tokens[6:] += 2
    features = torch.nn.functional.one_hot(torch.from_numpy(tokens), 4).permute(2, 0, 1).float()
    return Frame(colours[truth]), truth, features


@pytest.mark.parametrize('config', [
    SegmentationConfig(), SegmentationConfig(method='diffcut', position=0.0),
    SegmentationConfig(method='kway', position=0.0), SegmentationConfig(method='ncut'),
    SegmentationConfig(method='diffcut', position=0.0, refinement='pamr')])
@pytest.mark.parametrize('shape', [(48, 64), (97, 131), (480, 640)])
def test_quadrants_are_recovered_to_the_pixel(shape, config):
    frame, truth, features = quadrants(*shape)
    segments = Segmenter(config).segment(frame, features)
    pairs, counts = np.unique(np.stack([segments.labels.ravel(), truth.ravel()]), axis=1,
                              return_counts=True)
    assert segments.labels.max() == 3
    best = sum(counts[pairs[0] == label].max() for label in range(4))
    assert best / truth.size > 0.98
    assert segments.labels.dtype == np.int32 and segments.confidence.dtype == np.uint8


def test_ncut_is_kway_with_further_cues_and_diffcut_without():
    rng = np.random.default_rng(0)
    frame = Frame(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8))
    features = torch.from_numpy(rng.standard_normal((8, 12, 16)).astype(np.float32))

    def labels(method, **cues):
        config = SegmentationConfig(method=method, tau=0.8, **cues)
        return Segmenter(config).segment(frame, features).labels

    alone = {'colour': 0.0, 'position': 0.0, 'geometry': 0.0}
    assert (labels('ncut') == labels('kway')).all()
    assert (labels('ncut', **alone) == labels('diffcut', **alone)).all()
    assert (labels('diffcut') != labels('kway')).any()
    assert (labels('diffcut', **alone) != labels('kway', **alone)).any()


def test_labels_are_compact_and_embeddings_match():
    rng = np.random.default_rng(0)
    frame = Frame(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8))
    features = torch.from_numpy(rng.standard_normal((8, 12, 16)).astype(np.float32))
    segments = Segmenter(SegmentationConfig()).segment(frame, features)
    numbers = np.unique(segments.labels)
    assert numbers.tolist() == list(range(len(segments.embeddings)))
    np.testing.assert_allclose(np.linalg.norm(segments.embeddings, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(('config', 'drop'), [
    (SegmentationConfig(), 2), (SegmentationConfig(method='diffcut', refinement='pamr'), 50),
    (SegmentationConfig(method='diffcut'), 20)])
def test_confidence_is_low_at_boundaries(config, drop):
    frame, truth, features = quadrants(96, 128)
    config = dataclasses.replace(config, position=0.0)
    frame = Frame(cv2.GaussianBlur(frame.rgb, (0, 0), 4))
    confidence = Segmenter(config).segment(frame, features).confidence
    assert confidence[:, 63:65].mean() < confidence[10:38, 10:54].mean() - drop


def test_constant_image_is_one_segment():
    frame = Frame(np.full((40, 60, 3), 90, np.uint8))
    segments = Segmenter(SegmentationConfig(position=0.0)).segment(frame, torch.ones(4, 6, 9))
    assert not segments.labels.any() and (segments.confidence == 255).all()


def test_one_row_of_tokens():
    row = np.repeat(np.array([[[0] * 3, [255] * 3]], np.uint8), 30, axis=1)
    frame = Frame(np.repeat(row, 4, axis=0))
    features = torch.eye(2).repeat_interleave(5, dim=1)[:, None]
    segments = Segmenter(SegmentationConfig(position=0.0)).segment(frame, features)
    assert segments.labels.max() == 1


def test_nan_is_refused():
    features = torch.ones(4, 6, 9)
    features[0, 0, 0] = torch.nan
    with pytest.raises(DiffsegError, match='NaN'):
        Segmenter(SegmentationConfig()).segment(Frame(np.zeros((40, 60, 3), np.uint8)), features)
