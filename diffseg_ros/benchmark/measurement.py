"""How a benchmark measures: milliseconds on an idle device, in turns, and peak memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
import re
import resource
import time

from diffseg_ros.timing import percentiles
import torch


def milliseconds(run: Callable[[], object], device: torch.device | None = None) -> float:
    """Return the milliseconds of one call, with the device idle before and after."""
    synchronize(device)
    start = time.perf_counter()
    run()
    synchronize(device)
    return (time.perf_counter() - start) * 1e3


def synchronize(device: torch.device | None) -> None:
    """Wait until a GPU has finished its work."""
    if device is not None and device.type == 'cuda':
        torch.cuda.synchronize(device)


def take_turns(runs: Mapping[str, Callable[[], object]], rounds: int,
               device: torch.device | None = None) -> dict[str, list[float]]:
    """
    Time several functions in turns, so that other load slows all of them alike.

    Each is called once before it is timed. Returns the milliseconds of each round by name.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(milliseconds(run, device))
    return times


def rounded_percentiles(times: Sequence[float]) -> dict[str, float]:
    """Return 'p50' and 'p95', rounded to 0.001."""
    return {name: round(value, 3) for name, value in percentiles(times).items()}


def median(values: Sequence[float]) -> float:
    """Return the median, rounded to 0.001."""
    return rounded_percentiles(values)['p50']


class PeakMemory:
    """
    Context that measures the largest resident memory of this process while it is open.

    `peak_mb` is in MB of 1e6 bytes, interpreter and libraries included; `above_start_mb` leaves
    out what was in use at the start.
    """

    def __enter__(self) -> PeakMemory:
        # Where the kernel refuses to reset the peak, it is that of the whole process.
        with suppress(OSError):
            Path('/proc/self/clear_refs').write_text('5')
        self._start = _resident_mb('VmRSS')
        return self

    def __exit__(self, *error: object) -> None:
        self.peak_mb = _resident_mb('VmHWM')
        self.above_start_mb = self.peak_mb - self._start


def _resident_mb(field: str) -> float:
    status = Path('/proc/self/status')
    match = re.search(rf'^{field}:\s+(\d+) kB', status.read_text() if status.is_file() else '',
                      re.M)
    kilobytes = int(match[1]) if match else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes * 1024 / 1e6
