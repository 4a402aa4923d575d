"""The thread that processes frames, away from the executor."""

from __future__ import annotations

from collections.abc import Callable
import threading

from diffseg_ros.ros.synchronizer import Bundle, Intake


class Worker:
    """Takes bundles from an intake until it closes; one at a time, in order."""

    def __init__(self, intake: Intake, process: Callable[[Bundle], None]) -> None:
        """Keep what to do; `process` must not raise."""
        self._intake = intake
        self._process = process
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Open the intake and begin."""
        self._intake.start()
        self._thread = threading.Thread(target=self._run, name='diffseg_worker', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the intake and wait until the frame in hand is done."""
        self._intake.close()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (bundle := self._intake.take()) is not None:
            self._process(bundle)
