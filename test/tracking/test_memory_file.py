from dataclasses import fields, replace
import json

from diffseg_ros.config import TrackingConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.tracking import localizer
from diffseg_ros.tracking.memory_file import read_memory, write_memory
from diffseg_ros.tracking.saved_places import compare_surfaces, PlaceState
from diffseg_ros.tracking.tracker import Tracker
from diffseg_ros.tracking.tracking_frame import TrackingFrame
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from tracking_scenes import id_of, pose, Room, step

BOARDS = range(5)
KEY = 'diffseg_ros_memory'
CONFIG = TrackingConfig(keyframe_interval=1)


def show(tracker, room, where, **options):
    """Return labels and truth of a frame with perfect segments."""
    world = {'fixed_frame': options.pop('fixed_frame')} if 'fixed_frame' in options else {}
    frame, truth = room.frame(where, **options)
    return step(tracker, replace(frame, **world), room.segments(truth)), truth


def names(seen):
    return {board: id_of(*seen, board) for board in BOARDS}


@pytest.fixture
def room():
    return Room()


def walked(room, **options):
    """Return a tracker that saw the room, and the ids of its boards."""
    tracker = Tracker(CONFIG)
    seen = [show(tracker, room, pose(x=x), **options) for x in np.linspace(0, 0.2, 8)]
    return tracker, names(seen[-1])


@pytest.fixture
def file(room, tmp_path):
    path = tmp_path / 'room.safetensors'
    write_memory(path, walked(room)[0].memory('model'))
    return path


def restarted(path):
    tracker = Tracker(CONFIG)
    tracker.load(read_memory(path))
    return tracker


def same(one, other):
    return all(np.array_equal(getattr(one, field.name), getattr(other, field.name),
                              equal_nan=field.name in ('embeddings', 'positions'))
               for field in fields(one))


def test_what_is_written_is_read(room, tmp_path):
    memory = walked(room)[0].memory('model')
    assert len(memory.ids) == 5 and memory.confirmed.all() and len(memory.voxel_ids) > 100
    assert memory.fixed_frame == 'map' and np.isfinite(memory.positions).all()
    write_memory(tmp_path / 'a', memory)
    assert same(read_memory(tmp_path / 'a'), memory)
    write_memory(tmp_path / 'a', replace(memory, features='other'))
    assert read_memory(tmp_path / 'a').features == 'other'


@pytest.mark.parametrize('where', [pose(), pose(x=0.3, yaw=0.1), pose(z=-0.3)])
def test_places_give_ids_back_in_the_first_frame_whatever_things_look_like(room, file, where):
    before = walked(room)[1]
    again = restarted(file)
    room.embeddings = -room.embeddings
    assert names(show(again, room, where)) == before
    assert again.found_again == 5 and again.saved_places is PlaceState.FOUND
    assert again.started == 0


def test_looks_give_ids_back_without_a_pose(room, file):
    again = restarted(file)
    assert names(show(again, room, pose(), with_pose=False)) == walked(room)[1]
    assert again.saved_places is PlaceState.UNKNOWN


def test_two_that_look_alike_get_new_ids_without_a_pose(room, tmp_path):
    room.embeddings[2] = room.embeddings[1]
    tracker, before = walked(room)
    write_memory(tmp_path / 'a', tracker.memory('model'))
    found = names(show(restarted(tmp_path / 'a'), room, pose(), with_pose=False))
    assert [board for board in BOARDS if found[board] != before[board]] == [1, 2]
    assert min(found[1], found[2]) > max(before.values())


def test_the_pose_may_come_later(room, file):
    before = walked(room)[1]
    again = restarted(file)
    looks, room.embeddings = room.embeddings, -room.embeddings
    found = names(show(again, room, pose(), with_pose=False))
    assert min(found.values()) > max(before.values())
    room.embeddings = looks
    assert names(show(again, room, pose(x=0.05))) == before


def test_places_by_odometry_do_not_last(room, tmp_path):
    tracker, before = walked(room, fixed_frame='robot/odom')
    memory = tracker.memory('model')
    assert memory.fixed_frame == '' and not len(memory.voxel_ids)
    assert np.isnan(memory.positions).all()
    write_memory(tmp_path / 'a', memory)
    room.embeddings = -room.embeddings
    found = names(show(restarted(tmp_path / 'a'), room, pose()))
    assert min(found.values()) > max(before.values())


def test_saved_places_mean_nothing_in_another_world(room, file):
    again = restarted(file)
    room.embeddings = -room.embeddings
    show(again, room, pose(), fixed_frame='odom')
    assert again.found_again == 0 and again.saved_places is PlaceState.UNKNOWN


def test_in_another_place_nothing_gets_an_old_id(room, file):
    other = Room([(left, top, right, bottom, distance - 0.9)
                  for left, top, right, bottom, distance in room.boards], seed=7)
    again = restarted(file)
    old = set(walked(room)[1].values())
    for x in np.linspace(0, 0.3, 40):
        labels, _ = show(again, other, pose(x=x, z=0.5))
        assert not old & set(np.unique(labels).tolist())
    assert again.saved_places is PlaceState.REFUSED


def test_one_plane_at_the_same_height_is_no_place():
    flat = Room([(x, -0.4, x + 0.3, 0.4, 2.98) for x in (-0.9, -0.5, -0.1, 0.3)])
    memory = walked(flat)[0].memory('model')
    frame = TrackingFrame.from_frame(flat.frame(pose())[0], 640)
    met, seen, spread = compare_surfaces(memory.voxels, frame, frame.pose)
    assert met == seen >= 4 and spread < 0.05


def test_what_was_loaded_is_saved_again_before_it_is_seen(file):
    memory = read_memory(file)
    again = restarted(file).memory('model')
    assert np.array_equal(again.ids, memory.ids) and again.fixed_frame == 'map'
    assert np.array_equal(again.positions, memory.positions)
    assert set(again.voxel_keys.tolist()) == set(memory.voxel_keys.tolist())


def test_ids_rise_beyond_those_of_the_file_and_of_this_run(room, file):
    old = walked(room)[1]
    again = restarted(file)
    other = Room(seed=5)
    found = names(show(again, other, pose(x=0.05), with_pose=False, with_depth=False))
    assert min(found.values()) > max(old.values())
    top = again.next_id
    again.load(read_memory(file))
    assert again.next_id == top and again.epoch == 2


def changed(path, target, metadata=None, **arrays):
    """Write a copy of a memory file with other metadata or arrays; None leaves one out."""
    with safe_open(path, 'numpy') as file:
        header = json.loads(file.metadata()[KEY]) | (metadata or {})
        content = {name: file.get_tensor(name) for name in file.keys()} | arrays  # noqa: SIM118
    save_file({name: array for name, array in content.items() if array is not None}, target,
              {KEY: json.dumps(header)})


def test_any_other_safetensors_file_is_refused(tmp_path):
    save_file({'ids': np.ones(3, np.int32)}, tmp_path / 'other')
    with pytest.raises(DiffsegError, match='something else'):
        read_memory(tmp_path / 'other')


def altered(path, name, place, value):
    with safe_open(path, 'numpy') as file:
        array = file.get_tensor(name)
    array[place] = value
    return {name: array}


WRONG = {
    'a newer format': ({'format': 2}, lambda path: {}, 'format 2; this release reads 1'),
    'no format': ({'format': []}, lambda path: {}, 'format'),
    'no next id': ({'next_id': None}, lambda path: {}, 'next_id is None'),
    'a next id below 1': ({'next_id': -3}, lambda path: {}, 'next_id is -3'),
    'an id in use': ({'next_id': 3}, lambda path: {}, 'an id is out of range'),
    'no ids': ({}, lambda path: {'ids': None}, 'ids is missing'),
    'ids of another type': ({}, lambda path: {'ids': np.ones(5)}, 'ids is F64'),
    'fewer ages': ({}, lambda path: {'age': np.ones(4, np.int32)}, r'age is I32 \[4\]'),
    'an infinite embedding': (
        {}, lambda path: altered(path, 'embeddings', (0, 0), np.inf), 'not of length 1'),
    'half a position': (
        {}, lambda path: altered(path, 'positions', (0, 0, 0), np.nan), 'position is not finite'),
    'a strange voxel': ({}, lambda path: altered(path, 'voxel_ids', 0, 99), 'belongs to no'),
    'too many votes': ({}, lambda path: altered(path, 'voxel_votes', 0, 99), 'out of range')}


@pytest.mark.parametrize('name', WRONG)
def test_wrong_files_are_refused_in_one_line(file, tmp_path, name):
    metadata, arrays, reason = WRONG[name]
    changed(file, tmp_path / 'wrong', metadata, **arrays(file))
    with pytest.raises(DiffsegError, match=reason) as caught:
        read_memory(tmp_path / 'wrong')
    assert str(tmp_path / 'wrong') in str(caught.value) and '\n' not in str(caught.value)


def test_arrays_of_a_later_release_are_ignored(file, tmp_path):
    changed(file, tmp_path / 'later', {'mood': 'good'}, names=np.zeros((5, 32), np.uint8))
    assert same(read_memory(tmp_path / 'later'), read_memory(file))


def test_a_file_cut_anywhere_is_refused(file, tmp_path):
    whole = file.read_bytes()
    for length in [0, 1, 7, 8, 9, *np.linspace(10, len(whole) - 1, 60).astype(int)]:
        (tmp_path / 'cut').write_bytes(whole[:length])
        with pytest.raises(DiffsegError, match='truncated'):
            read_memory(tmp_path / 'cut')


def test_a_damaged_file_is_read_or_refused_but_breaks_nothing(file, tmp_path):
    rng, whole = np.random.default_rng(0), np.frombuffer(file.read_bytes(), np.uint8)
    refused = 0
    for turn in range(300):
        damaged = whole.copy()
        place = rng.integers(0, 1500 if turn % 2 else len(whole))
        damaged[place] ^= 1 << rng.integers(8)
        (tmp_path / 'damaged').write_bytes(damaged.tobytes())
        try:
            memory = read_memory(tmp_path / 'damaged')
        except DiffsegError:
            refused += 1
        else:
            Tracker(CONFIG).load(memory)
    assert refused > 50


@pytest.mark.parametrize('content', [b'my notes', None])
def test_other_files_are_not_overwritten(room, tmp_path, content):
    path = tmp_path / 'mine'
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(DiffsegError, match='not overwritten'):
        write_memory(path, walked(room)[0].memory('model'))
    assert path.is_dir() if content is None else path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_odometry_in_place_of_the_map_leaves_the_places_alone(room):
    tracker, before = walked(room)
    for number in range(3):
        frame, truth = room.frame(pose(x=0.2))
        astray = replace(frame, pose=pose(x=5.0 + number), fixed_frame='odom')
        assert names((step(tracker, astray, room.segments(truth)), truth)) == before
    memory = tracker.memory('model')
    assert memory.fixed_frame == 'map' and np.abs(memory.positions[:, 0]).max() < 3.5


def test_a_pose_in_the_map_after_odometry_begins_another_world(room):
    tracker, before = walked(room, fixed_frame='odom')
    assert names(show(tracker, room, pose(x=0.2))) == before
    assert tracker.memory('model').fixed_frame == 'map'


def test_a_world_that_the_camera_was_lost_in_for_long_is_known_again(room, monkeypatch):
    monkeypatch.setattr(localizer, '_GIVE_UP_FRAMES', 3)
    tracker, before = walked(room)
    for _ in range(6):
        show(tracker, Room(seed=5), pose(), with_pose=False, with_depth=False)
    room.embeddings = -room.embeddings
    found = names(show(tracker, room, pose(x=0.1)))
    assert sum(found[board] == before[board] for board in BOARDS) >= 4
