"""Predicted depth through the pipeline: labels stay as they are, frames get depth."""

from dataclasses import replace
from pathlib import Path
import sys
import threading
import time

from diffseg_ros.config import PipelineConfig
from diffseg_ros.depth.base import DepthKind
from diffseg_ros.pipeline import Pipeline
from diffseg_ros.settings import updated
import numpy as np
import pytest
import torch

sys.path.append(str(Path(__file__).with_name('depth')))
from hall import frame  # noqa: E402
from stand_in import KnowingModel  # noqa: E402

WALK = [frame(number, right=0.01 * number, ahead=0.04 * number) for number in range(10)]
BARE = [replace(item, depth=None) for item in WALK]


class ColourBackbone:
    """Stands in for a diffusion model: the feature of a token is its colour."""

    name = 'colour'
    device = torch.device('cpu')

    def features(self, rgb):
        small = torch.from_numpy(rgb[::8, ::8].copy()).permute(2, 0, 1).float()
        return small / 255 + 0.01


def pipeline(model=None, background=False, backbone=None, **settings):
    config = updated(PipelineConfig(), {
        'depth.model': 'it' if model else '', 'tracking.keyframe_interval': 5,
        'tracking.keyframe_change': 1.0} | {
            name.replace('__', '.'): value for name, value in settings.items()})
    return Pipeline(config, backbone=backbone or ColourBackbone(), depth_model=model,
                    background=background)


def error(result, truth):
    return float(np.mean(np.abs(result.frame.depth / truth.depth - 1)))


@pytest.mark.parametrize(('frames', 'use'), [(BARE, 'missing'), (WALK, 'missing'),
                                             (WALK, 'fill'), (WALK, 'always')])
def test_labels_are_the_same_with_and_without_a_depth_model(frames, use):
    with_model = pipeline(KnowingModel(WALK, DepthKind.METRIC), depth__use=use)
    without = pipeline()
    for item in frames[:7]:
        one, other = with_model.process(item), without.process(item)
        assert np.array_equal(one.labels, other.labels)
        assert np.array_equal(one.confidence, other.confidence)
        assert one.tracks == other.tracks
        assert one.frame.depth is not None and other.frame is item


def test_keyframes_are_predicted_and_depth_is_carried_between_them():
    model = KnowingModel(WALK, DepthKind.METRIC)
    moving = pipeline(model)
    results = [moving.process(item) for item in BARE]
    keyframes = [result.keyframe for result in results]
    assert keyframes == [True, *[False] * 4, True, *[False] * 4] and model.seen == 2
    assert all('depth' in result.latency_ms for result in results)
    errors = [error(*pair) for pair in zip(results, WALK, strict=True)]
    assert errors[0] == errors[5] == 0 and max(errors) < 0.03
    # The camera came 16 cm nearer: what is held in place is farther off than what is carried.
    held, carried = (np.median(np.abs(depth / WALK[4].depth - 1))
                     for depth in (WALK[0].depth, results[4].frame.depth))
    assert carried < held / 2
    best = [result.frame.depth_confidence.max() for result in results]
    assert best[0] > best[1] > best[4] and best[5] == best[0]
    assert moving.depth['keyframes'] == '2' and moving.depth['scale_source'] == 'model'


def finish_keyframes(moving, *, depth=True):
    """Wait for what is in work in the background; the next frame gets it."""
    for job in (moving._job, moving._depth_job if depth else None):
        if job is not None:
            job.result.result(60)


@pytest.mark.parametrize('background', [False, True])
def test_late_predictions_are_carried_to_the_frame_that_they_reach(background):
    model = KnowingModel(WALK, DepthKind.METRIC)
    settings = {} if background else {'tracking__segments_delay': 3}
    late = pipeline(model, background=background, **settings)
    results = []
    for item in BARE:
        results.append(late.process(item))
        if background and len(results) in (1, 9):
            finish_keyframes(late)
    late.finish()
    assert model.seen == 2
    errors = [error(*pair) for pair in zip(results[1:], WALK[1:], strict=True)]
    assert max(errors) < 0.06
    taken = next(number for number, result in enumerate(results[1:], 1) if result.keyframe)
    assert taken >= 6 and errors[-1] < 0.03
    assert background or error(results[0], WALK[0]) == 0 and errors[taken - 1] < 0.03


def test_segments_do_not_wait_for_a_slow_depth_model():
    model, go_on = KnowingModel(WALK, DepthKind.METRIC), threading.Event()
    predict = model.predict
    model.predict = lambda rgb: predict(rgb) if go_on.wait(60) else None
    slow, without = (pipeline(one, background=True, tracking__keyframe_interval=2)
                     for one in (model, None))
    keyframes = 0
    for item in BARE[:8]:
        one, other = slow.process(item), without.process(item)
        assert np.array_equal(one.labels, other.labels) and one.tracks == other.tracks
        assert one.frame.depth is None and 'before the model is done' in slow.depth['missing']
        keyframes += one.keyframe
        finish_keyframes(slow, depth=False)
        finish_keyframes(without)
    assert keyframes > 2 and model.seen == 0
    go_on.set()
    finish_keyframes(slow)
    assert model.seen == 1 and error(slow.process(BARE[8]), WALK[8]) < 0.06
    slow.finish()
    without.finish()


def test_models_take_turns_on_a_gpu():
    working, overlaps = threading.Lock(), []

    def alone(work):
        def run(rgb):
            overlaps.append(working.locked())
            with working:
                time.sleep(0.03)
                return work(rgb)
        return run

    backbone, model = ColourBackbone(), KnowingModel(WALK, DepthKind.METRIC)
    backbone.device = torch.device('cuda')
    both = pipeline(model, background=True, tracking__keyframe_interval=1, backbone=backbone)
    both.process(BARE[0])  # its segments are waited for, and so made in this thread
    backbone.features, model.predict = alone(backbone.features), alone(model.predict)
    for item in BARE[1:]:
        both.process(item)
        finish_keyframes(both)
    both.finish()
    assert len(overlaps) > 3 and not any(overlaps)


def test_settings_change_between_frames_and_an_epoch_begins_anew():
    model = KnowingModel(WALK)
    moving = pipeline(model, depth__camera_height=1.2)
    assert moving.process(BARE[0]).frame.depth is not None
    assert moving.depth['scale_source'] == 'ground'
    moving.configure(updated(PipelineConfig(), {
        'depth.model': 'it', 'depth.camera_height': 2.4}))
    moving.reset()
    assert np.median(moving.process(BARE[1]).frame.depth / WALK[1].depth) == pytest.approx(
        2, rel=0.02)
    moving.configure(updated(PipelineConfig(), {'depth.model': 'it'}))
    moving.reset()
    result = moving.process(replace(BARE[2], pose=None))
    assert result.frame.depth is None and moving.depth['missing'].startswith('no scale')
