"""The study of filled holes hides what it says, and its fills fill everything."""

from __future__ import annotations

from diffseg_ros.types import Frame
import numpy as np
from studies.depth_fill import aligned, FILLS, hide, measure, stand_in, STRENGTHS

ROWS, COLUMNS = np.indices((96, 128), dtype=np.float32)


def test_a_fifth_is_hidden_and_every_fill_fills_it() -> None:
    depth = 2 + ROWS / 96 + np.where(COLUMNS > 64, np.float32(0.5), np.float32(0))
    depth[:, :8] = np.nan
    rgb = np.repeat((50 * depth)[..., None], 3, axis=2)
    frame = Frame(np.nan_to_num(rgb).astype(np.uint8), 0, 'camera', depth=depth)
    hidden = hide(depth, np.random.default_rng(0))
    assert 0.2 <= hidden.sum() / np.isfinite(depth).sum() < 0.6
    assert not hidden[:, :8].any()
    measured = np.where(hidden, np.float32(np.nan), depth)
    predicted = aligned(stand_in(depth, STRENGTHS['mild'], np.random.default_rng(1)), measured)
    for name, fill in FILLS.items():
        found = fill(frame.rgb, measured, predicted)
        assert found.shape == depth.shape and np.isfinite(found).all(), name
        errors = measure(fill, frame, measured, predicted, hidden)
        assert errors.relative < 0.15 and errors.milliseconds > 0, name


def test_the_stand_in_is_off_by_what_its_strength_says() -> None:
    truth = 1 + ROWS / 24
    for strength in STRENGTHS.values():
        off = [np.log(aligned(stand_in(truth, strength, np.random.default_rng(seed)), truth)
                      / truth)
               for seed in range(6)]
        assert 0.3 < np.std(off) / np.hypot(strength.bend, strength.noise) < 1.2
