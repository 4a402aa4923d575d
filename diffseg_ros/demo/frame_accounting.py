"""Where every frame of a run went, by the counters of the node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffseg_ros.demo.recorder import NODE
from diffseg_ros.errors import DiffsegError


def node_status(diagnostics: Any) -> dict[str, str]:
    """Return the values that the node reports in a DiagnosticArray of rosbags or rclpy."""
    return {entry.key: entry.value for status in diagnostics.status
            if status.name.startswith(NODE[1:]) for entry in status.values}


def frame_counts(status: Mapping[str, str]) -> dict[str, int]:
    """Return the counters in the node's diagnostics: received, processed and every loss."""
    return {name: int(value) for name, value in status.items()
            if name in ('received', 'processed', 'failed', 'idle') or name.startswith('dropped.')}


def is_settled(counts: Mapping[str, int]) -> bool:
    """Return whether the fate of every frame that the node received is known."""
    return bool(counts) and counts['received'] == sum(counts.values()) - counts['received']


def lost_frames(sent: int, recorded: int, counts: Mapping[str, int]) -> dict[str, int]:
    """
    Return the frames that were sent but not recorded, by cause.

    `transport` holds what the node never received and what it published but the recorder never
    received, `unfinished` what the node still had; the other causes are the node's own.

    Parameters
    ----------
    sent, recorded
        Frames published for the node, and frames whose labels were recorded.
    counts
        What `frame_counts` returned at the end of the run.

    Raises
    ------
    DiffsegError
        The counters are missing, or fewer frames than were recorded.

    """
    if not {'received', 'processed'} <= set(counts):
        raise DiffsegError('/diagnostics: the node sent no counters `received` and `processed` '
                           f'(got {sorted(counts) or "nothing"}); frames cannot be accounted for')
    received, processed = counts['received'], counts['processed']
    lost = {name.removeprefix('dropped.'): count for name, count in counts.items()
            if name not in ('received', 'processed')}
    lost['unfinished'] = received - processed - sum(lost.values())
    lost['transport'] = (sent - received) + (processed - recorded)
    if received > sent or recorded > processed or lost['unfinished'] < 0:
        raise DiffsegError(f'/diagnostics: counters {dict(counts)} contradict {sent} frames sent '
                           f'and {recorded} recorded')
    return {cause: count for cause, count in lost.items() if count}
