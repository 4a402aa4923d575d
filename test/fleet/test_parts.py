from dataclasses import replace
from types import SimpleNamespace

from diffseg_ros.errors import DiffsegError, UsageError
from diffseg_ros.fleet.index import Row
from diffseg_ros.fleet.part_results import JoinedPipeline, part_writer
from diffseg_ros.fleet.parts import PartRow, parts_of, PartsInWork
from diffseg_ros.fleet.recordings import Part, Recording
from diffseg_ros.tracking.memory_file import Memory, write_memory
from diffseg_ros.types import Frame, Result, Track, TrackState
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

OVERLAP = 4


@given(st.integers(1, 500), st.integers(1, 200), st.integers(0, 40))
def test_parts_cover_all_frames_once_and_overlap(count, length, overlap):
    parts = parts_of(count, length, overlap)
    kept = [place for part in parts for place in range(part.begin, part.end)]
    assert kept == list(range(count))
    for before, part in zip(parts, parts[1:], strict=False):
        assert part.first == part.begin - overlap >= before.begin
    assert parts[0].first == 0


class Striped:
    """Labels two stripes that move to the right, by ids of its own; fails at one frame."""

    model, naming = {'model': 'striped'}, {'naming_failed': '1'}
    depth = {'keyframes': '3', 'failed': '0', 'kind': 'metric'}

    def __init__(self, left, right, fails_at=None, voxels=(), world='map', jumps_at=99):
        self.ids, self.fails_at, self.voxels, self.world = (left, right), fails_at, voxels, world
        self.jumps_at = jumps_at

    def save(self, path):
        keys, ids = np.array(self.voxels, np.int64).reshape(-1, 2).T
        none, flags = np.zeros(2, np.int32), np.zeros(2, bool)
        write_memory(path, Memory(
            'striped', self.world, 100, np.array(sorted(self.ids), np.int32), none, none, none,
            flags, flags, np.zeros((2, 4), np.float32), np.zeros((2, 2, 3)), keys,
            ids.astype(np.int32), np.ones(len(ids), np.int16)))

    def process(self, frame):
        if frame.stamp == self.fails_at:
            raise DiffsegError('broken')
        labels = np.full((8, 64), self.ids[1], np.int32)
        labels[:, :10 + frame.stamp] = self.ids[0]
        labels[0, 0] = -1
        tracks = tuple(Track(one, TrackState.CONFIRMED, 1, 0, 9) for one in sorted(self.ids))
        return Result(frame, labels, np.full((8, 64), 200, np.uint8),
                      int(frame.stamp >= self.jumps_at), {'total': 1.0}, tracks=tracks)


def frames(count):
    return [Frame(np.full((8, 64, 3), number, np.uint8), stamp=number) for number in range(count)]


def joined(folder, pipelines, parts, given):
    for part, pipeline in zip(parts, pipelines, strict=True):
        with part_writer(folder, part, pipeline) as writer:
            for place in range(part.first, part.end):
                writer.process(place, given[place])
    return JoinedPipeline(folder, parts)


@pytest.mark.parametrize(('second', 'fails_at'), [((1, 2), None), ((2, 1), None), ((7, 3), 9)])
def test_ids_go_on_from_part_to_part(tmp_path, second, fails_at):
    given_frames, parts = frames(20), [Part(0, 0, 0, 10), Part(1, 6, 10, 20)]
    pipeline = joined(tmp_path / 'parts', [Striped(1, 2, fails_at), Striped(*second, fails_at)],
                      parts, given_frames)
    whole = Striped(1, 2)
    for frame in given_frames:
        if frame.stamp == fails_at:
            with pytest.raises(DiffsegError, match='broken'):
                pipeline.process(frame)
            continue
        result, wanted = pipeline.process(frame), whole.process(frame)
        assert result.frame.rgb is frame.rgb and result.epoch == 0
        np.testing.assert_array_equal(result.labels, wanted.labels)
        assert [track.id for track in result.tracks] == [1, 2]
    assert pipeline.track_count == 2 and pipeline.model == Striped.model
    assert pipeline.naming == {'naming_failed': '2'} and pipeline.seconds > 0
    assert pipeline.depth == {'keyframes': '6', 'failed': '0', 'kind': 'metric'}
    with pytest.raises(UsageError, match='changed'):
        pipeline.process(given_frames[0])


def test_what_is_elsewhere_in_the_next_part_gets_new_ids(tmp_path):
    given_frames, parts = frames(12), [Part(0, 0, 0, 6), Part(1, 6, 6, 12)]
    pipeline = joined(tmp_path / 'parts', [Striped(1, 2), Striped(1, 2)], parts, given_frames)
    ids = [{track.id for track in pipeline.process(frame).tracks} for frame in given_frames]
    assert ids == 6 * [{1, 2}] + 6 * [{3, 4}] and pipeline.track_count == 4


@pytest.mark.parametrize(('world', 'jumps_at', 'wanted'), [
    ('map', 99, [[1, 2], [3, 2], [1, 2]]), ('', 99, [[1, 2], [3, 4], [5, 6]]),
    ('map', 4, [[1, 2], [3, 4], [5, 4]])])
def test_what_comes_back_to_its_place_keeps_its_id(tmp_path, world, jumps_at, wanted):
    given_frames = frames(9)
    parts = [Part(number, 3 * number, 3 * number, 3 * number + 3) for number in range(3)]
    voxels = [((10, 1), (11, 1), (20, 2)), ((20, 8), (21, 8), (30, 7)), ((10, 5), (20, 6))]
    pipeline = joined(tmp_path / 'parts', [
        Striped(1, 2, voxels=voxels[0], world=world),
        Striped(7, 8, voxels=voxels[1], world=world, jumps_at=jumps_at),
        Striped(5, 6, voxels=voxels[2], world=world)], parts, given_frames)
    found = []
    for frame in given_frames:
        result = pipeline.process(frame)
        found.append([result.labels[1, 0], result.labels[1, -1]])
        assert result.epoch == (frame.stamp >= jumps_at)
    assert found == [ids for ids in wanted for _ in range(3)]


def test_depth_that_the_pipeline_made_is_kept_and_a_changed_recording_is_told(tmp_path):
    given_frames, part = frames(2), Part(0, 0, 0, 2)
    depth = np.full((8, 64), 2, np.float32)

    def process(frame):
        return replace(Striped(1, 2).process(frame), frame=replace(frame, depth=depth))

    maker = SimpleNamespace(process=process, model={}, naming={}, depth={},
                            save=Striped(1, 2).save)
    pipeline = joined(tmp_path / 'parts', [maker], [part], given_frames)
    result = pipeline.process(given_frames[0])
    np.testing.assert_array_equal(result.frame.depth, depth)
    with pytest.raises(UsageError, match='changed'):
        pipeline.process(given_frames[0])


@pytest.mark.parametrize('missing', [7, 9])
def test_parts_that_saw_other_frames_are_not_joined(tmp_path, missing):
    given_frames, parts = frames(20), [Part(0, 0, 0, 10), Part(1, 6, 10, 20)]
    for part in parts:
        with part_writer(tmp_path / 'parts', part, Striped(1, 2)) as writer:
            for place in range(part.first, part.end):
                if (part.number, place) != (1, missing):  # it could not be read then
                    writer.process(place, given_frames[place])
    pipeline = JoinedPipeline(tmp_path / 'parts', parts)
    with pytest.raises(UsageError, match='changed'):
        for frame in given_frames:
            pipeline.process(frame)


def test_parts_are_joined_when_all_are_labelled_and_never_after_a_failure():
    tasks = [Recording(name, name, 'digest', True, part) for name in 'ab'
             for part in parts_of(20, 10, OVERLAP)]
    work = PartsInWork([*tasks, Recording('c', 'c', 'digest', True)])

    def row(name, part=None, error=''):
        values = name, name, 'input', 'settings', 'model', '1'
        return (Row(*values, error=error) if part is None else PartRow(*values, part=part))

    assert work.add(row('a', 1)) is None
    assert work.add(row('c')) == row('c')
    failed = row('b', error='hangs')
    assert work.add(failed) == failed
    assert work.add(row('b', 1)) is None and work.add(failed) is None
    join = work.add(row('a', 0))
    assert join.part is None and [part.number for part in join.parts] == [0, 1]
    assert join.task == 'a' and tasks[1].task == 'a/1'
    assert work.add(row('a')) == row('a')
