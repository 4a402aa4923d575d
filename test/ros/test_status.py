"""The sentence of the diagnostics, and what of it goes into the log."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

from diffseg_ros.ros.status import (
    ERROR,
    NodeStatus,
    OK,
    ProcessingStatus,
    status_message,
    StatusLogger,
    WARN,
)
import pytest

GOOD = NodeStatus(state='active', image_topic='/rgb/image_raw', no_images_reason='why', images=9,
                  subscribed=True, points_subscribed=True, input_rate=10.0)
PROCESSING = ProcessingStatus(output_rate=4.0)


@pytest.mark.parametrize(('change', 'level', 'part'), [
    ({}, OK, 'processing 4.0 Hz out of 10.0 Hz'),
    ({'state': 'unconfigured', 'failed_step': 'loading', 'step_error': 'no such folder'}, ERROR,
     'model not loaded because: no such folder; correct the parameter and configure again'),
    ({'state': 'unconfigured', 'failed_step': 'configuring', 'step_error': 'no mask'}, ERROR,
     'not configured because: no mask; correct the parameter and configure again'),
    ({'state': 'inactive', 'failed_step': 'activating', 'step_error': 'bad QoS'}, ERROR,
     'not activated because: bad QoS; correct the parameter and activate again'),
    ({'failed_step': 'activating'}, OK, 'processing'),
    ({'state': 'unconfigured'}, WARN, 'not configured'),
    ({'state': 'configuring'}, OK, 'loading'),
    ({'state': 'inactive'}, WARN, 'not active'),
    ({'state': 'finalized'}, OK, 'shut down'),
    ({'enabled': False}, WARN, 'disabled'),
    ({'images': 0, 'no_images_reason': 'nobody publishes it', 'seconds_without_image': 12.4}, WARN,
     'no image yet on /rgb/image_raw for 12 s: nobody publishes it'),
    ({'naming_failure': 'no room'}, WARN, 'segments get no new names: no room'),
    ({'depth_failure': 'no room'}, WARN, 'clouds of measured depth only: no room'),
    ({'busy_seconds': 12.0}, ERROR, 'in processing for 12 s'),
    ({'images': 0, 'seconds_without_image': 0.5}, OK,
     'waiting for the first image on /rgb/image_raw'),
    ({'no_frame_id': True}, WARN, 'processing 4.0 Hz out of 10.0 Hz; the images on /rgb/image_raw '
     'have no frame_id'),
    ({'no_frame_id': True, 'points_subscribed': False}, OK, 'processing'),
    ({'namesake': '/diffseg', 'subscribed': False}, WARN, 'another node is named /diffseg too'),
    ({'namesake': '/diffseg', 'failure': 'x'}, ERROR, 'the last image failed: x'),
    ({'seconds_without_image': 7.0, 'failure': 'old'}, WARN,
     'no more images on /rgb/image_raw for 7 s'),
    ({'refused': 'duplicate'}, WARN, 'carry the same stamp'),
    ({'refused': 'late'}, WARN, 'stamped before their predecessors'),
    ({'subscribed': False, 'failure': 'old'}, OK, 'nobody subscribes'),
    ({'failure': "encoding 'x'"}, ERROR, "the last image failed: encoding 'x'"),
    ({'unstable_stamps': True}, WARN, 'does more than one publisher use this topic?'),
    ({'unencodable': 3}, WARN, '3 ids have no value in 16UC1'),
    ({'unencodable': 3, 'labels_encoding': '32SC1', 'label_pool_size': 20}, WARN,
     '3 ids are unlabelled because all 20 values of label_pool_size are in use: raise it'),
    ({'no_cloud_reason': 'no depth on /d'}, WARN, 'masks without clouds at 4.0 Hz'),
    ({'no_cloud_reason': 'no depth on /d', 'points_subscribed': False}, OK, 'no depth on /d')])
def test_sentence(change, level, part):
    own = {name: change[name] for name in change if not hasattr(PROCESSING, name)}
    processing = {name: change[name] for name in change if name not in own}
    got_level, sentence = status_message(
        replace(GOOD, **own, processing=replace(PROCESSING, **processing)))
    assert got_level == level
    assert part in sentence
    assert '\n' not in sentence


class Rig:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.now = 0.0
        log = SimpleNamespace(**{name: lambda text, name=name: self.lines.append(
            f'{name}: {text}') for name in ('error', 'warning', 'info')})
        self._logger = StatusLogger(log, clock=lambda: self.now)

    def say(self, *reports: tuple[int, str]) -> list[str]:
        """Report once a second; return what was logged meanwhile."""
        self.lines.clear()
        for level, sentence in reports:
            self.now += 1
            self._logger.report(level, sentence)
        return list(self.lines)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_every_level_can_follow_every_other_in_the_log_of_ros(capfd):
    logging = pytest.importorskip('rclpy.logging', reason='rclpy is not installed')
    logger = StatusLogger(logging.get_logger('logger'))
    for level in (OK, WARN, ERROR, OK, ERROR, WARN, OK):
        for _ in range(2):
            logger.report(level, f'words of level {level}')
    logged = capfd.readouterr().err
    for level, name in ((OK, 'INFO'), (WARN, 'WARN'), (ERROR, 'ERROR')):
        assert f'[{name}]' in logged and f'[logger]: words of level {level}' in logged


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
    assert rig.say(*[(OK, 'waiting for the first image on /a')] * 3) == []
