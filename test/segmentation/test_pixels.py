from diffseg_ros.config import SegmentationConfig
from diffseg_ros.segmentation.pixels import (
    enlarged,
    enlarged_on_device,
    to_pixels,
    TokenScores,
)
import numpy as np
import pytest
import torch


@pytest.mark.parametrize('count', [1, 2, 16, 41])
def test_both_ways_to_enlarge_agree(count):
    """The way of other devices, on the CPU."""
    generator = torch.Generator().manual_seed(count)
    shares = torch.softmax(3 * torch.randn(count, 9, 12, generator=generator), dim=0)
    labels, margin = enlarged(shares, (45, 64))
    other_labels, other_margin = enlarged_on_device(shares, (45, 64))
    assert (labels != other_labels).mean() < 0.002
    np.testing.assert_allclose(margin, other_margin, atol=2e-4)


@pytest.mark.parametrize('refinement', ['basins', 'pamr'])
@pytest.mark.parametrize('temperature', [None, 0.1])
def test_the_best_score_wins_and_its_lead_is_the_margin(refinement, temperature):
    values = torch.zeros(3, 6, 8)
    values[0, :, :4] = 1
    values[1, :3, 4:] = 1
    values[2, 3:, 4:] = 1
    rgb = np.zeros((60, 80, 3), np.uint8)
    rgb[:, :40] = 200
    rgb[:30, 40:] = (250, 40, 0)
    config = SegmentationConfig(refinement=refinement, refinement_width=80)
    labels, margin = to_pixels(rgb, TokenScores(values, temperature), config)
    truth = np.zeros((60, 80), np.int32)
    truth[:30, 40:], truth[30:, 40:] = 1, 2
    assert (labels == truth).mean() > 0.98
    assert margin[10, 10] > 0.95 and margin.min() >= 0 and margin.max() <= 1
