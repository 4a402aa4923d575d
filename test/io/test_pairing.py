"""Which depth and camera_info an image of a bag gets, compared with the rule in one line."""

from __future__ import annotations

from bisect import bisect_right
import struct

from bag_recipes import MS
from diffseg_ros.geometry.transforms import TransformTree
from diffseg_ros.io.bag import MessagePairing
from diffseg_ros.io.bag_reader import ChosenTopics
from hypothesis import given
from hypothesis import strategies as st
import pytest

TOPICS = ChosenTopics('rgb', 'depth', 'info', [], [], [])
MOMENTS = st.integers(0, 400)
TOLERANCES = st.sampled_from([0, 1, 20, 50])


def pairs(items, tolerance, **options):
    """Return (stamp, depth, camera_info) of each image; `items` are topic, stamp, log time, ms."""
    messages = [(topic, log * MS, struct.pack('<4siIi', b'\0\1\0\0', *divmod(stamp * MS, 10**9),
                                              number))
                for number, (topic, stamp, log) in enumerate(items)]
    messages.sort(key=lambda message: message[1])
    pairing = MessagePairing(TOPICS, None, TransformTree(), tolerance * MS, **options)

    def told(data):
        return None if data is None else struct.unpack_from('<i', data, 12)[0]
    return [(image.stamp // MS, told(image.depth), told(image.camera_info))
            for image in pairing.pair(messages)]


def nearest(stamp, others, tolerance):
    """Return the nearest of other stamps, the earlier of two; None where it is too far away."""
    other = min(others, key=lambda other: (abs(other - stamp), other), default=None)
    return None if other is None or abs(other - stamp) > tolerance else other


@given(images=st.lists(st.tuples(MOMENTS, st.integers(0, 500)), max_size=30),
       depths=st.lists(st.tuples(MOMENTS, st.integers(-5000, 20_000)), max_size=30,
                       unique_by=lambda depth: depth[0]),
       infos=st.lists(MOMENTS, max_size=10, unique=True), tolerance=TOLERANCES)
def test_every_image_gets_the_nearest_depth_and_the_last_camera_info(images, depths, infos,
                                                                     tolerance):
    items = [('rgb', stamp, stamp + 6000 + late) for stamp, late in images]
    items += [('depth', stamp, stamp + 6000 + late) for stamp, late in depths]
    items += [('info', stamp, stamp + 6000) for stamp in infos]
    found = pairs(items, tolerance)
    stamps, moments = [stamp for stamp, _ in depths], sorted(infos)
    assert [stamp for stamp, _, _ in found] == sorted(stamp for stamp, _ in images)
    for stamp, depth, info in found:
        assert (None if depth is None else items[depth][1]) == nearest(stamp, stamps, tolerance)
        before = moments[:bisect_right(moments, stamp)]
        assert (None if info is None else items[info][1]) == (before[-1] if before else None)


@given(period=st.integers(5, 700), late=st.lists(st.integers(0, 19_000), min_size=16, max_size=16),
       offset=st.integers(0, 2), extra=st.sampled_from([1, 3]))
def test_depth_that_is_late_and_out_of_order_is_found_and_used_once(period, late, offset, extra):
    items = [('rgb', period * n, period * n) for n in range(16)]
    items += [('depth', period * n + offset, period * n + delay) for n, delay in enumerate(late)]
    items += [('depth', period * n + period // 2, period * n) for n in range(16) if extra > 1]
    assert [depth for _, depth, _ in pairs(items, 2)] == list(range(16, 32))


@pytest.mark.parametrize('late', [400, 600, 1500, 3000])
@pytest.mark.parametrize('tolerance', [0, 20])
def test_one_depth_behind_all_others(late, tolerance):
    items = [('rgb', 100 * n, 100 * n) for n in range(60)]
    items += [('depth', 100 * n, 100 * n + late * (n == 20)) for n in range(60)]
    assert [depth for _, depth, _ in pairs(items, tolerance)] == list(range(60, 120))


def test_fast_depth_loses_none():
    items = [('rgb', 33 * n, 33 * n) for n in range(100)]
    items += [('depth', 11 * n, 11 * n) for n in range(300)]
    assert [depth for _, depth, _ in pairs(items, 0)] == list(range(100, 400, 3))


@given(stamp=st.sampled_from([0, 5000]), period=st.integers(41, 700),
       late=st.lists(st.integers(-20, 20), min_size=12, max_size=12))
def test_equal_stamps_pair_by_recording_time(stamp, period, late):
    items = [('rgb', stamp, 1000 + period * n) for n in range(12)]
    items += [('depth', stamp, 1000 + period * n + delay) for n, delay in enumerate(late)]
    assert [depth for _, depth, _ in pairs(items, 20, by_recording_time=True)] == list(
        range(12, 24))


@pytest.mark.parametrize('gap', [700, 5000])
@pytest.mark.parametrize('missing', [(), (3,), (0, 5)])
def test_depth_of_a_loop_goes_to_its_own_loop(gap, missing):
    items = [(topic, 100 * n, 100 * n + turn * (600 + gap)) for turn in range(3)
             for n in range(8) for topic in ('depth', 'rgb') if topic == 'rgb' or n not in missing]
    for _, depth, _ in pairs(items, 20):
        assert depth is None or items[depth][0] == 'depth'
    turns = [None if depth is None else items[depth][2] // (600 + gap)
             for _, depth, _ in pairs(items, 20)]
    assert turns == [None if n in missing else turn for turn in range(3) for n in range(8)]
