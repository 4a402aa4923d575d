from diffseg_ros.segmentation.refinement import assignment_scores, pamr, segment_means
import pytest
import torch


def test_assignment_is_the_cosine_with_the_mean_feature():
    features = torch.tensor([[[3.0, 0.0], [0.0, 0.0]], [[0.0, 2.0], [1.0, 5.0]]])
    scores = assignment_scores(features, segment_means(features, torch.tensor([0, 1, 1, 1]), 2))
    assert scores.shape == (2, 2, 2)
    torch.testing.assert_close(scores[0], torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    torch.testing.assert_close(scores[1], torch.tensor([[0.0, 1.0], [1.0, 1.0]]))


def test_upsampled_scores_equal_scores_of_upsampled_features():
    torch.manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(6, 5, 7), dim=0)
    labels = torch.arange(35) % 4
    scores = assignment_scores(features, segment_means(features, labels, 4))
    means = torch.stack([features.reshape(6, -1)[:, labels == k].sum(1) for k in range(4)])
    means = torch.nn.functional.normalize(means, dim=1)

    def enlarge(maps):
        return torch.nn.functional.interpolate(maps[None], (20, 28), mode='bilinear')[0]

    expected = torch.einsum('kc,chw->khw', means, enlarge(features))
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
