"""Thin parts are found as defined, and absorbing rims costs hardly any."""

from __future__ import annotations

from unittest.mock import patch

from diffseg_ros.pipeline import Pipeline
import numpy as np
from studies.thin_things import cables, rims_kept, rooms, thin_parts, thin_recall


def test_a_leg_is_thin_and_a_seat_is_not() -> None:
    truth = np.zeros((240, 320), np.int32)
    truth[40:100, 50:120] = 5
    truth[100:180, 60:65] = 5
    (part, whole), = thin_parts(truth)
    assert np.array_equal(whole, truth == 5)
    assert part[102:180, 60:65].all() and not part[:98].any()


def test_absorbing_rims_keeps_legs_and_cables() -> None:
    pipeline = Pipeline()
    for pictures in ([next(rooms([0]))], list(cables(range(6)))):
        after = thin_recall(pipeline, pictures)
        with patch('diffseg_ros.segmentation.regions.absorb_rims', rims_kept):
            before = thin_recall(pipeline, pictures)
        assert after['parts'] == before['parts'] > 0
        assert after['covered'] >= before['covered'] - 0.05
