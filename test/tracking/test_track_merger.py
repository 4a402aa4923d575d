from diffseg_ros.config import TrackingConfig
from diffseg_ros.tracking.association import tabulate
from diffseg_ros.tracking.label_map import empty_field
from diffseg_ros.tracking.object_motion import OwnMotion
from diffseg_ros.tracking.track import CAPACITY
from diffseg_ros.tracking.track_manager import TrackBook
from diffseg_ros.tracking.track_merger import Unifier
from diffseg_ros.tracking.voxel_label_map import WorldMemory
import numpy as np
import pytest

POINT = np.zeros((1, 3), np.float32)


class Scene:
    """Four upright stripes of 48 by 64 pixels, each a confirmed track, at the unifier."""

    def __init__(self):
        self.book, self.memory = TrackBook(1), WorldMemory()
        self.tracks = [self.book.start(0) for _ in range(4)]
        slots = np.array([track.slot for track in self.tracks], np.uint16)
        self.field = empty_field((48, 64))
        self.field.slots = np.tile(slots.repeat(16), (48, 1))
        for track in self.tracks:
            track.confirmed, track.pixels = True, 768
        self.unifier = Unifier(TrackingConfig(merge_after=1), self.book, self.memory)

    @property
    def ids(self):
        return [track.identity for track in self.tracks]

    def watch(self, steps, frames=14):
        """Let the unifier see stripes that move by (4,) steps along x; 0 stands still."""
        table = np.zeros((CAPACITY, 2), np.float32)
        table[[track.slot for track in self.tracks], 0] = steps
        field = table[self.field.slots]
        moving = field.any(axis=-1)
        errors = np.stack([np.full(moving.shape, 2.0), np.where(moving, 12.0, 2.0)])
        for _ in range(frames):
            self.unifier.observe(OwnMotion(field, moving, ~moving, errors.astype(np.float32)),
                                 self.field)

    def merge(self, segments):
        """Let segments, a number for each stripe, say which are one."""
        labels = np.tile(np.repeat(np.array(segments), 16), (48, 1))[::2, ::2]
        cells = tabulate(self.field.thinned()[0], None, labels, max(segments) + 1)
        self.unifier.merge(self.field, cells, 1.0)


@pytest.fixture
def scene():
    return Scene()


def test_what_moves_alike_shares_an_id_and_stays_apart_inside(scene):
    scene.memory.vote(POINT, np.array([2], np.int32))
    scene.watch([0.01, 0.01, 0, 0])
    assert scene.ids == [1, 1, 3, 4] and len(scene.book) == 4
    assert len(np.unique(scene.field.slots)) == 4
    assert scene.memory.recall(POINT)[0].tolist() == [1]
    assert [track.mobile for track in scene.tracks] == [True, True, False, False]


def test_pieces_of_what_shares_an_id_are_part_of_it(scene):
    assert scene.unifier.whole(scene.tracks[0]) is None
    scene.watch([0.01, 0.01, 0, 0])
    assert scene.unifier.whole(scene.tracks[0]) is scene.tracks[0]
    assert scene.unifier.whole(scene.tracks[2]) is None


def test_what_is_left_standing_gets_an_id_of_its_own(scene):
    scene.watch([0.01, 0.01, 0.01, 0])
    assert scene.ids == [1, 1, 1, 4]
    scene.watch([0.01, 0.01, 0, 0], frames=40)
    assert scene.ids == [1, 1, 5, 4]


def test_a_thing_that_stops_stays_one(scene):
    scene.watch([0.01, 0.01, 0, 0])
    scene.watch([0, 0, 0, 0], frames=60)
    assert scene.ids == [1, 1, 3, 4]


def test_segments_do_not_merge_what_moves_with_what_stands(scene):
    scene.watch([0, 0.01, 0, 0])
    scene.merge([0, 0, 1, 2])
    assert len(scene.book) == 4
    scene.merge([0, 1, 2, 2])
    assert [track.identity for track in scene.book] == [1, 2, 3]
    assert len(np.unique(scene.field.slots)) == 3


def test_without_evidence_segments_merge_again(scene):
    scene.watch([0, 0.01, 0, 0])
    for _ in range(20):
        scene.unifier.observe(None, scene.field)
    scene.merge([0, 0, 1, 2])
    assert len(scene.book) == 3


def test_what_has_just_come_back_into_view_is_not_merged_away(scene):
    def see(frame, slots):
        pixels = np.zeros(CAPACITY, np.int64)
        pixels[slots] = 768
        scene.book.count_pixels(pixels, np.zeros(CAPACITY, bool), frame)

    slots = [track.slot for track in scene.tracks]
    see(1, slots)
    see(2, slots[:3])
    see(60, slots)
    assert [track.settled for track in scene.tracks] == [False] * 4
    for frame in range(61, 100):
        see(frame, slots[:3] if frame < 90 else slots)
    assert [track.settled for track in scene.tracks] == [True, True, True, False]
    scene.merge([0, 1, 2, 2])
    assert len(scene.book) == 4
    scene.merge([0, 0, 1, 2])
    assert len(scene.book) == 3


def test_a_part_that_segments_merge_elsewhere_leaves_the_id_to_the_others(scene):
    scene.watch([0.01, 0.01, 0, 0])
    scene.unifier.clear()
    scene.memory.vote(POINT, np.array([1], np.int32))
    scene.tracks[2].confirmed = True
    scene.merge([0, 1, 1, 2])
    assert len(scene.book) == 3 and scene.tracks[0] in list(scene.book)
    assert scene.book.identities()[scene.tracks[0].slot] == 1
    assert scene.memory.recall(POINT)[0].tolist() == [1]
