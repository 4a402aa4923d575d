from dataclasses import replace

from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.point_cloud import labelled_cloud, LabelledCloud
from diffseg_ros.mapping.voxel_map import VoxelMap
from diffseg_ros.types import Frame, Intrinsics
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

HERE = np.eye(4)
CAMERA = Intrinsics(160, 120, 140.0, 140.0, 79.5, 59.5)


def make_cloud(points, labels, rgb=(10, 20, 30)):
    points = np.atleast_2d(np.asarray(points, np.float32))
    colours = np.broadcast_to(np.asarray(rgb, np.uint8), points.shape)
    return LabelledCloud(points, colours, np.broadcast_to(labels, len(points)).astype(np.int32))


def pose_of(translation, rotation=None):
    pose = np.eye(4)
    pose[:3, 3] = translation
    if rotation is not None:
        pose[:3, :3] = rotation
    return pose


def looking_at(place, target):
    """Return a camera-to-world pose: x right, y down, z towards the target; world z is up."""
    forward = (target - place) / np.linalg.norm(target - place)
    right = np.cross(forward, (0, 0, 1))
    right /= np.linalg.norm(right)
    return pose_of(place, np.stack([right, np.cross(forward, right), forward], axis=1))


def test_cube_seen_from_four_sides_fuses_to_one_cube(see_boxes):
    # The faces lie in the middle of voxels.
    centre, size = np.array([10.025, -19.975, 1.025]), 0.8
    colours = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    voxels = VoxelMap(0.05)
    for number, angle in enumerate((20, 110, 200, 290)):
        away = [2 * np.cos(np.radians(angle)), 2 * np.sin(np.radians(angle)), 0.8]
        pose = looking_at(centre + away, centre)
        depth, _ = see_boxes([(centre, (size,) * 3, np.eye(3))], pose, CAMERA)
        labels = np.where(np.isfinite(depth), 3 if number else 8, -1).astype(np.int32)
        frame = Frame(colours, depth=depth, intrinsics=CAMERA)
        assert voxels.add(labelled_cloud(frame, labels), pose) == np.isfinite(depth).sum() > 1000
    fused = voxels.extract()
    offsets = np.abs(fused.cloud.points - centre)
    # Five faces of 17 x 17 voxels are seen; they share 8 edges, and those the 4 upper corners.
    assert len(offsets) == pytest.approx(5 * 17**2 - 8 * 17 + 4, abs=20)
    # The largest offset of a point on a face is half of the side; edges average two faces.
    edge = (offsets > size / 2 - 0.026).sum(axis=1) > 1
    np.testing.assert_allclose(offsets[~edge].max(axis=1), size / 2, atol=2e-5)
    np.testing.assert_allclose(offsets[edge].max(axis=1), size / 2, atol=0.02)
    assert set(np.unique(fused.cloud.labels)) == {3, 8}
    once = fused.observations == 1
    assert once.any() and (fused.observations > 1).any()
    assert (fused.confidence[once] == 1).all()
    # From above all four see the top: three of four votes are for 3.
    seen = fused.observations == 4
    assert seen.any() and (fused.cloud.labels[seen] == 3).all()
    np.testing.assert_allclose(fused.confidence[seen], 0.75)


def test_votes_colour_and_confidence_of_one_voxel():
    voxels = VoxelMap(0.1)
    for label, red in ((4, 10), (9, 20), (9, 30), (-1, 40), (9, 60)):
        voxels.add(make_cloud([(0.02, 0.03, 1.04), (0.04, 0.05, 1.06)], label, (red, 0, 255)),
                   HERE)
    fused = voxels.extract()
    assert len(voxels) == len(fused.observations) == 1
    np.testing.assert_allclose(fused.cloud.points, [[0.03, 0.04, 1.05]], atol=1e-6)
    assert fused.cloud.labels.tolist() == [9] and fused.observations.tolist() == [5]
    assert fused.confidence.tolist() == pytest.approx([3 / 5])
    assert fused.cloud.rgb.tolist() == [[32, 0, 255]]


def test_a_frame_has_one_vote_that_of_most_of_its_points():
    voxels = VoxelMap(1.0)
    points = np.full((7, 3), 0.5)
    voxels.add(make_cloud(points, [5, 5, 5, 2, 2, -1, -1]), HERE)
    voxels.add(make_cloud(points, 7), HERE)
    voxels.add(make_cloud(points, 7), HERE)
    fused = voxels.extract()
    assert (fused.cloud.labels[0], fused.confidence[0]) == (7, pytest.approx(2 / 3))


@given(st.lists(st.sampled_from([0, 1, 2, 3, 50, 2**31 - 1, -1]), min_size=1, max_size=60))
def test_votes_of_few_labels_are_counted_exactly(labels):
    voxels = VoxelMap(1.0)
    for label in labels:
        voxels.add(make_cloud((0.5, 0.5, 0.5), label), HERE)
    fused = voxels.extract()
    votes = {label: labels.count(label) for label in set(labels) - {-1}}
    wanted = min(votes, key=lambda label: (-votes[label], label), default=-1)
    assert fused.cloud.labels.tolist() == [wanted]
    assert fused.confidence[0] == pytest.approx(votes.get(wanted, 0) / len(labels))


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_a_majority_is_never_lost_among_many_labels(seed):
    rng = np.random.default_rng(seed)
    labels = rng.permutation([7] * 30 + list(range(100, 200)))
    voxels = VoxelMap(1.0)
    for label in labels.tolist():
        voxels.add(make_cloud((0.5, 0.5, 0.5), label), HERE)
    fused = voxels.extract()
    assert fused.cloud.labels.tolist() == [7]
    assert 30 / 130 <= fused.confidence[0] <= (30 + 130 / 8) / 130


def test_points_of_different_frames_meet_in_the_world():
    voxels = VoxelMap(0.05)
    turned = Rotation.from_euler('xyz', (20, -50, 130), degrees=True).as_matrix()
    world = np.random.default_rng(4).uniform(-1, 1, (500, 3)) // 0.05 * 0.05 + 0.025
    for pose in (pose_of((3, 4, 5), turned), pose_of((-1, 0, 2))):
        seen = (world - pose[:3, 3]) @ pose[:3, :3]
        voxels.add(make_cloud(seen, 1), pose)
    fused = voxels.extract(min_observations=2)
    distinct = np.unique(np.round(world, 3), axis=0)
    assert len(fused.cloud.points) == len(distinct) == len(voxels)
    np.testing.assert_allclose(fused.cloud.points[np.lexsort(fused.cloud.points.round(3).T)],
                               distinct[np.lexsort(distinct.T)], atol=1e-5)


def test_memory_depends_on_the_scene_not_on_the_number_of_frames():
    rng = np.random.default_rng(0)
    clouds = [make_cloud(rng.uniform(-1, 1, (20_000, 3)), rng.integers(0, 40, 20_000))
              for _ in range(3)]
    voxels = VoxelMap(0.2)
    for cloud in clouds:
        voxels.add(cloud, HERE)
    before = len(voxels), voxels.bytes_used
    for _ in range(10):
        for cloud in clouds:
            voxels.add(cloud, HERE)
    assert (len(voxels), voxels.bytes_used) == before
    assert voxels.extract().observations.max() == 33
    assert before[0] == pytest.approx(1000, abs=5)


def test_map_grows_beyond_its_first_room_and_keeps_its_votes():
    voxels = VoxelMap(0.01)
    near = make_cloud(np.random.default_rng(1).uniform(-1, 1, (3000, 3)), 5)
    voxels.add(near, HERE)
    first, start = voxels.extract(), voxels.bytes_used
    for number in range(4):
        far = np.random.default_rng(number).uniform(-1, 1, (40_000, 3)) + (5, 0, 0)
        voxels.add(make_cloud(far, 6), HERE)
    assert voxels.bytes_used > start and len(voxels) > 150_000
    fused = voxels.extract()
    same = fused.cloud.points[:, 0] < 2
    np.testing.assert_array_equal(fused.cloud.points[same], first.cloud.points)
    assert (fused.cloud.labels[same] == 5).all() and (fused.cloud.labels[~same] == 6).all()


def test_nothing_is_fused_from_nothing():
    voxels = VoxelMap(0.05)
    assert voxels.add(make_cloud(np.full((4, 3), np.nan), 1), HERE) == 0
    fused = voxels.extract()
    assert len(voxels) == 0 and fused.cloud.points.shape == (0, 3)


def test_unusable_sizes_and_poses_are_named():
    for size in (0, -1, np.nan, np.inf):
        with pytest.raises(DiffsegError, match='a size above 0'):
            VoxelMap(size)
    with pytest.raises(DiffsegError, match='the pose holds NaN'):
        VoxelMap(0.1).add(make_cloud((0, 0, 1), 1), np.full((4, 4), np.nan))
    with pytest.raises(DiffsegError, match='from the origin'):
        VoxelMap(0.001).add(make_cloud((0, 0, 1), 1), pose_of((1e7, 0, 0)))


def test_a_voxel_keeps_the_mean_confidence_of_its_depth():
    voxels = VoxelMap(1.0, predicted=True)
    for confidence in (0.25, 0.75):
        cloud = make_cloud([[0.5, 0.5, 0.5], [2.5, 0.5, 0.5]], 1)
        voxels.add(replace(cloud, confidence=np.array([confidence, 1], np.float32)), HERE)
    fused = voxels.extract().cloud
    assert fused.confidence.tolist() == [0.5, 1.0] and (fused.rgb == (10, 20, 30)).all()
    voxels.add(make_cloud([[0.5, 0.5, 0.5], [0.6, 0.5, 0.5]], 1), HERE)  # all of it measured
    assert voxels.extract().cloud.confidence[0] == pytest.approx(2 / 3)
    assert VoxelMap(1.0).extract().cloud.confidence is None
