"""Strong features group a picture well with the settings that suit Stable Diffusion."""

import numpy as np
import pytest
from studies.stand_in_features import (
    observe_photos,
    score,
    stand_in_attention,
    stand_in_features,
    STRENGTHS,
    ten_photos,
)

MASKS = 'bsds_regions', 'camvid_val', 'coco_objects', 'coco_stuff', 'tabletop_objects'


def test_features_know_the_truth():
    truth = np.repeat(np.array([[0, 1]], np.uint8), 64, axis=1).repeat(96, axis=0)
    rgb = np.full((96, 128, 3), 128, np.uint8)
    features = stand_in_features(rgb, truth, STRENGTHS['very strong'], 0, 192)
    assert features.shape == (256, 12, 16)
    unit = features.flatten(1) - features.flatten(1).mean(dim=1, keepdim=True)
    likeness = (unit.T @ unit).sign().numpy()
    side = np.tile(np.arange(16) >= 8, 12)
    clear = np.tile((np.arange(16) < 7) | (np.arange(16) > 8), 12)
    alike = np.where(side[:, None] == side, 1, -1)
    assert (likeness == alike)[clear][:, clear].mean() > 0.95


def test_attention_sums_to_one():
    maps = stand_in_attention(np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8),
                              STRENGTHS['medium'], tokens=256)
    assert [len(item) for item in maps] == [16, 8, 4, 2]
    assert all(np.allclose(item.sum(dim=(2, 3)), 1, atol=1e-5) for item in maps)


@pytest.mark.parametrize(('strength', 'least'), [('very strong', 0.68), ('medium', 0.6)])
def test_what_suits_stable_diffusion_uses_strong_features(real_masks, strength, least):
    photos = list(ten_photos([real_masks / name for name in MASKS]))
    found = score('sd1', 'auto', photos, observe_photos('sd1', 'auto', photos, strength))
    miou, segments = (float(part) for part in found.split(' @ '))
    assert miou >= least and segments <= 15
