"""The synchroniser keeps the newest frame, pairs by stamp and counts every image."""

from __future__ import annotations

from collections import Counter
import threading
from types import SimpleNamespace

from diffseg_ros.ros.counters import Counters, in_flight
from diffseg_ros.ros.messages import stamp_of  # noqa: E402
from diffseg_ros.ros.synchronizer import FrameSynchronizer
from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

MS = 1_000_000


class Clock:
    """A clock that only moves when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def message(stamp_ms: float, name: str = '') -> SimpleNamespace:
    stamp = round(stamp_ms * MS)
    return SimpleNamespace(name=name, header=SimpleNamespace(
        stamp=SimpleNamespace(sec=stamp // 10**9, nanosec=stamp % 10**9), frame_id='camera'))


class Rig:
    """An open synchroniser with a clock to turn."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.counters = Counters()
        self.synchronizer = FrameSynchronizer(self.counters, timeout=0.1, clock=self.clock)
        self.synchronizer.start()

    def image(self, stamp_ms: float, *, wanted: bool = True, enabled: bool = True) -> None:
        outputs = {'labels'} if wanted else set()
        self.synchronizer.add_image(message(stamp_ms), outputs, enabled=enabled)

    def depth(self, stamp_ms: float) -> None:
        self.synchronizer.add_depth(message(stamp_ms))

    def info(self, stamp_ms: float) -> None:
        self.synchronizer.add_camera_info(message(stamp_ms))

    def take(self):
        return self.synchronizer.take(wait=False)

    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    def give_up_waiting(self) -> None:
        """Send images without partners until nothing is waited for."""
        for number in range(3):
            self.image(number)
            self.wait(0.11)
            assert self.take() is not None

    @property
    def totals(self) -> Counter[str]:
        return self.counters.totals()

    @property
    def dropped(self) -> dict[str, int]:
        """Return the images dropped by cause."""
        return {key.partition('.')[2]: count for key, count in self.totals.items()
                if key.startswith('dropped.')}


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_complete_frame_is_ready_at_once_whatever_the_order(rig):
    rig.depth(1000)
    rig.image(1000)
    assert rig.take() is None
    rig.info(1000)
    messages = rig.take()
    assert (messages.stamp, messages.outputs) == (1000 * MS, {'labels'})
    assert messages.depth is not None and messages.camera_info is not None


def test_missing_depth_is_waited_for_100_ms_and_no_longer(rig):
    rig.info(1000)
    rig.image(1000)
    rig.wait(0.099)
    assert rig.take() is None
    rig.wait(0.002)
    messages = rig.take()
    assert messages.depth is None and messages.camera_info is not None


def test_depth_that_comes_late_but_in_time_is_used(rig):
    rig.info(1000)
    rig.image(1000)
    rig.wait(0.09)
    rig.depth(1000)
    assert rig.take().depth is not None


def test_absent_topics_delay_three_images_and_no_more(rig):
    rig.give_up_waiting()
    rig.image(1000)
    assert rig.take() is not None


def test_waiting_resumes_when_a_partner_comes_in_time(rig):
    rig.give_up_waiting()
    rig.image(1000)
    rig.info(1000)
    assert rig.take().depth is None
    rig.wait(0.02)
    rig.depth(1000)
    rig.info(1033)
    rig.image(1033)
    assert rig.take() is None
    rig.wait(0.02)
    rig.depth(1033)
    assert rig.take().depth is not None


def test_depth_of_other_stamps_never_delays_for_ever_and_its_skew_is_known(rig):
    for number in range(20):
        rig.depth(1000 + 33 * number - 7)
        rig.info(1000 + 33 * number)
        rig.image(1000 + 33 * number)
        if number < 3:
            rig.wait(0.11)
        assert rig.take().depth is None
    assert rig.synchronizer.depth.offset == -7 * MS


def test_latched_camera_info_serves_every_image(rig):
    rig.info(40)
    rig.give_up_waiting()
    rig.image(5000)
    assert rig.take().camera_info is not None


def test_newer_complete_frame_replaces_the_older(rig):
    rig.give_up_waiting()
    for stamp in (1000, 1033, 1066):
        rig.image(stamp)
    assert rig.take().stamp == 1066 * MS
    assert rig.take() is None
    assert rig.dropped == {'superseded': 2}


def test_newer_incomplete_image_leaves_the_older_its_chance(rig):
    rig.image(1000)
    rig.wait(0.033)
    rig.image(1033)
    rig.info(1000)
    rig.depth(1000)
    assert rig.take().stamp == 1000 * MS
    rig.info(1033)
    rig.depth(1033)
    assert rig.take().depth is not None
    assert rig.dropped == {}


def test_stamps_far_from_any_clock_are_used(rig):
    rig.give_up_waiting()
    for stamp in (10**12, 10**12 + 3_600_000, 10**12 + 3_600_010):
        rig.image(stamp)
        assert rig.take().stamp == stamp * MS
    assert rig.synchronizer.epoch == 0


def test_jump_back_begins_an_epoch_with_that_message(rig):
    rig.give_up_waiting()
    rig.image(10_000)
    assert rig.take().epoch == 0
    rig.image(9_499)
    messages = rig.take()
    assert (messages.stamp, messages.epoch) == (9_499 * MS, 1)
    rig.image(9_532)
    assert rig.take().epoch == 1
    assert rig.dropped == {}


def test_small_step_back_is_late_and_a_repetition_a_duplicate(rig):
    rig.give_up_waiting()
    for stamp in (10_000, 10_033, 10_010, 9_533, 10_033, 10_000):
        rig.image(stamp)
    assert rig.dropped == {'superseded': 1, 'late': 2, 'duplicate': 2}
    assert rig.synchronizer.epoch == 0


def test_looped_recording_gets_the_same_pairs_each_time(rig):
    pairs = []
    for _ in range(3):
        for stamp in range(0, 3000, 100):
            rig.depth(stamp)
            rig.info(stamp)
            rig.image(stamp)
            messages = rig.take()
            pairs.append((messages.epoch, messages.stamp, messages.depth is not None))
    assert pairs == [(epoch, stamp * MS, True) for epoch in range(3)
                     for stamp in range(0, 3000, 100)]


def test_depth_of_the_old_epoch_is_not_paired(rig):
    rig.synchronizer.add_depth(message(1200, 'old'))
    for stamp in (1000, 3000):
        rig.depth(stamp)
        rig.info(stamp)
        rig.image(stamp)
        assert rig.take() is not None
    rig.depth(1000)
    rig.image(1200)
    assert rig.synchronizer.epoch == 1
    rig.wait(0.11)
    assert rig.take().depth is None


def test_unwanted_images_are_idle_and_disabled_ones_dropped(rig):
    rig.image(1000, wanted=False)
    rig.image(1033, wanted=False)
    rig.image(1066, enabled=False)
    assert rig.take() is None
    assert (rig.totals['idle'], rig.dropped) == (2, {'disabled': 1})


def test_closing_drops_what_waits_and_wakes_the_worker(rig):
    taken = []
    worker = threading.Thread(target=lambda: taken.append(rig.synchronizer.take()), daemon=True)
    worker.start()
    rig.image(1000)
    rig.synchronizer.close()
    worker.join(5)
    assert taken == [None]
    rig.image(1033)
    assert rig.dropped == {'deactivated': 2}
    assert in_flight(rig.totals) == 0


def test_reopening_begins_an_epoch_and_forgets_the_stamps(rig):
    rig.give_up_waiting()
    rig.synchronizer.close()
    rig.synchronizer.start()
    rig.image(1)
    rig.wait(0.11)
    assert rig.take().epoch == 1


def test_endless_images_are_not_piled_up_while_the_worker_is_busy(rig):
    for number in range(1000):
        rig.image(1000 + number)
    assert in_flight(rig.totals) <= 34


EVENTS = st.lists(st.tuples(
    st.sampled_from(['image', 'image', 'depth', 'info', 'wait', 'take', 'unwanted', 'restart',
                     'reopen']),
    st.integers(0, 3000)), max_size=80)


@settings(max_examples=150, deadline=None)
@given(EVENTS)
def test_every_image_is_accounted_for(events):
    rig = Rig()
    taken = []
    for action, value in events:
        if action == 'image':
            rig.image(value)
        elif action == 'unwanted':
            rig.image(value, wanted=False)
        elif action in ('depth', 'info'):
            getattr(rig, action)(value)
        elif action == 'wait':
            rig.wait(value / 10_000)
        elif action == 'restart':
            rig.synchronizer.restart()
        elif action == 'reopen':
            rig.synchronizer.close()
            rig.synchronizer.start()
        elif (messages := rig.take()) is not None:
            taken.append(messages)
    rig.wait(1)
    while (messages := rig.take()) is not None:
        taken.append(messages)
    totals = rig.totals
    assert totals['received'] == len(taken) + totals['idle'] + totals['dropped']
    order = [(messages.epoch, messages.stamp) for messages in taken]
    assert order == sorted(set(order))
    for messages in taken:
        assert messages.depth is None or stamp_of(messages.depth) == messages.stamp


def test_tolerance_takes_the_nearest_depth_once_none_nearer_can_come(rig):
    rig.synchronizer.depth.tolerance = 20 * MS
    rig.depth(985)
    rig.info(1000)
    rig.image(1000)
    assert rig.take() is None
    rig.depth(1010)
    assert rig.take().depth.header.stamp.nanosec == 10 * MS
    rig.info(1033)
    rig.depth(1033)
    rig.image(1033)
    assert rig.take().depth.header.stamp.nanosec == 33 * MS


def test_tolerance_waits_no_longer_than_the_timeout_and_refuses_what_lies_beyond(rig):
    rig.synchronizer.depth.tolerance = 20 * MS
    rig.depth(985)
    rig.info(1000)
    rig.image(1000)
    rig.wait(0.101)
    assert rig.take().depth is not None
    rig.depth(1100)
    rig.info(1200)
    rig.image(1200)
    rig.wait(0.101)
    assert rig.take().depth is None
    assert rig.synchronizer.depth.offset == -100 * MS


def test_half_rate_depth_serves_both_images_within_the_tolerance(rig):
    rig.synchronizer.depth.tolerance = 20 * MS
    depths = []
    for number in range(10):
        stamp = 1000 + 33 * number
        if number % 2 == 0:
            rig.depth(stamp + 16)
        rig.info(stamp)
        rig.image(stamp)
        rig.wait(0.101)
        depths.append(rig.take().depth)
    assert all(depth is not None for depth in depths)


def test_tolerance_forgets_the_depth_of_the_old_epoch(rig):
    rig.synchronizer.depth.tolerance = 50 * MS
    rig.depth(5000)
    rig.info(5000)
    rig.image(5000)
    assert rig.take().depth is not None
    rig.depth(5040)
    rig.image(1000)
    rig.wait(0.2)
    assert rig.take().depth is None


@pytest.mark.parametrize(('rate', 'camera', 'expected'), [
    (10, 30, 10), (5, 30, 5), (12, 30, 12), (30, 30, 30), (100, 30, 30), (7.5, 15, 7.5)])
def test_rate_limit_holds_on_average_in_spite_of_jitter(rig, rate, camera, expected):
    rig.give_up_waiting()
    rig.synchronizer.min_period = round(1e9 / rate)
    frames = camera * 20
    taken = 0
    for number in range(frames):
        jitter = (number * 7 % 5 - 2) * 0.5
        rig.image(1000 + 1000 * number / camera + jitter)
        taken += rig.take() is not None
    assert taken == pytest.approx(expected * 20, rel=0.02, abs=1)
    assert rig.dropped.get('rate_limit', 0) == frames - taken


def test_rate_limit_begins_anew_with_an_epoch(rig):
    rig.give_up_waiting()
    rig.synchronizer.min_period = 100 * MS
    for stamp in (10_000, 1_000, 1_050, 1_100):
        rig.image(stamp)
    assert rig.dropped == {'rate_limit': 1, 'superseded': 2}


def test_stamps_of_two_clocks_in_turn_are_unstable_and_loops_of_a_bag_are_not(rig):
    for number in range(4):
        rig.image(100 * number)
        rig.image(9000 + 100 * number)
    assert rig.synchronizer.unstable_stamps and rig.synchronizer.epoch == 3
    for number in range(4, 14):
        rig.image(9000 + 100 * number)
    assert not rig.synchronizer.unstable_stamps
    for _ in range(5):
        for number in range(12):
            rig.image(100 * number)
    assert not rig.synchronizer.unstable_stamps and rig.synchronizer.epoch == 8
    for _ in range(5):
        rig.synchronizer.restart()
        rig.image(0)
    assert not rig.synchronizer.unstable_stamps
