"""The baselines, and through them the protocol: known figures on real data are met."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffseg_ros.evaluation.datasets import MaskDataset
from diffseg_ros.evaluation.masks import region_miou
from diffseg_ros.evaluation.measure import MeasureSet
import numpy as np
import pytest
from studies.baselines import CLASSICAL, write_random_weights


def quadrants() -> tuple[np.ndarray, np.ndarray]:
    """Return a noisy image of four colours and its labels."""
    labels = np.kron(np.arange(4).reshape(2, 2), np.ones((60, 80), int))
    colours = np.array([[200, 30, 30], [30, 180, 60], [40, 60, 200], [230, 220, 40]])
    noise = np.random.default_rng(1).integers(-8, 9, (120, 160, 3))
    return (colours[labels] + noise).astype(np.uint8), labels


@pytest.mark.parametrize('name', sorted(CLASSICAL))
def test_labels_are_whole_and_repeatable(name: str) -> None:
    image, truth = quadrants()
    labels = CLASSICAL[name](image)
    assert (labels.dtype, labels.shape) == (np.int32, (120, 160))
    assert labels.min() >= 0
    assert np.array_equal(labels, CLASSICAL[name](image))
    # k-means has six clusters for four colours; lab_ncut's grid is five pixels wide.
    floor = {'grid': 0.2, 'lab_ncut': 0.85, 'lab_kmeans': 0.5, 'felzenszwalb': 0.95}[name]
    assert region_miou(labels, truth) >= floor


@pytest.mark.parametrize('name', sorted(CLASSICAL))
def test_plain_and_tiny_images(name: str) -> None:
    for shape in ((33, 17, 3), (2, 2, 3)):
        image = np.full(shape, 90, np.uint8)
        assert CLASSICAL[name](image).shape == shape[:2]


def test_random_weights_are_the_seed(tmp_path: Path) -> None:
    import torch
    state = torch.get_rng_state()
    for name, seed in (('a', 0), ('b', 0), ('c', 1)):
        write_random_weights(tmp_path / name, seed=seed)
    assert torch.equal(state, torch.get_rng_state())
    data = {name: b''.join(path.read_bytes() for path in sorted((tmp_path / name).iterdir()))
            for name in 'abc'}
    assert data['a'] == data['b'] != data['c']


def score(dataset: MaskDataset, baseline: str) -> dict[str, Any]:
    measures = MeasureSet('masks')
    for _, frame, truth in dataset:
        measures.update(dataset.observation(frame, truth, CLASSICAL[baseline](frame.rgb)))
    return measures.compute()


@pytest.mark.parametrize(('name', 'miou'), [
    ('camvid_val', 0.211), ('coco_objects', 0.229), ('coco_stuff', 0.171),
    ('bsds_regions', 0.136), ('tabletop_objects', 0.257)])
def test_grid_on_real_data(real_masks: Path, name: str, miou: float) -> None:
    report = score(MaskDataset(real_masks / name), 'grid')
    assert round(report['miou'], 3) == miou
    assert report['segments_per_image'] == 20


@pytest.mark.parametrize(('name', 'baseline', 'miou', 'within'), [
    ('bsds_regions', 'felzenszwalb', 0.238, 0.0006),
    ('tabletop_objects', 'lab_kmeans', 0.202, 0.02),
    ('bsds_regions', 'lab_kmeans', 0.158, 0.01),
    ('coco_stuff', 'lab_ncut', 0.181, 0.01)])
def test_other_baselines_on_real_data(real_masks: Path, name: str, baseline: str, miou: float,
                                      within: float) -> None:
    report = score(MaskDataset(real_masks / name), baseline)
    assert report['miou'] == pytest.approx(miou, abs=within)
