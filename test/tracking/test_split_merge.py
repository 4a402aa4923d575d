from diffseg_ros.config import TrackingConfig
from diffseg_ros.tracking.association import count_overlap
from diffseg_ros.tracking.label_map import CAPACITY, LabelMap
from diffseg_ros.tracking.object_motion import ObjectMotion
from diffseg_ros.tracking.split_merge import MergeDetector, SplitDetector, TrackMerger
from diffseg_ros.tracking.track_manager import TrackManager
from diffseg_ros.tracking.world_map import VoxelLabelMap
import numpy as np
import pytest

NUMBERS = np.arange(CAPACITY, dtype=np.int32)


def halves(edge):
    segments = np.zeros((40, 60), int)
    segments[:, edge:] = 1
    return segments


class Cutter:
    """One track on slot 5, cut as it is told."""

    def __init__(self, **options):
        self.detector, self.candidates = SplitDetector(), np.zeros((40, 60), np.uint8)
        self.options = {'least': 20, 'after': 3, **options}

    def cut(self, segments, **options):
        slots = np.full((40, 60), 5, np.uint16)
        overlap = count_overlap(slots, None, segments, int(segments.max()) + 1)
        self.candidates, found = self.detector.update(self.candidates, overlap, segments,
                                                      **{**self.options, **options})
        return found


def test_a_cut_that_lasts_splits_the_track():
    cutter = Cutter()
    found = [cutter.cut(halves(edge)) for edge in (40, 41, 39)]
    assert [len(masks) for masks in found] == [0, 0, 1]
    assert found[-1][0].mean() == pytest.approx(21 / 60, abs=0.02) and not cutter.candidates.any()


@pytest.mark.parametrize('cuts', [
    pytest.param([halves(edge) for edge in (12, 30, 50)], id='elsewhere each time'),
    pytest.param([halves(40), np.zeros((40, 60), int)], id='come and go'),
    pytest.param([halves(59)], id='slivers')])
def test_other_cuts_split_nothing(cuts):
    cutter = Cutter()
    for number in range(12):
        assert not cutter.cut(cuts[number % len(cuts)])


@pytest.mark.parametrize('objects, splits', [
    pytest.param([False, True], True, id='an object'),
    pytest.param([False, False], False, id='no object'),
    pytest.param([True, False], False, id='of an object'),
    pytest.param(None, False, id='not known')])
def test_a_small_part_splits_off_a_large_track_if_it_is_an_object(objects, splits):
    segments = np.zeros((40, 60), int)
    segments[10:13, 10:14] = 1
    cutter = Cutter(objects=None if objects is None else np.array(objects))
    found = [cutter.cut(segments) for _ in range(3)]
    assert [len(masks) for masks in found] == [0, 0, int(splits)]
    assert not splits or (found[-1][0] == (segments == 1)).all()


def test_a_smaller_object_than_half_the_least_does_not_split_off():
    segments = np.zeros((40, 60), int)
    segments[10:13, 10:13] = 1
    cutter = Cutter(objects=np.array([False, True]))
    assert not any(cutter.cut(segments) for _ in range(6))


def test_an_object_splits_off_a_track_that_has_a_candidate_already():
    cutter = Cutter(objects=np.array([False, False, True]))
    segments = halves(40)
    cutter.cut(segments, objects=np.zeros(2, bool))
    segments[10:14, 10:14] = 2
    found = [cutter.cut(segments) for _ in range(3)]
    assert [[int(mask.sum()) for mask in masks] for masks in found] == [[], [800], [16]]


def test_votes_count_by_their_weight():
    cutter = Cutter()
    found = [cutter.cut(halves(40), weight=0.5) for _ in range(6)]
    assert [len(masks) for masks in found] == [0] * 5 + [1]


def test_candidates_of_a_track_that_is_gone_are_forgotten():
    cutter = Cutter()
    cutter.cut(halves(40))
    segments = halves(40)
    overlap = count_overlap(np.full((40, 60), 8, np.uint16), None, segments, 2)
    candidates, found = cutter.detector.update(cutter.candidates, overlap, segments, least=20,
                                               after=2)
    assert not found and set(np.unique(candidates)) == {0, 1}


def pair(together):
    slots = np.where(halves(30), 3, 4).astype(np.uint16)
    return count_overlap(slots, None, np.zeros((40, 60), int) if together else halves(30), 2)


def test_tracks_that_stay_in_one_segment_merge():
    detector = MergeDetector()
    assert [detector.update(pair(True), NUMBERS, after=3) for _ in range(3)] == [[], [], [(3, 4)]]


def test_tracks_that_are_seen_apart_as_often_do_not():
    detector = MergeDetector()
    for number in range(20):
        assert not detector.update(pair(number % 2 == 0), NUMBERS, after=3)


def test_pairs_of_a_dropped_track_are_forgotten():
    detector = MergeDetector()
    detector.update(pair(True), NUMBERS, after=3)
    detector.update(pair(True), NUMBERS, after=3)
    other = NUMBERS.copy()
    other[4] = CAPACITY
    assert not detector.update(pair(True), other, after=3)


POINT = np.zeros((1, 3), np.float32)


class Scene:
    """Four upright stripes of 48 by 64 pixels, each a confirmed track, at the merger."""

    def __init__(self):
        self.manager, self.voxels = TrackManager(), VoxelLabelMap()
        self.tracks = [self.manager.start() for _ in range(4)]
        slots = np.array([track.slot for track in self.tracks], np.uint16)
        self.labels = LabelMap.empty((48, 64))
        self.labels.slots = np.tile(slots.repeat(16), (48, 1))
        for track in self.tracks:
            track.confirmed, track.pixels = True, 768
        self.merger = TrackMerger(TrackingConfig(merge_after=1), self.manager, self.voxels)

    @property
    def ids(self):
        return [track.id for track in self.tracks]

    def watch(self, steps, frames=14):
        """Let the merger see stripes that move by (4,) steps along x; 0 stands still."""
        table = np.zeros((CAPACITY, 2), np.float32)
        table[[track.slot for track in self.tracks], 0] = steps
        field = table[self.labels.slots]
        moving = field.any(axis=-1)
        errors = np.stack([np.full(moving.shape, 2.0), np.where(moving, 12.0, 2.0)])
        for _ in range(frames):
            self.merger.observe(ObjectMotion(field, moving, ~moving, errors.astype(np.float32)),
                                 self.labels)

    def merge(self, segments):
        """Let segments, a number for each stripe, say which are one."""
        numbers = np.tile(np.repeat(np.array(segments), 16), (48, 1))[::2, ::2]
        overlap = count_overlap(self.labels.slots[::2, ::2], None, numbers, max(segments) + 1)
        self.merger.merge(self.labels, overlap, 1.0)


@pytest.fixture
def scene():
    return Scene()


def test_what_moves_alike_shares_an_id_and_stays_apart_inside(scene):
    scene.voxels.vote(POINT, np.array([2], np.int32))
    scene.watch([0.01, 0.01, 0, 0])
    assert scene.ids == [1, 1, 3, 4] and len(scene.manager) == 4
    assert len(np.unique(scene.labels.slots)) == 4
    assert scene.voxels.recall(POINT)[0].tolist() == [1]
    assert [track.dynamic for track in scene.tracks] == [True, True, False, False]


def test_pieces_of_what_shares_an_id_are_part_of_it(scene):
    assert not scene.manager.shares_id(scene.tracks[0])
    scene.watch([0.01, 0.01, 0, 0])
    assert scene.manager.shares_id(scene.tracks[0])
    assert not scene.manager.shares_id(scene.tracks[2])


def test_the_id_with_more_pixels_in_all_stays(scene):
    scene.watch([0.01, 0.01, 0, 0])
    for track, pixels in zip(scene.tracks, [500, 500, 900, 768], strict=True):
        track.pixels = pixels
    scene.watch([0.01, 0.01, 0.01, 0], frames=30)
    assert scene.ids == [1, 1, 1, 4]


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
    assert len(scene.manager) == 4
    scene.merge([0, 1, 2, 2])
    assert [track.id for track in scene.manager] == [1, 2, 3]
    assert len(np.unique(scene.labels.slots)) == 3


def test_without_evidence_segments_merge_again(scene):
    scene.watch([0, 0.01, 0, 0])
    for _ in range(20):
        scene.merger.observe(None, scene.labels)
    scene.merge([0, 0, 1, 2])
    assert len(scene.manager) == 3


def test_what_has_just_come_back_into_view_is_not_merged_away(scene):
    def see(frame, slots):
        pixels = np.zeros(CAPACITY, np.int64)
        pixels[slots] = 768
        scene.manager.frame = frame
        scene.manager.observe(pixels, np.zeros(CAPACITY, bool))

    slots = [track.slot for track in scene.tracks]
    see(1, slots)
    see(2, slots[:3])
    see(60, slots)
    assert [track.settled for track in scene.tracks] == [False] * 4
    for frame in range(61, 100):
        see(frame, slots[:3] if frame < 90 else slots)
    assert [track.settled for track in scene.tracks] == [True, True, True, False]
    scene.merge([0, 1, 2, 2])
    assert len(scene.manager) == 4
    scene.merge([0, 0, 1, 2])
    assert len(scene.manager) == 3


def test_a_part_that_segments_merge_elsewhere_leaves_the_id_to_the_others(scene):
    scene.watch([0.01, 0.01, 0, 0])
    scene.merger = TrackMerger(scene.merger.config, scene.manager, scene.voxels)
    scene.voxels.vote(POINT, np.array([1], np.int32))
    scene.tracks[2].confirmed = True
    scene.merge([0, 1, 1, 2])
    assert len(scene.manager) == 3 and scene.tracks[0] in list(scene.manager)
    assert scene.manager.ids()[scene.tracks[0].slot] == 1
    assert scene.voxels.recall(POINT)[0].tolist() == [1]
