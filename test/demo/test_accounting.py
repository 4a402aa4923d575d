"""No frame is lost without a cause, and no stamp is invented."""

from __future__ import annotations

import struct

from diffseg_ros.demo.accounting import account_for, check_stamps, losses
from diffseg_ros.demo.recorder import DIAGNOSTICS, LABELS, POINTS, RECORDED
from diffseg_ros.demo.spool import Spool, SpoolWriter
from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.message_types import typestore
from hypothesis import given
from hypothesis import strategies as st
import pytest

counts = st.integers(0, 50)
STAMPS = [1_700_000_000_900_000_000 + 100_000_000 * number for number in range(5)]


def stamped(stamp: int) -> bytes:
    """Return the beginning of any message with a header."""
    return b'\0\1\0\0' + struct.pack('<iI', *divmod(stamp, 10**9)) + b'\0' * 8


def diagnostics(values: dict[str, int | str]) -> bytes:
    types = typestore().types
    status = types['diagnostic_msgs/msg/DiagnosticStatus'](
        0, 'diffseg: pipeline', '', '',
        [types['diagnostic_msgs/msg/KeyValue'](key, str(item)) for key, item in values.items()])
    time = types['builtin_interfaces/msg/Time'](0, 0)
    message = types['diagnostic_msgs/msg/DiagnosticArray'](
        types['std_msgs/msg/Header'](time, ''), [status])
    return bytes(typestore().serialize_cdr(message, RECORDED[DIAGNOSTICS]))


def make_spool(path, messages):
    writer = SpoolWriter(path, list(RECORDED))
    for topic, received, data in messages:
        writer.write(topic, received, data)
    writer.close()
    return Spool(path, list(RECORDED))


@given(lost_in=counts, lost_out=counts, recorded=counts, unfinished=counts, failed=counts,
       idle=counts, own=st.dictionaries(st.sampled_from(['superseded', 'late']), counts))
def test_causes_add_up_to_what_is_missing(lost_in, lost_out, recorded, unfinished, failed, idle,
                                          own):
    processed = recorded + lost_out
    received = processed + unfinished + failed + idle + sum(own.values())
    sent = received + lost_in
    found = losses(sent, recorded, {
        'received': received, 'processed': processed, 'failed': failed, 'idle': idle,
        **{f'dropped.{cause}': count for cause, count in own.items()}})
    assert sum(found.values()) + recorded == sent
    assert found.get('transport', 0) == lost_in + lost_out
    assert found.get('unfinished', 0) == unfinished
    assert all(found.values())


@pytest.mark.parametrize('sent, recorded, received, processed', [
    (10, 5, 11, 5), (10, 6, 10, 5), (10, 5, 4, 5)])
def test_contradictions_are_refused(sent, recorded, received, processed):
    with pytest.raises(DiffsegError, match='contradict'):
        losses(sent, recorded, {'received': received, 'processed': processed})


def test_a_silent_node_cannot_be_accounted_for():
    with pytest.raises(DiffsegError, match='no counters'):
        losses(10, 0, {})


def test_account_of_a_recording(tmp_path):
    spool = make_spool(tmp_path / 'spool', [
        (DIAGNOSTICS, 1, diagnostics({'received': 1, 'processed': 0, 'model': 'm'})),
        (LABELS, STAMPS[1] + 50, stamped(STAMPS[1])),
        (LABELS, STAMPS[3] + 70, stamped(STAMPS[3])),
        (LABELS, STAMPS[3] + 90, stamped(STAMPS[3])),
        (DIAGNOSTICS, 2, diagnostics({'received': 4, 'processed': 3, 'dropped.superseded': 1}))])
    account = account_for(spool, STAMPS)
    assert account.processed == (1, 3) and account.ages == (50, 70)
    assert account.dropped == {'superseded': 1, 'transport': 2}
    assert account.facts['model'] == 'm'


@pytest.mark.parametrize('topic', [LABELS, POINTS])
def test_an_invented_stamp_is_refused_by_name(tmp_path, topic):
    spool = make_spool(tmp_path / 'spool', [(topic, 1, stamped(STAMPS[0])),
                                            (topic, 2, stamped(STAMPS[0] + 1))])
    with pytest.raises(DiffsegError, match=f'{topic}: 1 messages'):
        check_stamps(spool, STAMPS)


def test_a_spool_cut_off_in_the_middle_keeps_what_is_whole(tmp_path):
    make_spool(tmp_path / 'spool', [(LABELS, number, bytes([number]) * 100)
                                    for number in range(3)])
    content = (tmp_path / 'spool').read_bytes()
    for cut, whole in ((len(content) - 1, 2), (len(content) - 110, 2), (150, 1), (10, 0)):
        (tmp_path / 'cut').write_bytes(content[:cut])
        kept = list(Spool(tmp_path / 'cut', list(RECORDED)).messages())
        assert [bytes(item.data) for item in kept] == [
            bytes([number]) * 100 for number in range(whole)]
