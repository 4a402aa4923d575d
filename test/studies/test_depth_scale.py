"""The study of depth's scale: its stand-in, its outliers, and a table of a tiny recording."""

from __future__ import annotations

from diffseg_ros.depth.alignment import Alignment, to_metres
from diffseg_ros.types import Frame, Intrinsics
import numpy as np
from studies.depth_scale import (
    all_known,
    KINDS,
    motion,
    predicted,
    Recording,
    smoothed,
    sparse,
    with_outliers,
    with_patch,
)


def frames(count=5):
    """Return frames of a slanted wall with texture, from a camera that stands."""
    columns = np.arange(96, dtype=np.float32)
    depth = np.tile(1 + columns / 48, (72, 1))
    rgb = np.random.default_rng(0).integers(0, 255, (72, 96, 3), np.uint8)
    return [Frame(rgb, step * 10**8, depth=depth, pose=np.eye(4),
                  intrinsics=Intrinsics(96, 72, 80.0, 80.0, 47.5, 35.5)) for step in range(count)]


def test_the_stand_in_is_undone_by_its_scale_and_shift():
    depth = frames()[0].depth
    for kind in KINDS:
        truth = predicted(depth, kind, np.random.default_rng(1))
        metres = to_metres(truth.values, kind, Alignment(truth.scale, truth.shift, 0.0, 1.0))
        error = metres / depth - 1
        assert abs(error.mean()) < 0.003 and 0.028 < error.std() < 0.032


def test_outliers_are_as_many_as_said():
    known, rng = all_known(frames()[0].depth), np.random.default_rng(0)
    for spoil in (with_outliers, with_patch):
        assert abs(np.mean(spoil(known, 0.3, rng).metres != known.metres) - 0.3) < 0.02


def test_tables_say_what_there_is_not(capsys):
    still = Recording('still', frames())
    for table in (sparse, motion, smoothed):
        table([still])
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith('| still | affine |') for line in lines) == 5
    assert any(line.startswith('| still | as recorded | 0 of 5 | - |') for line in lines)
    widths = {}
    for line in lines:
        if line.startswith('| source'):
            head = line.count('|')
        elif line.startswith('|'):
            widths[line] = line.count('|') == head
    assert all(widths.values())
