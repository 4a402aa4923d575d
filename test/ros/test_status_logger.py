"""The log says what the diagnostics say, once."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
from diffseg_ros.ros.status import ERROR, OK, WARN  # noqa: E402
from diffseg_ros.ros.status_logger import Narrator  # noqa: E402
from rclpy.logging import get_logger  # noqa: E402


class Rig:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.now = 0.0
        logger = SimpleNamespace(**{name: lambda text, name=name: self.lines.append(
            f'{name}: {text}') for name in ('error', 'warning', 'info')})
        self._narrator = Narrator(logger, clock=lambda: self.now)

    def say(self, *reports: tuple[int, str]) -> list[str]:
        """Report once a second; return what was logged meanwhile."""
        self.lines.clear()
        for level, sentence in reports:
            self.now += 1
            self._narrator.report(level, sentence)
        return list(self.lines)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_every_level_can_follow_every_other_in_the_log_of_ros(capfd):
    narrator = Narrator(get_logger('narrator'))
    for level in (OK, WARN, ERROR, OK, ERROR, WARN, OK):
        for _ in range(2):
            narrator.report(level, f'words of level {level}')
    logged = capfd.readouterr().err
    for level, name in ((OK, 'INFO'), (WARN, 'WARN'), (ERROR, 'ERROR')):
        assert f'[{name}]' in logged and f'[narrator]: words of level {level}' in logged


def test_a_sentence_that_lasts_is_logged_once_whatever_its_numbers(rig):
    silent = [(WARN, f'no image yet on /a for {seconds} s: nobody') for seconds in range(3, 90)]
    assert rig.say(*silent) == ['warning: no image yet on /a for 4 s: nobody']
    assert rig.say((OK, 'processing 9.5 Hz'), (OK, 'processing 10.0 Hz')) == [
        'info: processing 10.0 Hz']
    assert rig.say((ERROR, 'it hangs'), (ERROR, 'it hangs')) == ['error: it hangs']


def test_what_passes_or_comes_and_goes_does_not_fill_the_log(rig):
    assert rig.say((WARN, 'not active'), (OK, 'processing 1 Hz'), (OK, 'processing 2 Hz')) == [
        'info: processing 2 Hz']
    flicker = [(OK, 'idle')] * 2 + [(OK, 'processing 2 Hz')] * 2
    assert rig.say(*flicker * 10) == ['info: idle']
    rig.now += 60
    assert rig.say((OK, 'idle'), (OK, 'idle')) == ['info: idle']


def test_what_is_logged_where_it_happens_and_the_first_seconds_are_left_out(rig):
    for sentence in ('the last image failed: x', 'model not loaded because: x',
                     'masks without clouds at 1 Hz out of 1 Hz: x'):
        assert rig.say(*[(ERROR, sentence)] * 3) == []
    assert rig.say(*[(OK, 'no image yet on /a for 1 s: nobody')] * 3) == []
