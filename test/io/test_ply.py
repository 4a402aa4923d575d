from dataclasses import replace

from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.point_cloud import LabelledCloud
from diffseg_ros.io.ply import read_ply, write_ply
import numpy as np
import pytest


def make_cloud(count=5000):
    rng = np.random.default_rng(3)
    points = rng.normal(size=(count // 50, 50, 3)).astype(np.float32)
    points[rng.random(points.shape[:2]) < 0.2] = np.nan
    rgb = rng.integers(0, 256, points.shape, dtype=np.uint8)
    labels = rng.integers(-1, 2**31 - 1, points.shape[:2]).astype(np.int32)
    labels[0, :9] = -1
    return LabelledCloud(points, rgb, labels)


def assert_same(cloud, other):
    np.testing.assert_array_equal(cloud.points, other.points)
    np.testing.assert_array_equal(cloud.rgb, other.rgb)
    np.testing.assert_array_equal(cloud.labels, other.labels)
    assert other.labels.dtype == np.int32 and other.rgb.dtype == np.uint8


def test_all_valid_points_come_back(tmp_path):
    cloud = make_cloud()
    path = tmp_path / 'clouds' / '000000.ply'
    written = write_ply(path, cloud)
    assert written == np.count_nonzero(cloud.valid) < cloud.labels.size
    assert_same(cloud.compact(), read_ply(path))


def test_the_confidence_of_depth_comes_back(tmp_path):
    cloud = make_cloud()
    sure = np.random.default_rng(0).random(cloud.labels.shape, np.float32)
    write_ply(tmp_path / 'cloud.ply', replace(cloud, confidence=sure), sure / 2)
    found = read_ply(tmp_path / 'cloud.ply')
    assert_same(cloud.compact(), found)
    assert np.array_equal(found.confidence, sure[cloud.valid])
    write_ply(tmp_path / 'cloud.ply', cloud)
    assert read_ply(tmp_path / 'cloud.ply').confidence is None
    with pytest.raises(DiffsegError, match='one confidence per label'):
        replace(cloud, confidence=sure[:2])


def test_open3d_reads_points_colours_and_label(tmp_path):
    import open3d
    cloud = make_cloud()
    write_ply(tmp_path / 'cloud.ply', cloud)
    theirs = open3d.t.io.read_point_cloud(str(tmp_path / 'cloud.ply'))
    assert_same(cloud.compact(), LabelledCloud(theirs.point.positions.numpy(),
                                               theirs.point.colors.numpy(),
                                               theirs.point['label'].numpy()[:, 0]))


def test_clouds_written_by_open3d_are_read(tmp_path):
    import open3d
    cloud = make_cloud().compact()
    theirs = open3d.t.geometry.PointCloud()
    theirs.point.positions = open3d.core.Tensor(cloud.points)
    theirs.point.colors = open3d.core.Tensor(cloud.rgb)
    theirs.point['label'] = open3d.core.Tensor(cloud.labels[:, None])
    open3d.t.io.write_point_cloud(str(tmp_path / 'cloud.ply'), theirs)
    assert_same(cloud, read_ply(tmp_path / 'cloud.ply'))
    open3d.t.io.write_point_cloud(str(tmp_path / 'ascii.ply'), theirs, write_ascii=True)
    with pytest.raises(DiffsegError, match='format ascii'):
        read_ply(tmp_path / 'ascii.ply')
    del theirs.point['label']
    open3d.t.io.write_point_cloud(str(tmp_path / 'plain.ply'), theirs)
    with pytest.raises(DiffsegError, match='no label'):
        read_ply(tmp_path / 'plain.ply')


def test_no_valid_point_gives_a_file_without_points(tmp_path):
    cloud = make_cloud(50)
    nothing = LabelledCloud(np.full_like(cloud.points, np.nan), cloud.rgb, cloud.labels)
    assert write_ply(tmp_path / 'empty.ply', nothing) == 0
    assert read_ply(tmp_path / 'empty.ply').points.shape == (0, 3)


def test_failed_write_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch):
    path = tmp_path / 'cloud.ply'
    write_ply(path, make_cloud(50))
    before = path.read_bytes()

    def fail(self, target):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('pathlib.Path.replace', fail)
    with pytest.raises(DiffsegError, match='No space left'):
        write_ply(path, make_cloud(500))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(('content', 'word'), [
    (b'', 'no PLY file'), (b'something else', 'no PLY file'), (b'ply\n', 'without an end'),
    (b'ply\nformat ascii 1.0\n', 'format ascii'),
    (b'ply\nelement vertex 9\nproperty list uchar int i\nend_header\n', 'list uchar int i'),
    (b'ply\nelement vertex 0\nproperty float x\nend_header\n', 'no y, z, red')])
def test_files_that_are_no_labelled_cloud_are_refused(tmp_path, content, word):
    (tmp_path / 'cloud.ply').write_bytes(content)
    with pytest.raises(DiffsegError, match=word):
        read_ply(tmp_path / 'cloud.ply')


def test_absent_and_cut_off_files_are_refused(tmp_path):
    path = tmp_path / 'cloud.ply'
    with pytest.raises(DiffsegError, match='cannot be read'):
        read_ply(path)
    write_ply(path, make_cloud())
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DiffsegError, match='cut off, 147 of'):
        read_ply(path)


def test_arrays_of_different_length_are_refused():
    cloud = make_cloud()
    with pytest.raises(DiffsegError, match='one point and one colour per label'):
        LabelledCloud(cloud.points, cloud.rgb[:-1], cloud.labels)
