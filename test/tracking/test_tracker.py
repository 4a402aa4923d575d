from diffseg_ros.config import TrackingConfig
from diffseg_ros.segmentation.segmenter import Segments
from diffseg_ros.tracking.tracker import Tracker
import numpy as np
import pytest


def segments(labels, features=None):
    labels = np.asarray(labels, np.int32)
    count = int(labels.max()) + 1
    embeddings = np.eye(max(count, 8), dtype=np.float32)[:count] if features is None else features
    return Segments(labels, np.full(labels.shape, 255, np.uint8), embeddings)


def stripes(edges, shape=(60, 80)):
    labels = np.zeros(shape, np.int32)
    for edge in edges:
        labels[:, edge:] += 1
    return labels


@pytest.fixture
def tracker():
    return Tracker(TrackingConfig())


def test_ids_begin_at_one_and_every_pixel_is_labelled(tracker):
    labels = tracker.update(segments(stripes([20, 50])))
    assert sorted(np.unique(labels)) == [1, 2, 3] and labels.dtype == np.int32


def test_ids_stay_when_segments_move_and_are_numbered_anew(tracker):
    first = tracker.update(segments(stripes([20, 50])))
    shifted = 2 - stripes([24, 54])
    embeddings = np.eye(8, dtype=np.float32)[[2, 1, 0]]
    second = tracker.update(segments(shifted, embeddings))
    for column in (5, 40, 75):
        assert first[0, column] == second[0, column]
    assert tracker.started == 3


def test_similar_features_decide_between_equal_overlaps(tracker):
    first = tracker.update(segments(np.zeros((60, 80)), np.eye(4, dtype=np.float32)[:1]))
    halves = stripes([40])
    second = tracker.update(segments(halves, np.eye(4, dtype=np.float32)[[1, 0]]))
    assert second[0, 70] == first[0, 0] and second[0, 5] == 2


def test_a_segment_missing_for_a_few_frames_gets_its_id_back(tracker):
    first = tracker.update(segments(stripes([20, 50])))
    merged = np.where(stripes([20, 50]) == 2, 1, stripes([20, 50]))
    for _ in range(3):
        tracker.update(segments(merged))
    again = tracker.update(segments(stripes([20, 50])))
    assert (again == first).all()


def test_ids_are_never_reused(tracker):
    config = TrackingConfig(max_misses=0)
    tracker = Tracker(config)
    seen = set()
    rng = np.random.default_rng(0)
    for number in range(30):
        labels = stripes(sorted(rng.choice(np.arange(8, 72), 3, replace=False)))
        embeddings = rng.standard_normal((4, 8)).astype(np.float32)
        embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
        ids = set(np.unique(tracker.update(segments(labels, embeddings))).tolist())
        new = ids - seen
        assert not new or min(new) > max(seen, default=0), number
        seen |= ids
        if number % 10 == 9:
            tracker.reset()
    assert tracker.epoch == 3 and tracker.started == len(seen)


def test_reset_forgets_tracks_but_not_the_count(tracker):
    first = tracker.update(segments(stripes([40])))
    tracker.reset()
    second = tracker.update(segments(stripes([40])))
    assert second.min() > first.max() and tracker.epoch == 1


def test_disjoint_segments_are_never_joined():
    tracker = Tracker(TrackingConfig(min_score=0.0))
    first = tracker.update(segments(np.zeros((60, 80)), np.eye(2, dtype=np.float32)[:1]))
    halves = stripes([1])
    second = tracker.update(segments(halves, np.eye(2, dtype=np.float32)))
    assert second[0, 40] == first[0, 40] and second[0, 0] != first[0, 0]


def test_images_may_change_size(tracker):
    first = tracker.update(segments(stripes([40])))
    second = tracker.update(segments(stripes([80], (120, 160))))
    assert second.shape == (120, 160)
    assert second[0, 10] == first[0, 5] and second[0, 150] == first[0, 75]


def test_dead_tracks_are_let_go():
    tracker = Tracker(TrackingConfig(max_misses=2))
    rng = np.random.default_rng(0)
    for _ in range(20):
        features = rng.standard_normal((2, 8)).astype(np.float32)
        tracker.update(segments(stripes([int(rng.integers(10, 70))]), features))
    assert len(tracker._tracks) <= 2 * 3
