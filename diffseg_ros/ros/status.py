"""One plain sentence for how the node is, and why nothing comes out if nothing does."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARN, ERROR = 0, 1, 2
"""Levels of diagnostic_msgs/DiagnosticStatus."""
SILENCE_SECONDS = 2.0
"""Images that stay away longer than this are missed."""
_BUSY_SECONDS = 10.0
_FAILED = {'loading': ('model not loaded', 'configure'),
           'configuring': ('not configured', 'configure'),
           'activating': ('not activated', 'activate')}


@dataclass(frozen=True)
class Situation:
    """
    What `explain` needs to know.

    Attributes
    ----------
    state
        Primary lifecycle state, 'configuring' while the model loads.
    failed_step, step_error
        What failed last, 'loading', 'configuring' or 'activating', and why, '' when nothing did.
    seconds_waited
        Seconds since the last image, or since activation while there was none.
    silence
        What keeps the images away, as far as the graph says; used when none come.
    busy_seconds
        How long the image in hand has been worked on.
    refused
        Cause of the images dropped since the last report when no other came: 'late',
        'duplicate' or ''.
    restless
        Stamps jump back every few images.
    failure
        Why the last frame failed, '' when it did not.
    cloud_trouble
        Why the last frame gave no cloud, '' when it did.
    label_pool_size
        Number of values that ids share by the parameter of that name, 0 without one.
    unencodable
        Ids of the last frame that there was no value for.

    """

    state: str = 'unconfigured'
    failed_step: str = ''
    step_error: str = ''
    enabled: bool = True
    image_topic: str = ''
    silence: str = 'nobody publishes it'
    images: int = 0
    seconds_waited: float = 0.0
    refused: str = ''
    restless: bool = False
    subscribed: bool = False
    points_subscribed: bool = False
    failure: str = ''
    cloud_trouble: str = ''
    labels_encoding: str = '16UC1'
    label_pool_size: int = 0
    unencodable: int = 0
    busy_seconds: float = 0.0
    input_rate: float = 0.0
    output_rate: float = 0.0


def explain(now: Situation) -> tuple[int, str]:
    """Return the diagnostic level and the sentence."""
    return _explain_state(now) or _explain_input(now) or _explain_output(now)


def _explain_state(now: Situation) -> tuple[int, str] | None:
    if now.step_error:
        what, again = _FAILED[now.failed_step]
        return ERROR, f'{what} because: {now.step_error}; correct the parameter and {again} again'
    if now.state == 'configuring':
        return OK, 'loading the model'
    if now.state == 'inactive':
        return WARN, 'configured but not active: activate the node to process images'
    if now.state == 'finalized':
        return OK, 'shut down'
    if now.state != 'active':
        return WARN, 'not configured: configure and activate the node, or set autostart'
    if not now.enabled:
        return WARN, 'disabled: call ~/enable with true to process images'
    return None


def _explain_input(now: Situation) -> tuple[int, str] | None:
    if now.seconds_waited > SILENCE_SECONDS or not now.images:
        since = 'no more images' if now.images else 'no image yet'
        level = WARN if now.seconds_waited > SILENCE_SECONDS else OK
        return level, (f'{since} on {now.image_topic} for {now.seconds_waited:.0f} s: '
                       f'{now.silence}')
    if now.refused == 'duplicate':
        return WARN, f'all images on {now.image_topic} carry the same stamp: set header.stamp'
    if now.refused == 'late' or now.restless:
        return WARN, (f'images on {now.image_topic} are stamped before their predecessors: '
                      'does more than one publisher use this topic?')
    return None


def _explain_output(now: Situation) -> tuple[int, str]:
    if not now.subscribed:
        return OK, 'idle: nobody subscribes to an output'
    if now.busy_seconds > _BUSY_SECONDS:
        return ERROR, (f'an image has been in processing for {now.busy_seconds:.0f} s: the model '
                       'is too slow for this device, or it hangs')
    if now.failure:
        return ERROR, f'the last image failed: {now.failure}'
    if now.unencodable:
        return WARN, _explain_unencodable(now)
    rates = f'{now.output_rate:.1f} Hz out of {now.input_rate:.1f} Hz'
    if now.cloud_trouble:
        level = WARN if now.points_subscribed else OK
        return level, f'masks without clouds at {rates}: {now.cloud_trouble}'
    return OK, f'processing {rates}'


def _explain_unencodable(now: Situation) -> str:
    if now.label_pool_size:
        return (f'{now.unencodable} ids are unlabelled because all {now.label_pool_size} values '
                'of label_pool_size are in use: raise it if the consumer has more labels')
    return (f'{now.unencodable} ids have no value in {now.labels_encoding} and are unlabelled: '
            'set labels_encoding to 32SC1')
