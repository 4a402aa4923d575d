"""How commands that run for long end on SIGINT (Ctrl-C) and SIGTERM."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import signal
from types import FrameType, TracebackType


class StopSignal:
    """
    Notes SIGINT and SIGTERM; the same signal a second time ends the process at once.

    Calling it returns whether a signal came. Used in a `with` block, it restores the former
    handlers at the end. It must be made in the main thread.

    Attributes
    ----------
    number
        The first signal received, or None.

    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._interrupts = False
        self._former = {number: signal.signal(number, self._note)
                        for number in (signal.SIGINT, signal.SIGTERM)}

    def __call__(self) -> bool:
        return self.number is not None

    def __enter__(self) -> StopSignal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """
        Raise KeyboardInterrupt as soon as a signal comes while the block runs.

        For work that cannot ask whether to stop. A signal noted before raises at once.
        """
        self._interrupts = True
        try:
            if self():
                raise KeyboardInterrupt
            yield
        finally:
            self._interrupts = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number is None:
            self.number = number
        signal.signal(number, signal.SIG_DFL)
        if self._interrupts:
            raise KeyboardInterrupt
