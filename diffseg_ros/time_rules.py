"""When stamps mean that time jumped back: one rule for topics, bags and sequences."""

from __future__ import annotations

TIME_JUMP_NS = 500_000_000
"""A stamp this many nanoseconds behind the last one is a time jump and starts a new epoch."""

LARGEST_SLOP = 1.0
"""Largest value in seconds of the parameter `sync_slop`."""


def clock_jumped_back(last: int | None, stamp: int) -> bool:
    """Return whether a stamp (ns) after `last` starts a new epoch, as when a bag loops."""
    return last is not None and last - stamp > TIME_JUMP_NS


def sufficient_slop(offset: int) -> float | None:
    """Return the `sync_slop` (s) that accepts depth `offset` ns from its image, or None."""
    slop = (abs(offset) // 10_000_000 + 2) / 100
    return slop if slop <= LARGEST_SLOP else None
