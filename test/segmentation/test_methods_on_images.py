"""What the settings and the confidence of every method promise, on the average of real images."""

from diffseg_ros.backbones.loader import load_backbone
from diffseg_ros.config import BackboneConfig
from diffseg_ros.evaluation.calibration import Calibration
from diffseg_ros.evaluation.datasets import MaskDataset
from diffseg_ros.evaluation.measure import Observation
from diffseg_ros.pipeline import create_method
import numpy as np
import pytest
from scenes import config

LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
METHODS = ('regions', 'diffcut', 'kway', 'diffseg')


@pytest.fixture(scope='module')
def observed(real_masks):
    """Return frames of all sets, their truth, features and attention maps."""
    backbone = load_backbone(BackboneConfig(device='cpu', tokens=432), attention=True)
    chosen = [(frame, truth) for folder in sorted(real_masks.iterdir()) if folder.is_dir()
              for number, (_, frame, truth) in enumerate(MaskDataset(folder))
              if number % 9 == 2]
    return [(frame, truth, *backbone.features_and_attention(frame.rgb))
            for frame, truth in chosen]


def segmented(observed, **settings):
    for frame, truth, features, maps in observed:
        yield create_method(config(**settings)).segment(frame, features, None, maps), truth


@pytest.mark.parametrize('method', METHODS)
def test_segments_rise_with_granularity(observed, method):
    counts = [np.mean([len(segments.embeddings) for segments, _ in
                       segmented(observed[::5], method=method, granularity=level)])
              for level in LEVELS]
    assert counts == sorted(counts) and counts[-1] > 2 * counts[0]


@pytest.mark.parametrize(('method', 'refinement'), [
    ('regions', 'basins'), ('kway', 'basins'), ('kway', 'pamr')])
def test_pixels_of_low_confidence_are_wrong_more_often(observed, method, refinement):
    """Not diffseg: the embedded model attends at one coarse grid, too little for that."""
    calibration = Calibration()
    for segments, truth in segmented(observed, method=method, refinement__method=refinement):
        calibration.update(Observation(segments.labels, confidence=segments.confidence,
                                       truth=truth, ignored=255))
    report = calibration.compute()['calibration']
    low, high = (np.average([part['accuracy'] for part in half],
                            weights=[part['share'] for part in half])
                 for half in (report['bins'][:5], report['bins'][5:]))
    assert report['auroc'] > 0.52 and low < high - 0.02
