"""Names in the pipeline: which frames look, in which thread, and what words find."""

from __future__ import annotations

from diffseg_ros import pipeline as pipeline_module
from diffseg_ros.config import PipelineConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.pipeline import Pipeline
from diffseg_ros.settings import updated
from diffseg_ros.types import Frame
import numpy as np
import pytest
from stub_naming import ColourBackbone, ColourModel

BACKGROUND = (20, 40, 200)
RED, GREEN = (220, 20, 20), (20, 200, 40)
SETTINGS = {'segmentation.cut.position': 0.0, 'naming.model': 'stub', 'naming.budget': 2,
            'naming.vocabulary': ('red', 'green', 'blue')}


@pytest.fixture
def model(monkeypatch):
    made = ColourModel()
    monkeypatch.setattr(pipeline_module, 'load_naming_model', lambda *_: made)
    return made


def create(model, *, background=False, **settings):
    config = updated(PipelineConfig(), {**SETTINGS, **settings})
    return Pipeline(config, backbone=ColourBackbone(), background=background)


def scene(number, colour=RED):
    rgb = np.full((96, 128, 3), BACKGROUND, np.uint8)
    if colour:
        rgb[24:72, 40:90] = colour
    return Frame(rgb, number * 10**8)


def named(result):
    return {track.name for track in result.tracks if track.pixels}


def test_tracks_are_named_in_the_keyframe_itself(model):
    result = create(model).process(scene(0))
    assert named(result) == {'red', 'blue'} and 'naming' in result.latency_ms
    object_ = next(track for track in result.tracks if track.name == 'red')
    assert object_.name_score > 0.7
    np.testing.assert_allclose(object_.embedding, np.array(RED) / 255, atol=0.02)


def test_the_budget_bounds_the_pictures_of_a_keyframe(model):
    pipeline = create(model, **{'naming.budget': 1, 'tracking.keyframe_interval': 1})
    assert named(pipeline.process(scene(0))) == {'', 'blue'} and model.looked == 1
    assert named(pipeline.process(scene(1))) == {'red', 'blue'} and model.looked == 2


def test_frames_without_segments_are_not_looked_at(model):
    pipeline = create(model)
    pipeline.process(scene(0))
    looked = model.looked
    assert not pipeline.process(scene(1)).keyframe and model.looked == looked
    assert named(pipeline.process(scene(2))) == {'red', 'blue'}


def test_off_nothing_is_named_and_words_cannot_be_looked_for(model):
    pipeline = create(model, **{'naming.model': ''})
    result = pipeline.process(scene(0))
    assert named(result) == {''} and 'naming' not in result.latency_ms
    with pytest.raises(DiffsegError, match=r'naming is off; set naming\.model'):
        pipeline.find('red')


def test_a_slow_model_does_not_delay_frames(model):
    model.free.clear()
    pipeline = create(model, background=True, **{'tracking.keyframe_interval': 1})
    results = [pipeline.process(scene(number)) for number in range(6)]
    assert all(named(result) <= {''} for result in results)
    model.free.set()
    for number in range(6, 200):
        result = pipeline.process(scene(number))
        if named(result) == {'red', 'blue'}:
            break
    assert named(result) == {'red', 'blue'}


def test_a_model_that_fails_is_counted_and_frames_go_on(model):
    model.broken = True
    pipeline = create(model)
    assert named(pipeline.process(scene(0))) == {''}
    assert pipeline.naming['naming_failed'] == '2'
    assert 'the model is broken' in pipeline.naming['naming_failure']


def test_another_vocabulary_renames_without_new_pictures(model):
    pipeline = create(model)
    pipeline.process(scene(0))
    looked = model.looked
    pipeline.configure(updated(PipelineConfig(), {
        **SETTINGS, 'naming.vocabulary': ('green', 'blue', 'mauve')}))
    assert named(pipeline.process(scene(1))) == {'unknown', 'blue'} and model.looked == looked
    assert pipeline.naming['naming_words_unknown'] == 'mauve'
    with pytest.raises(DiffsegError, match='vocabulary none.yaml'):
        pipeline.configure(updated(PipelineConfig(), {
            **SETTINGS, 'naming.vocabulary': ('none.yaml',)}))
    assert named(pipeline.process(scene(2))) == {'unknown', 'blue'}


def test_a_reset_forgets_names(model):
    pipeline = create(model)
    first = pipeline.process(scene(0))
    pipeline.reset()
    second = pipeline.process(scene(1))
    assert named(second) == {'red', 'blue'}
    assert not {track.id for track in first.tracks} & {track.id for track in second.tracks}


def test_words_rank_all_tracks_also_those_out_of_view(model):
    pipeline = create(model, **{'tracking.keyframe_interval': 1})
    for number in range(5):
        before = pipeline.process(scene(number))
    object_ = next(track.id for track in before.tracks if track.name == 'red')
    for number in range(5, 8):
        after = pipeline.process(scene(number, None))
    assert all(track.pixels == 0 for track in after.tracks if track.id == object_)
    found = pipeline.find('red')
    best, *others = found.matches
    assert found.best == [object_] and found.words == 'red'
    assert best.id == object_ and best.score > 0.7 > others[0].score
    with pytest.raises(DiffsegError, match="'mauve': colours does not know what that is"):
        pipeline.find('mauve')


def test_words_that_are_looked_for_are_in_every_result_until_it_ends(model):
    pipeline = create(model)
    pipeline.look_for('green')
    assert pipeline.process(scene(0, GREEN)).found.matches[0].score > 0.7
    assert pipeline.process(scene(1, GREEN)).found.matches[0].score > 0.7
    pipeline.look_for('')
    assert pipeline.process(scene(2, GREEN)).found is None
