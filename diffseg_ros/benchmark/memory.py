"""Peak memory of a stretch of code, as the operating system counts it."""

from __future__ import annotations

from pathlib import Path
import re
import resource
from types import TracebackType

_STATUS = Path('/proc/self/status')


class PeakMemory:
    """
    The largest resident memory of this process while the context is open.

    Attributes
    ----------
    peak_mb
        The peak itself, interpreter and libraries included, in MB of 1e6 bytes.
    above_start_mb
        How much of it came on top of what was there at the start.

    """

    def __enter__(self) -> PeakMemory:
        """Set the peak back; where the kernel refuses, it is that of the whole process."""
        try:
            Path('/proc/self/clear_refs').write_text('5')
        except OSError:
            pass
        self._start = _field('VmRSS')
        self.peak_mb = self.above_start_mb = 0.0
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Read the peak."""
        self.peak_mb = _field('VmHWM')
        self.above_start_mb = self.peak_mb - self._start


def _field(name: str) -> float:
    match = re.search(rf'^{name}:\s+(\d+) kB', _STATUS.read_text(), re.M) \
        if _STATUS.is_file() else None
    if match is None:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return int(match[1]) * 1024 / 1e6
