"""IDF1 against sequences computed by hand."""

from __future__ import annotations

from diffseg_ros.errors import DiffsegError
from diffseg_ros.evaluation.tracks import IdentityAccumulator, idf1
from hypothesis import given, strategies
from hypothesis.extra.numpy import arrays
import numpy as np
import pytest


def frame(*ids: int) -> np.ndarray:
    """Return an image whose columns, four pixels each, carry the ids."""
    return np.array([ids]).repeat(4, axis=0)


def test_perfect_ids() -> None:
    truth = [frame(1, 2)] * 3
    assert idf1([frame(20, 10)] * 3, truth) == 1


def test_swap_halfway() -> None:
    # Two objects in four frames; each predicted id is right in two: IDTP 4, 8 objects, 8 segments.
    predictions = [frame(1, 2)] * 2 + [frame(2, 1)] * 2
    assert idf1(predictions, [frame(1, 2)] * 4) == pytest.approx(2 * 4 / (8 + 8))


def test_new_id_late_in_the_sequence() -> None:
    predictions = [frame(5, 9)] * 3 + [frame(6, 9)]
    truth = [frame(1, 65535)] * 4
    # The longest piece of the track counts: IDTP 3, 4 objects, 4 segments; 9 is on ignored truth.
    assert idf1(predictions, truth) == pytest.approx(2 * 3 / (4 + 4))


def test_one_predicted_id_serves_one_object_only() -> None:
    # Object 1 becomes object 2; the prediction keeps its id: IDTP 2, 4 objects, 4 segments.
    assert idf1([frame(7)] * 4, [frame(1)] * 2 + [frame(2)] * 2) == pytest.approx(4 / 8)


def test_assignment_is_global() -> None:
    # 7 covers object 1 three times and object 2 twice, 8 covers object 1 twice: 7 to 2 and
    # 8 to 1 gives 4, 7 to 1 alone gives 3. 7 objects, 7 segments.
    predictions = [frame(7)] * 3 + [frame(8)] * 2 + [frame(7)] * 2
    truth = [frame(1)] * 5 + [frame(2)] * 2
    assert idf1(predictions, truth) == pytest.approx(2 * 4 / (7 + 7))


def test_missed_frame_and_extra_segment() -> None:
    missed = [frame(3, -1)] * 3 + [frame(-1, -1)]
    assert idf1(missed, [frame(1, 65535)] * 4) == pytest.approx(2 * 3 / (4 + 3))
    # 4 splits the object and stays below IoU 1/2: 4 objects, 5 segments, IDTP 4.
    extra = [frame(3, 3, 3)] * 3 + [frame(3, 3, 4)]
    assert idf1(extra, [frame(1, 1, 1)] * 4) == pytest.approx(2 * 4 / (4 + 5))


def test_iou_of_one_half_is_a_detection() -> None:
    assert idf1([frame(3, -1)], [frame(1, 1)]) == 1
    assert idf1([frame(3, -1, -1)], [frame(1, 1, 1)]) == 0


def test_background_is_no_object() -> None:
    truth = [frame(0, 0, 1)] * 2
    # 8 and 9 lie on the background; nobody said what is there.
    assert idf1([frame(8, 9, 5)] * 2, truth, background=0) == 1
    # With the background as an object: 4 objects; 8 has IoU 1/2 with it, 9 too: IDTP 2 + 2,
    # 6 segments.
    assert idf1([frame(8, 9, 5)] * 2, truth) == pytest.approx(2 * 4 / (4 + 6))
    # A segment over background and object has IoU 1/3 and lies mostly on the background.
    assert idf1([frame(5, 5, 5)] * 2, truth, background=0) == 0
    # 5 lies by exactly half on the background: it counts. 6 has IoU 3/4.
    assert idf1([frame(5, 5, 6, 6, 6)], [frame(0, 1, 1, 1, 1)], background=0) == pytest.approx(
        2 * 1 / (1 + 2))
    assert idf1([frame(-1, -1, -1)] * 2, [frame(0, 0, 0)] * 2, background=0) is None


def test_sequences_of_different_length() -> None:
    with pytest.raises(DiffsegError, match='truth ends after 1 frames'):
        idf1([frame(1)] * 2, iter([frame(1)]))
    with pytest.raises(DiffsegError, match='prediction ends after 0 frames'):
        idf1([], [frame(1)])
    with pytest.raises(DiffsegError, match='differ in size'):
        idf1([frame(1)], [frame(1, 2)])


@given(strategies.lists(arrays(np.int32, (4, 4), elements=strategies.integers(0, 3)), min_size=1,
                        max_size=4), strategies.permutations(range(4)))
def test_only_consistency_of_ids_counts(truths: list[np.ndarray], names: list[int]) -> None:
    renamed = [np.array(names)[truth] for truth in truths]
    assert idf1(renamed, truths) == 1
    accumulator = IdentityAccumulator()
    for number, truth in enumerate(truths):
        accumulator.add(truth + 100 * number, truth)
    ids, frames = np.unique([item for truth in truths for item in np.unique(truth)],
                            return_counts=True)
    # An id that changes every frame is right once per object.
    assert accumulator.idf1() == pytest.approx(len(ids) / frames.sum())
