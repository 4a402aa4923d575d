"""No frame is lost without a cause, and no stamp is invented."""

from __future__ import annotations

import struct

from diffseg_ros.demo.frame_accounting import lost_frames
from diffseg_ros.demo.recorder import DIAGNOSTICS, LABELS, POINTS, RECORDED
from diffseg_ros.demo.run_results import read_results
from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.bag_writer import BagWriter
from diffseg_ros.io.messages import typestore
from diffseg_ros.types import Frame
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

counts = st.integers(0, 50)
STAMPS = [1_700_000_000_900_000_000 + 100_000_000 * number for number in range(5)]
FRAMES = [Frame(np.zeros((2, 2, 3), np.uint8), stamp) for stamp in STAMPS]


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


def write_log(path, messages):
    with BagWriter(path) as log:
        for topic, received, data in messages:
            log.write_raw(topic, RECORDED[topic], received, data)
    return path


@given(lost_in=counts, lost_out=counts, recorded=counts, unfinished=counts, failed=counts,
       idle=counts, own=st.dictionaries(st.sampled_from(['superseded', 'late']), counts))
def test_causes_add_up_to_what_is_missing(lost_in, lost_out, recorded, unfinished, failed, idle,
                                          own):
    processed = recorded + lost_out
    received = processed + unfinished + failed + idle + sum(own.values())
    sent = received + lost_in
    found = lost_frames(sent, recorded, {
        'received': received, 'processed': processed, 'failed': failed, 'idle': idle,
        **{f'dropped.{cause}': count for cause, count in own.items()}})
    assert sum(found.values()) + recorded == sent
    assert found.get('transport', 0) == lost_in + lost_out
    assert found.get('unfinished', 0) == unfinished
    assert all(found.values())


@pytest.mark.parametrize('sent, recorded, received, processed', [
    (10, 5, 11, 5), (10, 6, 10, 5), (10, 5, 4, 5)])
def test_contradictions_and_silence_are_refused(sent, recorded, received, processed):
    with pytest.raises(DiffsegError, match='contradict'):
        lost_frames(sent, recorded, {'received': received, 'processed': processed})
    with pytest.raises(DiffsegError, match='no counters'):
        lost_frames(sent, 0, {})


def test_results_of_a_recording(tmp_path):
    log = write_log(tmp_path / 'log.mcap', [
        (DIAGNOSTICS, 1, diagnostics({'received': 1, 'processed': 0, 'model': 'm'})),
        (LABELS, STAMPS[1] + 50_000_000, stamped(STAMPS[1])),
        (POINTS, STAMPS[2] + 60_000_000, stamped(STAMPS[2])),
        (LABELS, STAMPS[3] + 70_000_000, stamped(STAMPS[3])),
        (POINTS, STAMPS[3] + 80_000_000, stamped(STAMPS[3])),
        (LABELS, STAMPS[3] + 90_000_000, stamped(STAMPS[3])),
        (DIAGNOSTICS, STAMPS[4],
         diagnostics({'received': 4, 'processed': 3, 'dropped.superseded': 1}))])
    results = read_results(None, FRAMES, log)
    assert results.processed == [1, 3] and results.ages_ms == {1: 50, 3: 70}
    assert results.with_cloud == [3]
    assert results.dropped == {'superseded': 1, 'transport': 2}
    assert results.status['model'] == 'm'


@pytest.mark.parametrize('topic', [LABELS, POINTS])
def test_an_invented_stamp_is_refused_by_name(tmp_path, topic):
    log = write_log(tmp_path / 'log.mcap', [(topic, 1, stamped(STAMPS[0])),
                                            (topic, 2, stamped(STAMPS[0] + 1))])
    with pytest.raises(DiffsegError, match=f'{topic}: message with stamp {STAMPS[0] + 1} ns'):
        read_results(None, FRAMES, log)
