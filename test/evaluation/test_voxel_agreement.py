"""voxel_agreement against votes counted by hand and one by one."""

from __future__ import annotations

from collections import Counter, defaultdict

from diffseg_ros.evaluation import consistency
from diffseg_ros.evaluation.consistency import VoxelAgreement
from diffseg_ros.geometry.point_cloud import LabelledCloud
import numpy as np
import pytest

HERE, THERE = (0.01, 0.02, 1.01), (-0.01, 0.02, 1.01)
"""Points on two sides of a voxel border."""


def cloud(*points: tuple[tuple[float, float, float], int]) -> LabelledCloud:
    places = np.array([place for place, _ in points], np.float32).reshape(-1, 3)
    labels = np.array([label for _, label in points], np.int32)
    return LabelledCloud(places, np.zeros(places.shape, np.uint8), labels)


def agreement(*clouds: LabelledCloud) -> float | None:
    measure = VoxelAgreement()
    for item in clouds:
        measure.add(item, np.eye(4))
    return measure.compute()['voxel_agreement']


def test_votes_by_hand() -> None:
    # HERE votes 1, 1, 2; THERE is seen twice only.
    assert agreement(cloud((HERE, 1), (THERE, 5)), cloud((HERE, 1), (THERE, 6)),
                     cloud((HERE, 2))) == pytest.approx(2 / 3)
    assert agreement(cloud((HERE, 1), (THERE, 5)), cloud((HERE, 1), (THERE, 6)),
                     cloud((HERE, 2), (THERE, 5))) == pytest.approx(4 / 6)


def test_one_vote_a_frame() -> None:
    # In the first frame 2 has the most points, in the second 1 and 3 have as many: 1 votes.
    first = cloud((HERE, 2), (HERE, 2), (HERE, 1))
    second = cloud((HERE, 3), (HERE, 1))
    assert agreement(first, second, cloud((HERE, 2))) == pytest.approx(2 / 3)
    assert agreement(second, second, cloud((HERE, 1))) == 1


def test_unlabelled_agrees_with_nothing() -> None:
    assert agreement(*[cloud((HERE, -1))] * 2, cloud((HERE, 4))) == pytest.approx(1 / 3)
    assert agreement(*[cloud((HERE, -1))] * 3) == 0


def test_nothing_to_score() -> None:
    assert agreement() is None
    assert agreement(cloud(), cloud(), cloud()) is None
    assert agreement(*[cloud((HERE, 1))] * 2) is None
    assert agreement(*[cloud(((np.nan, 0, 1), 1), ((1e9, 0, 1), 1))] * 3) is None


def test_poses_bring_points_to_one_place() -> None:
    measure = VoxelAgreement()
    for number in range(3):
        pose = np.eye(4)
        pose[0, 3] = number
        measure.add(cloud(((0.5 - number, 0, 1), 7)), pose)
    assert measure.compute()['voxel_agreement'] == 1


@pytest.mark.parametrize('compact_above', [0, 1 << 21])
def test_against_counting_one_by_one(compact_above: int,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consistency, '_COMPACT_ABOVE', compact_above)
    random = np.random.default_rng(5)
    measure = VoxelAgreement()
    votes: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for _ in range(6):
        points = random.uniform(-0.12, 0.12, (200, 3)).astype(np.float32)
        labels = random.integers(-1, 4, 200).astype(np.int32)
        measure.add(LabelledCloud(points, np.zeros((200, 3), np.uint8), labels), np.eye(4))
        seen: defaultdict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for point, label in zip(points.astype(float), labels.tolist()):
            seen[tuple(np.floor(point / 0.05).astype(int))][label] += 1
        for voxel, counts in seen.items():
            votes[voxel].append(min(counts, key=lambda label: (-counts[label], label)))
    scored = [ids for ids in votes.values() if len(ids) >= 3]
    agreeing = sum(max((ids.count(label) for label in ids if label >= 0), default=0)
                   for ids in scored)
    assert len(scored) > 50
    assert measure.compute()['voxel_agreement'] == pytest.approx(agreeing / sum(map(len, scored)))
