from diffseg_ros.config import SegmentationConfig
from diffseg_ros.segmentation.upsampling import (
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


@pytest.mark.parametrize('refinement', ['basins', 'pamr'])
def test_a_patch_that_is_too_small_goes_to_what_surrounds_it(refinement):
    rgb = np.full((240, 320, 3), 90, np.uint8)
    rgb[:, 160:] = (200, 60, 60)
    rgb[20:40, 20:40] = rgb[100:200, 40:120] = (60, 60, 200)
    # A basin takes what is at its middle: without texture one would reach around the patches.
    rgb += np.random.default_rng(0).integers(0, 20, rgb.shape, np.uint8)
    values = torch.zeros(3, 24, 32)
    values[0, :, :16] = values[1, :, 16:] = 1
    for place in ((slice(2, 4), slice(2, 4)), (slice(10, 20), slice(4, 12))):
        values[0][place], values[2][place] = 0, 1
    scores = TokenScores(values, 0.1)

    def segmented(least):
        return to_pixels(rgb, scores, SegmentationConfig(refinement=refinement,
                                                         region_min_size=least))

    labels, margin = segmented(0.0)
    assert labels[30, 30] == labels[150, 80] == 2 and margin[30, 30] > 0.5
    labels, margin = segmented(0.01)
    assert labels[30, 30] == 0 and labels[150, 80] == 2
    assert margin[30, 30] < 0.1 and margin[150, 80] > 0.5
    assert (segmented(0.2)[0][:, :150] == 0).all()
