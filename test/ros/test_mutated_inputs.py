"""Two hundred broken frames over real topics: each ends as an output or is named and counted."""

from __future__ import annotations

import array
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import given, HealthCheck, settings
from hypothesis import strategies as st
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
from node_rig import camera_info, Client, depth, image, own_domain, Rig  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

EXAMPLES = 200
ENCODINGS = ['rgb8', 'bgr8', 'rgba8', 'bgra8', 'mono8', 'mono16', '16UC1', '32FC1', '64FC1',
             '8UC2', 'bayer_rggb8', 'yuv422', 'nv21', 'RGB8', '', 'rgb8\x00', 'ü' * 40]
NUMBERS = st.sampled_from([float('nan'), float('inf'), -float('inf'), 0.0, -1.0, 1e-300, 1e300])
SIZES = st.sampled_from([0, 1, 2, 3, 47, 65, 640, 2**16, 2**31 - 1, 2**32 - 1])

Mutation = Callable[[Any], None]


def put(name: str, value: Any) -> Mutation:
    return lambda message: setattr(message, name, value)


def cut(share: float) -> Mutation:
    def mutate(message: Any) -> None:
        message.data = message.data[:int(len(message.data) * share)]
    return mutate


def fill(value: int, extra: int) -> Mutation:
    def mutate(message: Any) -> None:
        message.data = array.array('B', bytes([value]) * (len(message.data) + extra))
    return mutate


def stamp(seconds: int, nanoseconds: int) -> Mutation:
    def mutate(message: Any) -> None:
        message.header.stamp.sec, message.header.stamp.nanosec = seconds, nanoseconds
    return mutate


def frame_id(name: str) -> Mutation:
    return lambda message: setattr(message.header, 'frame_id', name)


def matrix(index: int, value: float) -> Mutation:
    def mutate(message: Any) -> None:
        message.k[index] = value
    return mutate


STAMPS = st.builds(stamp, st.sampled_from([0, 1, -1, -2**31, 10**9, 2**31 - 1]),
                   st.sampled_from([0, 1, 999_999_999, 2**32 - 1]))
HEADERS = STAMPS | st.builds(frame_id, st.sampled_from(['', '/camera', 'other', 'x' * 300]))
IMAGES = (st.builds(put, st.just('encoding'), st.sampled_from(ENCODINGS))
          | st.builds(put, st.sampled_from(['width', 'height', 'step']), SIZES)
          | st.builds(put, st.just('is_bigendian'), st.just(1))
          | st.builds(cut, st.sampled_from([0.0, 0.1, 0.5, 0.999]))
          | st.builds(fill, st.sampled_from([0, 127, 255]), st.sampled_from([0, 1, 1000]))
          | HEADERS)
INFOS = (st.builds(matrix, st.integers(0, 8), NUMBERS)
         | st.builds(put, st.sampled_from(['width', 'height']), SIZES)
         | st.builds(put, st.just('d'), st.lists(NUMBERS, max_size=15))
         | st.builds(put, st.just('distortion_model'),
                     st.sampled_from(['', 'equidistant', 'rational_polynomial', 'nonsense']))
         | HEADERS)
FRAMES = st.tuples(st.lists(IMAGES, max_size=3), st.lists(IMAGES, max_size=3),
                   st.lists(INFOS, max_size=2), st.booleans())


class Feeder:
    """Sends frames to a node and looks at where each of them went."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.client: Client = rig.start('-p', 'diagnostics_period:=0.1',
                                        '-p', 'sync_timeout:=0.02')
        self.client.subscribe('labels', 'points', 'overlay')
        self.client.ready()
        self.sent = 0

    def feed(self, mutations: tuple) -> dict[str, int]:
        """Send a frame and return by how much the counters rose."""
        before = self.counts()
        number = self.sent
        metres = np.full((48, 64), 1.5) if mutations[3] else None
        messages = (camera_info(number), depth(number, metres=metres), image(number))
        for message, changes in zip(messages, (mutations[2], mutations[1], mutations[0])):
            for change in changes:
                change(message)
        for publisher, message in zip((self.client.infos, self.client.depths,
                                       self.client.images), messages):
            publisher.publish(message)
        self.sent += 1
        self.client.settled(self.sent)
        return {name: count - before.get(name, 0) for name, count in self.counts().items()
                if count != before.get(name, 0)}

    def counts(self) -> dict[str, int]:
        return {name: int(value) for name, value in self.client.values.items()
                if name in ('received', 'processed', 'failed', 'idle')
                or name.startswith(('dropped.', 'fault.'))}


@pytest.fixture(scope='module')
def feeder(tmp_path_factory) -> Iterator[Feeder]:
    with own_domain() as domain:
        rig = Rig(domain, tmp_path_factory.mktemp('mutated'), reliable=True)
        yield Feeder(rig)
        rig.close()


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@given(FRAMES)
def test_broken_frame_ends_as_an_output_or_is_named_and_counted(feeder, mutations):
    client = feeder.client
    labels = len(client.got['labels'])
    rise = feeder.feed(mutations)
    assert feeder.rig.process.poll() is None, feeder.rig.log
    assert rise.pop('received') == 1
    fates = {name: count for name, count in rise.items() if not name.startswith('fault.')}
    assert sum(fates.values()) == 1, fates
    if fates == {'processed': 1}:
        client.until(lambda: len(client.got['labels']) == labels + 1)
    else:
        assert len(client.got['labels']) == labels
        assert client.sentence and (client.values['last_failure'] or 'failed' not in fates)
    assert '\n' not in client.sentence


def test_node_is_as_good_as_new_afterwards(feeder):
    client = feeder.client
    assert client.call(Trigger, 'reset', Trigger.Request()).success
    for _ in range(4):
        assert feeder.feed(([], [], [], False)) == {'received': 1, 'processed': 1}
    client.until(lambda: client.sentence.startswith('processing'))
    assert feeder.sent >= EXAMPLES
    client.got['points'].clear()
    feeder.feed(([], [], [], True))
    client.until(lambda: client.got['points'])
    assert 'Traceback' not in feeder.rig.log and 'callback failed' not in feeder.rig.log
