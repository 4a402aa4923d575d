"""Groupings against features into which the truth is mixed: the default gains, and most."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
from diffseg_ros.backbones.loader import load_backbone
from diffseg_ros.config import BackboneConfig, SegmentationConfig
from diffseg_ros.evaluation.datasets import MaskDataset
import numpy as np
import pytest
from studies.quality_dial import groupings, main, mean_scores, measure, mixed
import torch

SETS = 'camvid_val', 'coco_objects', 'coco_stuff', 'bsds_regions', 'tabletop_objects'
ENDS = 0.0, 0.6


def patchwork(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an image of patches whose colours say nothing of the four regions they are in."""
    random = np.random.default_rng(seed)
    pixels = np.stack(np.mgrid[:144, :192], axis=-1)[:, :, None]
    patches, parts = random.random((40, 2)) * (144, 192), random.random((4, 2)) * (144, 192)
    patch = np.linalg.norm(pixels - patches, axis=-1).argmin(axis=-1)
    part = np.linalg.norm(patches[:, None] - parts, axis=-1).argmin(axis=-1)
    colours = random.integers(110, 146, (5, 3))[random.integers(0, 5, 40)]
    image = colours[patch] + random.integers(-6, 7, (144, 192, 3))
    return image.astype(np.uint8), part[patch].astype(np.uint8)


@pytest.fixture(scope='module')
def patchworks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('masks')
    (folder / 'dataset.json').write_text(json.dumps({'labels': 'regions'}))
    for part in ('images', 'labels'):
        (folder / part).mkdir()
    for seed in range(6):
        image, truth = patchwork(seed)
        cv2.imwrite(str(folder / 'images' / f'{seed}.png'), image)
        cv2.imwrite(str(folder / 'labels' / f'{seed}.png'), truth)
    return folder


def gains(folders: list[Path], every: int = 1) -> dict[str, float]:
    """Return what each grouping of regions gains from the features as they are to 60 % truth."""
    methods = {name: make for name, make in groupings(SegmentationConfig()).items()
               if name not in ('kway', 'diffcut')}
    features = load_backbone(BackboneConfig(device='cpu')).features
    scores = mean_scores([measure(MaskDataset(folder), features, methods, ENDS, every)
                          for folder in folders])
    return {name: scores[name, 0.6][0] - scores[name, 0.0][0] for name in methods}


def test_the_default_gains_most_on_known_truth(patchworks: Path) -> None:
    gain = gains([patchworks])
    assert gain['regions'] > 0.08
    assert gain['regions'] > 0.05 + max(gain['local merging'], gain['local merging, features 3'])


@pytest.mark.large
def test_the_default_gains_most_on_real_data(real_masks: Path) -> None:
    gain = gains([real_masks / name for name in SETS], every=10)
    assert gain['regions'] > 0.04
    assert gain['regions'] > 0.01 + max(gain['local merging'], gain['local merging, features 3'])


def test_the_share_of_the_truth_is_what_is_asked() -> None:
    features = torch.randn(2000, 3, 4, generator=torch.Generator().manual_seed(1))
    truth = np.zeros((30, 40), np.uint8)
    truth[:, 20:] = 7
    truth[20:] = 255
    plain, most, full = (mixed(features, truth, share) for share in (0.0, 0.6, 1.0))
    unit = features - features.mean(dim=(1, 2), keepdim=True)
    assert torch.allclose(plain, unit / unit.norm(dim=0), atol=1e-6)
    assert torch.allclose(most.norm(dim=0), torch.ones(3, 4))
    assert torch.equal(most[:, 2], plain[:, 2]) and torch.equal(full[:, 2], plain[:, 2])
    one, other = full[:, 0, 0], full[:, 0, 3]
    assert torch.equal(full[:, 1, 1], one) and torch.equal(full[:, 1, 2], other)
    # Nearly orthogonal, as there are many channels.
    assert abs(float(one @ other)) < 0.1
    assert float(most[:, 0, 0] @ one) == pytest.approx(0.6 / np.hypot(0.6, 0.4), abs=0.05)


def test_the_command_prints_the_table(patchworks: Path,
                                      capsys: pytest.CaptureFixture[str]) -> None:
    main([str(patchworks), '--every', '6', '--methods', 'regions', 'kway'])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == '| share of the truth | 0% | 20% | 40% | 60% |'
    assert [line.split(' | ')[0] for line in lines[2:]] == ['| regions', '| kway']
