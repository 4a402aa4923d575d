"""Pipelines that end in the middle of a recording and start again with what was saved."""

from diffseg_ros.backbones.loader import load_backbone
from diffseg_ros.config import PipelineConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.source import open_source
from diffseg_ros.pipeline import Pipeline
from diffseg_ros.settings import updated
from diffseg_ros.tracking.memory_file import read_memory
import numpy as np
import pytest

BEFORE, AFTER = 24, 5
PLACES = 'redkitchen', 'tum_fr1_rpy'


@pytest.fixture(scope='module')
def backbone():
    return load_backbone(PipelineConfig().backbone)


def frames(folder, name, count):
    return [item.frame for _, item in zip(range(count), open_source(folder / name
                                                                    ).numbered_frames())]


@pytest.fixture(scope='module')
def runs(real_sequences, backbone, tmp_path_factory):
    """Return, for each place, the file, the frames after it, and the results without a restart."""
    made = {}
    for name in PLACES:
        pipeline = Pipeline(backbone=backbone)
        seen = frames(real_sequences, name, BEFORE + AFTER)
        for frame in seen[:BEFORE]:
            pipeline.process(frame)
        file = tmp_path_factory.mktemp(name) / 'memory.safetensors'
        pipeline.save(file)
        made[name] = file, seen[BEFORE:], [pipeline.process(frame) for frame in seen[BEFORE:]]
    return made


def restarted(backbone, file):
    pipeline = Pipeline(backbone=backbone)
    pipeline.load(file)
    return pipeline


def kept(before, after, saved):
    """Return whether each saved id kept it, of those covered by one segment (IoU above 0.5)."""
    found = []
    for number in np.intersect1d(np.unique(before), saved):
        mask = before == number
        others, shared = np.unique(after[mask], return_counts=True)
        best = others[shared.argmax()]
        if mask.mean() >= 0.002 and shared.max() > 0.5 * (mask | (after == best)).sum():
            found.append(best == number)
    return found


@pytest.mark.parametrize('name', PLACES)
def test_things_keep_their_ids_over_a_restart(runs, backbone, name):
    file, seen, whole = runs[name]
    saved = read_memory(file).ids
    pipeline = restarted(backbone, file)
    same = [one for frame, result in zip(seen, whole)
            for one in kept(result.labels, pipeline.process(frame).labels, saved)]
    assert len(same) > 50 and np.mean(same) >= 0.8
    assert pipeline.memory['memory_places'] == 'found'
    assert int(pipeline.memory['memory_found_again']) >= 15


@pytest.mark.parametrize('name,other', [PLACES, PLACES[::-1], (PLACES[0], 'replica_office0'),
                                        (PLACES[1], 'replica_office0')])
def test_in_another_place_nothing_gets_an_old_id(runs, backbone, real_sequences, name, other):
    file = runs[name][0]
    pipeline = restarted(backbone, file)
    for frame in frames(real_sequences, other, 12)[::4]:
        assert not np.isin(pipeline.process(frame).labels, read_memory(file).ids).any()
    assert pipeline.memory['memory_found_again'] == '0'


class Colour:
    """Stands in for a model: the feature of a token is its colour."""

    name, device = 'colour', 'cpu'

    def features(self, rgb):
        import torch
        return torch.from_numpy(rgb[::8, ::8].copy()).permute(2, 0, 1).float() / 255 + 0.01


def scene():
    from diffseg_ros.types import Frame
    rgb = np.full((96, 128, 3), (20, 40, 160), np.uint8)
    rgb[32:72, 40:80] = (230, 200, 20)
    return Frame(rgb)


@pytest.mark.parametrize('kind', ['missing', 'truncated', 'other model', 'other timestep'])
def test_a_refused_file_changes_nothing(tmp_path, kind):
    pipeline = Pipeline(backbone=Colour())
    pipeline.process(scene())
    good, bad = tmp_path / 'good', tmp_path / 'bad'
    if kind != 'missing':
        writer = Pipeline(backbone=Colour())
        if kind == 'other model':
            writer.backbone.name = 'taste'
        if kind == 'other timestep':
            writer.configure(updated(PipelineConfig(), {'backbone.timestep': 7}))
        writer.process(scene())
        writer.save(bad)
    if kind == 'truncated':
        bad.write_bytes(bad.read_bytes()[:-3])
    pipeline.save(good)
    before = good.read_bytes(), pipeline.next_id, pipeline.memory
    with pytest.raises(DiffsegError, match=str(bad)) as caught:
        pipeline.load(bad)
    assert '\n' not in str(caught.value)
    pipeline.save(good)
    assert (good.read_bytes(), pipeline.next_id, pipeline.memory) == before
    result = pipeline.process(scene())
    assert result.epoch == 0 and not result.keyframe


def test_a_file_of_another_place_is_left_as_it_is(tmp_path):
    from diffseg_ros.tracking.saved_places import PlaceState
    pipeline = Pipeline(backbone=Colour())
    file = tmp_path / 'memory'
    assert 'not there yet' in pipeline.load_at_start(str(file))
    assert 'no tracks' in pipeline.save_at_end(str(file)) and not file.exists()
    assert pipeline.save(file) == 0 == Pipeline(backbone=Colour()).load(file)
    pipeline.process(scene())
    assert '2 tracks saved' in pipeline.save_at_end(str(file))
    again = Pipeline(backbone=Colour())
    assert '2 tracks loaded' in again.load_at_start(str(file))
    content = file.read_bytes()
    again._tracker._propagator.saved.state = PlaceState.REFUSED
    assert 'another place' in again.save_at_end(str(file)) and file.read_bytes() == content
