"""What the diagnostics say, in the log: for those who have no viewer of /diagnostics."""

from __future__ import annotations

from collections.abc import Callable
import time

from diffseg_ros.error_text import without_numbers
from diffseg_ros.ros.status import ERROR, OK, WARN
from rclpy.impl.rcutils_logger import RcutilsLogger

_QUIET_SECONDS = 60.0
_LOGGED_ELSEWHERE = ('model not loaded', 'not configured because', 'not activated because',
                     'the last image failed', 'masks without clouds', 'shut down')
_TOO_SOON = ('no image yet', 'no more images')


class Narrator:
    """
    Logs a sentence when two reports in a row say it and it is not what was logged last.

    Numbers do not make another sentence of it, and none is repeated within a minute. What the
    node logs where it happens is left out.
    """

    def __init__(self, logger: RcutilsLogger, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without having said anything."""
        # rclpy keeps one severity for each line that logs.
        self._log = {
            ERROR: lambda sentence: logger.error(sentence),
            WARN: lambda sentence: logger.warning(sentence),
            OK: lambda sentence: logger.info(sentence)}
        self._clock = clock
        self._last = self._said = (OK, '')
        self._said_at: dict[tuple[int, str], float] = {}

    def report(self, level: int, sentence: str) -> None:
        """Take the sentence of the next report."""
        current = level, without_numbers(sentence)
        lasts, self._last = current == self._last, current
        if not lasts or current == self._said or sentence.startswith(_LOGGED_ELSEWHERE):
            return
        if level == OK and sentence.startswith(_TOO_SOON):
            return
        now, self._said = self._clock(), current
        self._said_at = {key: at for key, at in self._said_at.items() if now - at < _QUIET_SECONDS}
        if current not in self._said_at:
            self._said_at[current] = now
            self._log[level](sentence)
