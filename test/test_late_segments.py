"""Segments that come some frames after their keyframe: carried, and given to the right frame."""

from concurrent.futures import ThreadPoolExecutor
from itertools import count
import os
import sys
import threading
import time

from diffseg_ros.config import PipelineConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.pipeline import Pipeline
from diffseg_ros.settings import updated
from diffseg_ros.threads import one_blas_thread, yield_to_others
from diffseg_ros.types import Frame
import numpy as np
import pytest
from test_pipeline import BrokenOnce, ColourBackbone
from threadpoolctl import threadpool_info

DELAY = 3


def scene(left, number=0):
    """Return a square of noise on a wall of noise, which moves from left to right."""
    random = np.random.default_rng(0)
    rgb = (random.integers(0, 60, (96, 128, 3)) + (20, 40, 160)).astype(np.uint8)
    rgb[32:72, left:left + 40] = random.integers(0, 60, (40, 40, 3)) + (190, 180, 20)
    return Frame(rgb, number * 33_000_000)


def pipeline_of(backbone=None, *, background=False, **values):
    config = updated(PipelineConfig(), {
        'tracking.keyframe_interval': 4, **{name.replace('__', '.'): value
                                            for name, value in values.items()}})
    return Pipeline(config, backbone=backbone or ColourBackbone(), background=background)


def run(pipeline, frames=16):
    return [pipeline.process(scene(8 + 2 * number, number)) for number in range(frames)]


def test_segments_take_effect_after_the_delay():
    results = run(pipeline_of(tracking__segments_delay=DELAY))
    taken = [number for number, result in enumerate(results) if result.keyframe]
    assert taken[:2] == [0, 4 + DELAY]
    assert np.diff(taken[1:]).min() > DELAY
    assert 'features' in results[taken[1]].latency_ms
    assert 'features' not in results[4].latency_ms


def test_carried_segments_lie_on_what_they_are_of():
    pipeline = pipeline_of(tracking__segments_delay=DELAY)
    for number, result in enumerate(run(pipeline)):
        left = 8 + 2 * number
        truth = np.zeros((96, 128), bool)
        truth[32:72, left:left + 40] = True
        assert ((result.labels == result.labels[52, left + 20]) == truth).mean() > 0.97, number
    assert pipeline.track_count == 2


def test_a_fixed_delay_gives_the_same_labels_every_time():
    runs = [run(pipeline_of(tracking__segments_delay=DELAY)) for _ in range(2)]
    for one, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)


def test_images_of_another_size_end_the_wait():
    pipeline = pipeline_of(tracking__segments_delay=DELAY)
    run(pipeline, 5)
    half = [pipeline.process(Frame(np.ascontiguousarray(scene(20, number).rgb[::2, ::2]),
                                   number * 33_000_000)) for number in range(5, 12)]
    assert {result.labels.shape for result in half} == {(48, 64)}
    assert any(result.keyframe for result in half)


class Slow(ColourBackbone):
    """Waits, after the first photo, until it is told to go on."""

    def __init__(self):
        self.go_on = threading.Event()
        self.go_on.set()
        self.seen = 0

    def features(self, rgb):
        self.seen += 1
        assert self.go_on.wait(20)
        return super().features(rgb)


def test_frames_do_not_wait_for_a_keyframe_in_the_background():
    backbone = Slow()
    pipeline = pipeline_of(backbone, background=True)
    first = pipeline.process(scene(8, 0))
    backbone.go_on.clear()
    waiting = [pipeline.process(scene(8 + 2 * number, number)) for number in range(1, 12)]
    assert first.keyframe and not any(result.keyframe for result in waiting)
    assert backbone.seen == 2
    assert (np.unique(waiting[-1].labels) == np.unique(first.labels)).all()
    backbone.go_on.set()
    deadline = time.monotonic() + 60
    number, taken = 12, False
    while not taken and time.monotonic() < deadline:
        taken = pipeline.process(scene(8 + 2 * number, number)).keyframe
        number += 0 if taken else 1
        number = min(number, 36)
        time.sleep(0.01)
    assert taken
    pipeline.finish()


@pytest.mark.skipif(sys.platform != 'linux', reason='of Linux only')
def test_keyframes_in_the_background_leave_short_cores_to_frames():
    here = threading.get_native_id()
    before = os.getpriority(os.PRIO_PROCESS, here)
    with ThreadPoolExecutor(1, initializer=yield_to_others) as pool:
        there = pool.submit(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        assert there.result() == min(19, before + 5)
    assert os.getpriority(os.PRIO_PROCESS, here) == before


@pytest.mark.parametrize('background', [False, True])
def test_a_keyframe_that_fails_is_told_and_others_follow(background):
    backbone = BrokenOnce()
    backbone.broken = False
    pipeline = pipeline_of(backbone, background=background, tracking__segments_delay=2)
    pipeline.process(scene(8, 0))
    backbone.broken = True
    failures = keyframes = 0
    deadline = time.monotonic() + 60
    for number in count(1):
        try:
            keyframes += pipeline.process(scene(8 + min(number, 40), number)).keyframe
        except DiffsegError as error:
            failures += 'NaN' in str(error)
        if keyframes == 2 or time.monotonic() > deadline:
            break
        time.sleep(0.005)
    assert failures == 1 and keyframes == 2


def test_reset_forgets_the_keyframe_in_work():
    backbone = Slow()
    pipeline = pipeline_of(backbone, background=True)
    run(pipeline, 5)
    pipeline.reset()
    result = pipeline.process(scene(8, 20))
    assert result.keyframe and result.epoch == 1
    assert not pipeline.process(scene(8, 21)).keyframe


def test_one_blas_thread_holds_until_the_last_has_left():
    def threads():
        return max(pool['num_threads'] for pool in threadpool_info()
                   if pool['user_api'] == 'blas')

    before, entered, leave = threads(), threading.Event(), threading.Event()

    def other():
        with one_blas_thread():
            entered.set()
            leave.wait(20)

    with one_blas_thread():
        thread = threading.Thread(target=other)
        thread.start()
        entered.wait(20)
    assert threads() == 1
    leave.set()
    thread.join()
    assert threads() == before
