"""How long things take: repeated, in turns, and with the device's queue emptied."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import time

import numpy as np
import torch

Milliseconds = list[float]


def take_turns(runs: Mapping[str, Callable[[], object]], rounds: int, *,
               device: torch.device | None = None) -> dict[str, Milliseconds]:
    """
    Time several functions in turns, so that whatever else runs slows all of them alike.

    Parameters
    ----------
    runs
        Functions by name; each is called once before it is timed.
    rounds
        How often each is timed.
    device
        Its queue is emptied before the clock is read.

    Returns
    -------
    dict
        Milliseconds of each round by name.

    """
    times: dict[str, Milliseconds] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(once(run, device))
    return times


def once(run: Callable[[], object], device: torch.device | None = None) -> float:
    """Return the milliseconds of one call."""
    _settle(device)
    start = time.perf_counter()
    run()
    _settle(device)
    return (time.perf_counter() - start) * 1e3


def _settle(device: torch.device | None) -> None:
    if device is not None and device.type == 'cuda':
        torch.cuda.synchronize(device)


def median(times: Sequence[float]) -> float:
    """Return the median, rounded to a microsecond."""
    return round(float(np.median(times)), 3)


def percentiles(times: Sequence[float]) -> dict[str, float]:
    """Return the median and the 95th percentile, rounded to a microsecond."""
    return {'p50': median(times), 'p95': round(float(np.percentile(times, 95)), 3)}
