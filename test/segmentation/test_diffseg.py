from diffseg_ros.errors import DiffsegError
from diffseg_ros.pipeline import create_method
from diffseg_ros.segmentation.affinity import token_affinity
from diffseg_ros.segmentation.attention import attention_divergence, merge_attention
from diffseg_ros.segmentation.cues import CutSettings
from diffseg_ros.types import Frame
import numpy as np
import pytest
import scenes
from test_attention import winners
import torch

FRAME = Frame(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
PIXELS = {'refinement__method': 'pamr', 'refinement__iterations': 0, 'centre': False}
PUBLISHED = {'method': 'diffseg', 'diffseg__threshold': 1.0, 'refinement__width': 640, **PIXELS}


def quadrant_maps(height=12, width=16, leak=0.01):
    """Return maps of which each attends to its own quarter, and the quarters."""
    parts = np.zeros((height, width), int)
    parts[:, width // 2:] += 1
    parts[height // 2:] += 2
    weights = np.where(parts.reshape(-1, 1) == parts.ravel(), 1.0, leak)
    weights /= weights.sum(axis=1, keepdims=True)
    return torch.from_numpy(weights.reshape((height, width) * 2)).float(), parts


def features(height=12, width=16):
    return torch.from_numpy(np.random.default_rng(1).standard_normal(
        (8, height, width)).astype(np.float32))


def segment(config, maps, tokens=None):
    return scenes.segment(FRAME, features() if tokens is None else tokens, attention=maps,
                          **config)


def test_quarters_are_found_and_confident_inside():
    maps, parts = quadrant_maps()
    found = segment(PUBLISHED, (maps,))
    truth = np.kron(parts, np.ones((4, 4), int))
    # Where four quarters meet, all of them hold as much.
    assert np.count_nonzero(found.labels != truth) <= 4
    assert found.confidence[8:16, 8:24].min() > 200
    assert found.confidence[:, 31:33].max() < 100
    expected = torch.nn.functional.normalize(features().flatten(1), dim=0)
    expected = expected[:, parts.ravel() == 2].sum(dim=1)
    np.testing.assert_allclose(found.embeddings[2], expected / expected.norm(), atol=1e-5)


def test_winners_are_the_published_ones():
    places = np.stack(np.mgrid[:12, :16], axis=-1).reshape(-1, 2)
    apart = np.square(places[:, None] - places).sum(axis=2)
    maps = torch.softmax(torch.from_numpy(-apart / 4.0).float(), dim=1).view(12, 16, 12, 16)
    config = {**PUBLISHED, 'max_segments': 1024}
    labels = segment(config, (maps,)).labels
    published = winners(merge_attention(maps, 1.0), 48, 64)
    assert len(np.unique(published)) > 3
    # A 3x3 median follows; where all nine agree it changes nothing.
    windows = np.lib.stride_tricks.sliding_window_view(published, (3, 3))
    calm = (windows == windows[..., :1, :1]).all(axis=(2, 3))
    pairs = set(zip(published[1:-1, 1:-1][calm].tolist(), labels[1:-1, 1:-1][calm].tolist(),
                    strict=True))
    assert calm.sum() > 300 and len(pairs) == len({one for one, _ in pairs})


def test_features_may_be_coarser_than_the_attention():
    maps, parts = quadrant_maps()
    found = segment(PUBLISHED, (maps, quadrant_maps(6, 8)[0]), features(3, 4))
    assert np.count_nonzero(found.labels != np.kron(parts, np.ones((4, 4), int))) <= 4


def test_max_segments_keeps_the_largest():
    maps, _ = quadrant_maps(12, 16)
    found = segment({**PUBLISHED, 'max_segments': 2}, (maps,))
    assert len(found.embeddings) == 2


@pytest.mark.parametrize('config', [{'method': 'diffseg'},
                                    {'method': 'diffcut', 'cut__attention': 1.0},
                                    {'method': 'kway', 'cut__attention': 1.0}])
def test_missing_attention_is_refused(config):
    assert create_method(scenes.config(**config)).needs_attention
    with pytest.raises(DiffsegError, match='need attention maps'):
        segment(config, None)


def test_nan_is_refused():
    maps, _ = quadrant_maps()
    maps[0, 0, 0, 0] = torch.nan
    with pytest.raises(DiffsegError, match='NaN'):
        segment({'method': 'diffseg'}, (maps,))


def test_attention_cue_alone_finds_the_quarters():
    maps, parts = quadrant_maps(leak=0.2)
    config = {'method': 'diffcut', 'cut__alpha': 0.0, 'cut__colour': 0.0, 'cut__position': 0.0,
              'cut__attention': 5.0, **PIXELS}
    found = segment(config, (maps,), 1 + 0.01 * features())
    truth = np.kron(parts, np.ones((4, 4), int))
    assert len(found.embeddings) == 4
    assert all((found.labels[truth == part] == np.bincount(found.labels[truth == part]).argmax())
               .mean() > 0.8 for part in range(4))


def test_cue_of_weight_zero_changes_nothing():
    divergence = attention_divergence((quadrant_maps()[0],), 12, 16)
    tokens = features()
    cues = CutSettings(alpha=5.0, colour=50.0, position=20.0, geometry=0.0)
    plain = token_affinity(FRAME, tokens, cues)
    assert torch.equal(plain, token_affinity(FRAME, tokens, cues, attention=divergence))
    weighed = token_affinity(FRAME, tokens, cues.replace(attention=2.0), attention=divergence)
    torch.testing.assert_close(weighed, plain * torch.exp(-2 * divergence))


def test_divergence_of_another_grid():
    divergence = attention_divergence((quadrant_maps()[0],), 6, 8).numpy()
    assert divergence.shape == (48, 48) and divergence.dtype == np.float32
    assert divergence.min() >= 0 and np.abs(np.diag(divergence)).max() < 1e-5
    assert divergence[0, 47] > 1 > 1e-3 > divergence[0, 1]
