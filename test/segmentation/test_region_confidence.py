"""Confidence of merged regions: less near borders, in mixed segments and for odd parts."""

from __future__ import annotations

from diffseg_ros.segmentation.region_graph import region_graph
from diffseg_ros.segmentation.regions import assignment_confidence
import numpy as np


def confidence_of(levels: list[float], group: list[int]) -> np.ndarray:
    """Return the confidence of stripes, each 16 pixels wide and of one lightness."""
    parts = np.repeat(np.arange(len(levels), dtype=np.int32), 16)[None].repeat(24, axis=0)
    lab = np.zeros((*parts.shape, 3), np.float32)
    lab[..., 0] = np.array(levels, np.float32)[parts]
    graph = region_graph(lab, parts, np.ones((1, 1, 1), np.float32))
    groups = np.array(group, np.int32)
    return assignment_confidence(parts, graph, groups, graph.contracted(groups))


def test_pixels_near_a_border_are_less_sure() -> None:
    row = confidence_of([0.2, 0.3, 0.4, 0.5], [0, 0, 1, 1])[12]
    assert row.dtype == np.float32 and 0 <= row.min() and row.max() <= 1
    assert row[0] > row[15] and row[16] > row[31] and row[47] > row[32]
    assert row[31] < row[16] - 0.05


def test_a_part_that_looks_like_the_next_segment_is_less_sure() -> None:
    odd = confidence_of([0.2, 0.2, 0.5, 0.7, 0.7], [0, 0, 0, 1, 1])[12]
    assert odd[40] < odd[8] - 0.05 and odd[40] < odd[24] - 0.05


def test_a_mixed_segment_is_less_sure_than_an_even_one() -> None:
    mixed = confidence_of([0.1, 0.4, 0.25, 0.25, 0.9, 0.9], [0, 0, 0, 0, 1, 1])[12]
    even = confidence_of([0.25, 0.25, 0.25, 0.25, 0.9, 0.9], [0, 0, 0, 0, 1, 1])[12]
    assert (mixed[:63] < even[:63]).all()


def test_segments_without_a_neighbour_of_another_colour_are_finite() -> None:
    assert np.isfinite(confidence_of([0.3, 0.3], [0, 1])).all()
    assert (confidence_of([0.3, 0.6], [0, 0]) == 1).all()


def test_confidence_ranks_pixels_of_real_images(real_masks) -> None:
    from itertools import islice

    from diffseg_ros.evaluation.calibration import Calibration
    from diffseg_ros.evaluation.datasets import MaskDataset
    from diffseg_ros.pipeline import Pipeline

    pipeline, calibration = Pipeline(), Calibration()
    dataset = MaskDataset(real_masks / 'camvid_val')
    for _, frame, truth in islice(dataset, 0, 40, 8):
        segments = pipeline.segment(frame)
        calibration.update(dataset.observation(frame, truth, segments.labels,
                                               segments.confidence))
    report = calibration.compute()['calibration']
    assert report['auroc'] > 0.65
    curve = [item['accuracy'] for item in report['bins'] if item['share'] > 0.03]
    assert len(curve) >= 4 and curve == sorted(curve)
