"""The node's state in one sentence, in particular why nothing comes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import time
from typing import Any

from diffseg_ros.error_text import without_numbers

OK, WARN, ERROR = 0, 1, 2
"""Levels of diagnostic_msgs/DiagnosticStatus."""
SILENCE_SECONDS = 2.0
"""Without images for longer than this, the status says why."""
_BUSY_SECONDS = 10.0
_FAILED_STEPS = {'loading': ('model not loaded', 'configure'),
                 'configuring': ('not configured', 'configure'),
                 'activating': ('not activated', 'activate')}
_REPEAT_SECONDS = 60.0
_LOGGED_ELSEWHERE = ('model not loaded', 'not configured because', 'not activated because',
                     'the last image failed', 'masks without clouds', 'shut down')
_NOT_YET_A_PROBLEM = 'waiting for the first image'


@dataclass(frozen=True)
class ProcessingStatus:
    """How the frames processed last went; reasons are '' where there is no problem."""

    failure: str = ''
    naming_failure: str = ''
    depth_failure: str = ''
    no_cloud_reason: str = ''
    unencodable: int = 0  # ids without a label value
    busy_seconds: float = 0.0  # for which the current frame has been processed
    output_rate: float = 0.0  # frames per second


@dataclass(frozen=True)
class NodeStatus:
    """Everything that `status_message` depends on; texts are '' where there is nothing to say."""

    state: str = 'unconfigured'  # of the lifecycle, or 'configuring' while the model loads
    failed_step: str = ''  # 'loading', 'configuring' or 'activating'
    step_error: str = ''
    enabled: bool = True
    image_topic: str = ''
    no_images_reason: str = ''
    images: int = 0  # received so far
    seconds_without_image: float = 0.0  # since the last one, or since activation
    refused: str = ''  # 'late' or 'duplicate' when all images since the last report were
    unstable_stamps: bool = False
    no_frame_id: bool = False  # in the newest image
    namesake: str = ''  # the node's name, where another node has it too
    subscribed: bool = False  # to any output
    points_subscribed: bool = False
    labels_encoding: str = '16UC1'
    label_pool_size: int = 0
    input_rate: float = 0.0  # images per second
    processing: ProcessingStatus = ProcessingStatus()


def status_message(status: NodeStatus) -> tuple[int, str]:
    """Return the diagnostic level and the sentence."""
    level, text = (_lifecycle_message(status) or _input_message(status)
                   or _output_message(status))
    if level == OK and status.state == 'active' and (remark := _remark(status)):
        return WARN, f'{text}; {remark}'
    return level, text


def _lifecycle_message(status: NodeStatus) -> tuple[int, str] | None:
    if status.step_error:
        failed, action = _FAILED_STEPS[status.failed_step]
        return ERROR, (f'{failed} because: {status.step_error}; correct the parameter and '
                       f'{action} again')
    if status.state == 'configuring':
        return OK, 'loading the model'
    if status.state == 'inactive':
        return WARN, 'configured but not active: activate the node to process images'
    if status.state == 'finalized':
        return OK, 'shut down'
    if status.state != 'active':
        return WARN, 'not configured: configure and activate the node, or set autostart'
    if not status.enabled:
        return WARN, 'disabled: call ~/enable with true to process images'
    return None


def _remark(status: NodeStatus) -> str:
    """Return what should be known of a node that works."""
    if status.namesake:
        return (f'another node is named {status.namesake} too: give one of them another name '
                '(-r __node:=NAME) or namespace (-r __ns:=/NAME)')
    if status.no_frame_id and status.points_subscribed:
        return (f'the images on {status.image_topic} have no frame_id, so RViz cannot show the '
                'clouds: set it in the camera driver')
    return ''


def _input_message(status: NodeStatus) -> tuple[int, str] | None:
    if status.seconds_without_image > SILENCE_SECONDS:
        missing = 'no more images' if status.images else 'no image yet'
        return WARN, (f'{missing} on {status.image_topic} for '
                      f'{status.seconds_without_image:.0f} s: {status.no_images_reason}')
    if not status.images:
        return OK, f'waiting for the first image on {status.image_topic}'
    if status.refused == 'duplicate':
        return WARN, (f'all images on {status.image_topic} carry the same stamp: the camera '
                      'driver must set header.stamp')
    if status.refused == 'late' or status.unstable_stamps:
        return WARN, (f'images on {status.image_topic} are stamped before their predecessors: '
                      'does more than one publisher use this topic?')
    return None


def _output_message(status: NodeStatus) -> tuple[int, str]:
    processing = status.processing
    if not status.subscribed:
        return OK, 'idle: nobody subscribes to an output'
    if processing.busy_seconds > _BUSY_SECONDS:
        return ERROR, (f'an image has been in processing for {processing.busy_seconds:.0f} s: the '
                       'model is too slow for this device, or it hangs')
    if processing.failure:
        return ERROR, f'the last image failed: {processing.failure}'
    if processing.unencodable and status.label_pool_size:
        return WARN, (f'{processing.unencodable} ids are unlabelled because all '
                      f'{status.label_pool_size} values of label_pool_size are in use: raise it '
                      'if the consumer has more labels')
    if processing.unencodable:
        return WARN, (f'{processing.unencodable} ids have no value in {status.labels_encoding} '
                      'and are unlabelled: set labels_encoding to 32SC1')
    if processing.naming_failure:
        return WARN, f'segments get no new names: {processing.naming_failure}'
    rates = f'{processing.output_rate:.1f} Hz out of {status.input_rate:.1f} Hz'
    if processing.no_cloud_reason:
        level = WARN if status.points_subscribed else OK
        return level, f'masks without clouds at {rates}: {processing.no_cloud_reason}'
    if processing.depth_failure:
        return WARN, f'clouds of measured depth only: {processing.depth_failure}'
    return OK, f'processing {rates}'


class StatusLogger:
    """
    Logs the status for those who have no viewer of /diagnostics.

    A message is logged when two reports in a row have it and it differs from the one logged
    last, in more than numbers. None is repeated within a minute. Messages that the node logs
    when they arise are left out.
    """

    def __init__(self, logger: Any, clock: Callable[[], float] = time.monotonic) -> None:
        # rclpy allows only one severity for each line of code that logs.
        self._log = {
            ERROR: lambda message: logger.error(message),
            WARN: lambda message: logger.warning(message),
            OK: lambda message: logger.info(message)}
        self._clock = clock
        self._last = self._logged = (OK, '')
        self._logged_at: dict[tuple[int, str], float] = {}

    def report(self, level: int, message: str) -> None:
        """Take the next report, and log it if it is due."""
        current = level, without_numbers(message)
        lasts, self._last = current == self._last, current
        if not lasts or current == self._logged or message.startswith(_LOGGED_ELSEWHERE):
            return
        if level == OK and message.startswith(_NOT_YET_A_PROBLEM):
            return
        self._logged = current
        now = self._clock()
        if now - self._logged_at.get(current, -_REPEAT_SECONDS) >= _REPEAT_SECONDS:
            self._logged_at[current] = now
            self._log[level](message)
