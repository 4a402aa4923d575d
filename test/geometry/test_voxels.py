from collections import Counter, defaultdict

from clouds import make_frame  # noqa: I001
from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.point_cloud import labelled_cloud, LabelledCloud, voxel_downsample
from diffseg_ros.geometry.voxels import majority, voxel_keys
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest


@pytest.mark.parametrize('far', [0, 2**30], ids=['small ids', 'large ids'])
def test_points_are_open3d_means_and_labels_the_majority(far):
    import open3d
    rng = np.random.default_rng(1)
    labels = rng.choice([-1, 0, 3, 4 + far], (96, 128)).astype(np.int32)
    cloud = labelled_cloud(make_frame(128, 96), labels)
    found = voxel_downsample(cloud, 0.4)

    listed = cloud.compact()
    members = defaultdict(list)
    for number, key in enumerate(map(tuple, voxel_keys(listed.points, 0.4).tolist())):
        members[key].append(number)
    assert len(found.labels) == len(members) > 500
    for place, numbers in enumerate(members.values()):
        np.testing.assert_allclose(found.points[place], listed.points[numbers].mean(axis=0),
                                   rtol=1e-5)
        np.testing.assert_allclose(found.rgb[place], listed.rgb[numbers].mean(axis=0), atol=0.51)
        votes = Counter(listed.labels[numbers].tolist())
        assert found.labels[place] == min(votes, key=lambda label: (-votes[label], label))

    theirs = open3d.t.geometry.PointCloud(open3d.core.Tensor(listed.points))
    theirs = theirs.voxel_down_sample(0.4).point.positions.numpy()
    np.testing.assert_allclose(found.points[np.lexsort(found.points.T)],
                               theirs[np.lexsort(theirs.T)], rtol=1e-4)


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([-1, 0, 7, 2**31 - 1])), min_size=1,
                max_size=60))
def test_majority_counts_every_vote(pairs):
    groups = np.unique([group for group, _ in pairs], return_inverse=True)[1]
    labels = np.array([label for _, label in pairs], np.int32)
    found = majority(groups, groups.max() + 1, labels)
    for group in range(groups.max() + 1):
        votes = Counter(labels[groups == group].tolist())
        assert found[group] == min(votes, key=lambda label: (-votes[label], label))


def test_nothing_and_one_point():
    nothing = LabelledCloud(np.full((2, 3, 3), np.nan, np.float32), np.zeros((2, 3, 3), np.uint8),
                            np.zeros((2, 3), np.int32))
    assert voxel_downsample(nothing, 0.1).points.shape == (0, 3)
    nothing.points[1, 2] = (-0.05, 0.2, 3.0)
    found = voxel_downsample(nothing, 0.1)
    np.testing.assert_array_equal(found.points, nothing.points[1, 2:])


def test_points_beyond_the_index_are_named():
    with pytest.raises(DiffsegError, match='1e-09 m'):
        voxel_keys(np.array([[0, 0, 5.0]]), 1e-9)


def test_a_voxel_has_the_mean_confidence_of_its_points():
    points = np.array([[0.1, 0.1, 0.1], [0.2, 0.1, 0.1], [1.5, 0.1, 0.1]], np.float32)
    cloud = LabelledCloud(points, np.zeros((3, 3), np.uint8), np.zeros(3, np.int32),
                          np.array([1, 0.5, 0.25], np.float32))
    assert voxel_downsample(cloud, 1.0).confidence.tolist() == [0.75, 0.25]
