"""flip_rate on planes moved by a known amount; voxel_agreement by votes counted by hand."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace

from diffseg_ros.evaluation import consistency
from diffseg_ros.evaluation.consistency import FlipRate, VoxelAgreement
from diffseg_ros.evaluation.measure import Observation
from diffseg_ros.geometry.point_cloud import LabelledCloud
from diffseg_ros.types import Frame, Intrinsics
import numpy as np
import pytest

CAMERA = Intrinsics(20, 20, 100.0, 100.0, 9.5, 9.5)
HALVES = np.repeat(np.array([[1, 2]], np.int32), 10, axis=1).repeat(20, axis=0)


def pose(x: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """Return the pose of a camera at (x, 0, 0), turned about its optical axis by degrees."""
    cosine, sine = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    matrix = np.eye(4)
    matrix[:2, :2] = (cosine, -sine), (sine, cosine)
    matrix[0, 3] = x
    return matrix


def flips(*frames: tuple[np.ndarray, np.ndarray | float, np.ndarray | None],
          camera: Intrinsics = CAMERA, epochs: tuple[int, ...] = (0, 0, 0)
          ) -> tuple[float | None, float | None]:
    """Return flip_rate and compared_share of frames of (labels, depth, pose)."""
    measure = FlipRate()
    for (labels, depth, camera_pose), epoch in zip(frames, epochs):
        metres = np.broadcast_to(np.float32(depth), (20, 20)).copy()
        frame = Frame(np.zeros((20, 20, 3), np.uint8), depth=metres, intrinsics=camera,
                      pose=camera_pose)
        measure.update(Observation(labels, frame, epoch=epoch))
    report = measure.compute()
    return report['flip_rate'], report['compared_share']


def moved(labels: np.ndarray) -> np.ndarray:
    """Return the plane's labels as a camera sees them that moved 5 pixels to the right."""
    return np.concatenate([labels[:, 5:], np.full((20, 5), 9, np.int32)], axis=1)


def test_a_plane_five_pixels_on() -> None:
    # 100 * 0.1 / 2 = 5 columns leave the view on the left.
    found = flips((HALVES, 2.0, pose()), (moved(HALVES), 2.0, pose(0.1)))
    assert found == (0, pytest.approx(15 / 20))


def test_labels_that_stick_to_the_image_flip() -> None:
    # Of 15 columns that are compared 5 to 9 stay 1, 10 to 14 turn from 2 to 1, 15 to 19 stay 2.
    found = flips((HALVES, 2.0, pose()), (HALVES, 2.0, pose(0.1)))
    assert found[0] == pytest.approx(5 / 15)


def test_hidden_and_missing_depth_is_not_compared() -> None:
    depth = np.full((20, 20), 2.0)
    depth[:, :3] = 1.0
    depth[:, 3:5] = np.nan
    labels = moved(HALVES)
    labels[:, :5] = 7
    found = flips((HALVES, 2.0, pose()), (labels, depth, pose(0.1)))
    assert found == (0, pytest.approx(10 / 20))
    holes = np.full((20, 20), 2.0)
    holes[:5] = np.nan
    found = flips((HALVES, holes, pose()), (moved(HALVES), 2.0, pose(0.1)))
    assert found[1] == pytest.approx(15 / 20 * 15 / 20)


@pytest.mark.parametrize(('depth', 'share'), [(2.049, 1), (1.951, 1), (2.051, 0), (1.949, 0)])
def test_five_centimetres(depth: float, share: float) -> None:
    found = flips((HALVES, 2.0, pose()), (HALVES, depth, pose()))
    assert found == (0 if share else None, share)


def test_unlabelled_is_a_flip() -> None:
    before, after = HALVES.copy(), HALVES.copy()
    before[:4] = after[2:6] = -1
    # Rows 0, 1 had none, 2, 3 never, 4, 5 have none now.
    assert flips((before, 2.0, pose()), (after, 2.0, pose()))[0] == pytest.approx(6 / 20)


@pytest.mark.parametrize('distortion', [(), (0.5, -0.2, 0.0, 0.0, 0.1)])
def test_a_quarter_turn(distortion: tuple[float, ...]) -> None:
    camera = replace(CAMERA, distortion=distortion)
    labels = np.arange(400, dtype=np.int32).reshape(20, 20)
    for turns, rate in ((1, 0), (-1, 1)):
        turned = np.rot90(labels, turns).copy()
        assert flips((labels, 2.0, pose()), (turned, 2.0, pose(roll=90)),
                     camera=camera) == (rate, 1)


def test_only_neighbours_of_one_epoch_with_poses_are_compared() -> None:
    still = HALVES, 2.0, pose()
    assert flips(still) == (None, None)
    assert flips(still, still, (HALVES + 5, 2.0, pose()))[0] == pytest.approx(1 / 2)
    assert flips(still, (HALVES, 2.0, None), still) == (None, None)
    assert flips(still, still, epochs=(0, 1)) == (None, None)


HERE, THERE = (0.01, 0.02, 1.01), (-0.01, 0.02, 1.01)
"""Points on two sides of a voxel border."""


def cloud(*points: tuple[tuple[float, float, float], int]) -> LabelledCloud:
    places = np.array([place for place, _ in points], np.float32).reshape(-1, 3)
    labels = np.array([label for _, label in points], np.int32)
    return LabelledCloud(places, np.zeros(places.shape, np.uint8), labels)


@pytest.mark.parametrize(('frames', 'share'), [
    # HERE votes 1, 1, 2; THERE is seen twice only, then three times.
    ([[(HERE, 1), (THERE, 5)], [(HERE, 1), (THERE, 6)], [(HERE, 2)]], 2 / 3),
    ([[(HERE, 1), (THERE, 5)], [(HERE, 1), (THERE, 6)], [(HERE, 2), (THERE, 5)]], 4 / 6),
    # One vote a frame: in the first 2 has the most points; of 1 and 3 with as many 1 votes.
    ([[(HERE, 2), (HERE, 2), (HERE, 1)], [(HERE, 3), (HERE, 1)], [(HERE, 2)]], 2 / 3),
    ([[(HERE, 3), (HERE, 1)], [(HERE, 3), (HERE, 1)], [(HERE, 1)]], 1),
    # Unlabelled agrees with nothing.
    ([[(HERE, -1)], [(HERE, -1)], [(HERE, 4)]], 1 / 3),
    ([[(HERE, -1)]] * 3, 0),
    # Nothing to score.
    ([], None), ([[]] * 3, None), ([[(HERE, 1)]] * 2, None),
    ([[((np.nan, 0, 1), 1), ((1e9, 0, 1), 1)]] * 3, None),
])
def test_votes_by_hand(frames: list, share: float | None) -> None:
    measure = VoxelAgreement()
    for points in frames:
        measure.add(cloud(*points), np.eye(4))
    assert measure.compute()['voxel_agreement'] == (
        None if share is None else pytest.approx(share))


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
