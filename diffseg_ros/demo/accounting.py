"""Where every frame of the run went, and whether what came out belongs to what went in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diffseg_ros.demo.player import frame_counts
from diffseg_ros.demo.recorder import DIAGNOSTICS, LABELS, NODE, RECORDED
from diffseg_ros.demo.spool import Spool
from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.message_types import deserialise, header_stamp


@dataclass(frozen=True)
class Account:
    """
    The fate of every frame; sent = len(processed) + sum(dropped.values()).

    Attributes
    ----------
    processed
        Numbers of the frames whose labels were recorded, in order.
    dropped
        Frames without recorded labels, by cause.
    ages
        Nanoseconds from a frame's stamp until its labels came in, as in `processed`.
    facts
        The node's last diagnostics.

    """

    sent: int
    processed: tuple[int, ...]
    dropped: dict[str, int]
    ages: tuple[int, ...]
    facts: dict[str, str]


def account_for(spool: Spool, stamps: Sequence[int]) -> Account:
    """
    Compare a recording with the stamps that were sent.

    Raises
    ------
    DiffsegError
        Something published has a stamp that was never sent, or the counters contradict
        what was recorded.

    """
    check_stamps(spool, stamps)
    numbers = {stamp: number for number, stamp in enumerate(stamps)}
    arrivals: dict[int, int] = {}
    for item in spool.messages(LABELS):
        stamp = header_stamp(item.data)
        arrivals.setdefault(numbers[stamp], item.received - stamp)
    processed = tuple(sorted(arrivals))
    facts = last_diagnostics(spool)
    dropped = losses(len(stamps), len(processed), frame_counts(facts))
    return Account(len(stamps), processed, dropped,
                   tuple(arrivals[number] for number in processed), facts)


def check_stamps(spool: Spool, stamps: Sequence[int]) -> None:
    """Raise DiffsegError if any output has a stamp that no input had."""
    known = set(stamps)
    for topic in RECORDED:
        if topic == DIAGNOSTICS:
            continue
        strange = [stamp for item in spool.messages(topic)
                   if (stamp := header_stamp(item.data)) not in known]
        if strange:
            raise DiffsegError(f'{topic}: {len(strange)} messages have a stamp that no input '
                               f'frame had (first: {strange[0]} ns); the node must copy the '
                               'stamp of its input')


def last_diagnostics(spool: Spool) -> dict[str, str]:
    """Return the node's last word on everything it ever reported, {} if it said nothing."""
    values: dict[str, str] = {}
    for item in spool.messages(DIAGNOSTICS):
        message = deserialise(bytes(item.data), RECORDED[DIAGNOSTICS])
        for status in message.status:
            if status.name.startswith(NODE[1:]):
                values |= {entry.key: entry.value for entry in status.values}
    return values


def losses(sent: int, recorded: int, counts: dict[str, int]) -> dict[str, int]:
    """
    Return the frames that were sent but not recorded, by cause.

    `transport` holds what the node never received and what it published but the recorder
    never got; the other causes are the node's own.

    Raises
    ------
    DiffsegError
        The counters say that fewer frames came in or went out than did.

    """
    if not {'received', 'processed'} <= set(counts):
        raise DiffsegError('/diagnostics: no counters `received` and `processed` came from the '
                           f'node (got {sorted(counts) or "nothing"}); frames cannot be '
                           'accounted for')
    received, processed = counts['received'], counts['processed']
    own = {name.removeprefix('dropped.'): count for name, count in counts.items()
           if name not in ('received', 'processed') and count}
    unfinished = received - processed - sum(own.values())
    transport = (sent - received) + (processed - recorded)
    if received > sent or recorded > processed or unfinished < 0:
        raise DiffsegError(f'/diagnostics: counters {counts} contradict {sent} frames sent and '
                           f'{recorded} recorded')
    rest = {'unfinished': unfinished, 'transport': transport}
    return own | {cause: count for cause, count in rest.items() if count}
