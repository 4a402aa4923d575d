from diffseg_ros.segmentation.upsampling import (
    assignment_scores,
    enlarge_on_device,
    enlarge_on_host,
    pamr,
    TokenScores,
    upsample_scores,
)
import numpy as np
import pytest
from scenes import config
import torch


@pytest.mark.parametrize('count', [1, 2, 16, 41])
def test_both_ways_to_enlarge_agree(count):
    """The way of other devices, on the CPU."""
    generator = torch.Generator().manual_seed(count)
    shares = torch.softmax(3 * torch.randn(count, 9, 12, generator=generator), dim=0)
    labels, margin = enlarge_on_host(shares, (45, 64))
    other_labels, other_margin = enlarge_on_device(shares, (45, 64))
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
    chosen = config(refinement__method=refinement, refinement__width=80)
    labels, margin = upsample_scores(rgb, TokenScores(values, temperature), chosen)
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
        return upsample_scores(rgb, scores, config(refinement__method=refinement,
                                                   min_size=least))

    labels, margin = segmented(0.0)
    assert labels[30, 30] == labels[150, 80] == 2 and margin[30, 30] > 0.5
    labels, margin = segmented(0.01)
    assert labels[30, 30] == 0 and labels[150, 80] == 2
    assert margin[30, 30] < 0.1 and margin[150, 80] > 0.5
    assert (segmented(0.2)[0][:, :150] == 0).all()


def test_assignment_is_the_cosine_with_the_mean_feature():
    features = torch.tensor([[[3.0, 0.0], [0.0, 0.0]], [[0.0, 2.0], [1.0, 5.0]]])
    scores, means = assignment_scores(features, np.array([0, 1, 1, 1]))
    torch.testing.assert_close(means, torch.eye(2))
    torch.testing.assert_close(scores[0], torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    torch.testing.assert_close(scores[1], torch.tensor([[0.0, 1.0], [1.0, 1.0]]))


def test_upsampled_scores_equal_scores_of_upsampled_features():
    torch.manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(6, 5, 7), dim=0)
    labels = np.arange(35) % 4
    scores, means = assignment_scores(features, labels)
    raw = torch.stack([features.reshape(6, -1)[:, labels == k].mean(1) for k in range(4)])
    torch.testing.assert_close(means, torch.nn.functional.normalize(raw, dim=1))
    voted, _ = assignment_scores(features, labels, 0.5)
    own = torch.nn.functional.one_hot(torch.from_numpy(labels), 4).T.view(4, 5, 7)
    torch.testing.assert_close(voted, scores + 0.5 * own)

    def enlarge(maps):
        return torch.nn.functional.interpolate(maps[None], (20, 28), mode='bilinear')[0]

    expected = torch.einsum('kc,chw->khw', raw, enlarge(features))
    torch.testing.assert_close(enlarge(scores), expected, atol=1e-5, rtol=0)


@pytest.fixture
def step_image():
    image = torch.zeros(3, 24, 24)
    image[:, :, 12:] = 1
    return image


def test_pamr_moves_a_misplaced_boundary_to_the_edge(step_image):
    mask = torch.zeros(24, 24)
    mask[:, 10:] = 1
    refined = pamr(step_image, torch.stack([mask, 1 - mask]), 20, (1, 2, 4))
    # Columns 10 and 11 are black like the rest of segment 1.
    assert refined[1, :, :12].mean() > 0.8 and refined[0, :, 12:].min() > 0.95


def test_pamr_keeps_sums(step_image):
    masks = torch.softmax(torch.randn(5, 24, 24, generator=torch.Generator().manual_seed(0)), 0)
    refined = pamr(step_image, masks, 5, (1, 3))
    torch.testing.assert_close(refined.sum(dim=0), torch.ones(24, 24), atol=1e-5, rtol=0)
    assert refined.min() >= 0


def test_no_iterations_change_nothing(step_image):
    masks = torch.rand(2, 24, 24)
    assert pamr(step_image, masks, 0, (1,)) is masks


def test_pamr_smooths_a_constant_image():
    masks = torch.zeros(1, 9, 9)
    masks[0, 4, 4] = 1
    refined = pamr(torch.full((3, 9, 9), 0.5), masks, 1, (1,))
    torch.testing.assert_close(refined[0, 3:6, 3:6].flatten()[[0, 1, 2, 3, 5, 6, 7, 8]],
                               torch.full((8,), 1 / 8))
