from diffseg_ros.config import CloudConfig
from diffseg_ros.geometry.boxes import segment_boxes
from diffseg_ros.types import Frame, Intrinsics
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

CAMERA = Intrinsics(320, 240, 300.0, 300.0, 159.5, 119.5)


def make_frame(depth, camera=CAMERA):
    height, width = depth.shape
    return Frame(np.zeros((height, width, 3), np.uint8), depth=depth.astype(np.float32),
                 intrinsics=camera)


def wall(depth=2.0):
    return np.full((240, 320), depth)


def patch(top, bottom, left, right, identity=5):
    labels = np.full((240, 320), -1, np.int32)
    labels[top:bottom, left:right] = identity
    return labels


def only(boxes):
    assert len(boxes) == 1
    return boxes[0]


def assert_proper(box):
    np.testing.assert_allclose(box.rotation @ box.rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(box.rotation) == pytest.approx(1)
    np.testing.assert_allclose(Rotation.from_quat(box.quaternion).as_matrix(), box.rotation,
                               atol=1e-9)


def test_flat_patch_has_its_own_place_and_size():
    box = only(segment_boxes(make_frame(wall()), patch(40, 100, 60, 160)))
    assert (box.id, box.points) == (5, 60 * 100)
    assert_proper(box)
    # Pixel columns 60 to 159 and rows 40 to 99, at 2 m with a focal length of 300 pixels.
    centre = [(109.5 - 159.5) / 150, (69.5 - 119.5) / 150, 2]
    np.testing.assert_allclose(box.centroid, centre, atol=2 / 150)
    np.testing.assert_allclose(box.centre, centre, atol=2 / 150)
    np.testing.assert_allclose(box.size, [99 / 150, 59 / 150, 0], atol=4 / 150)
    assert box.rotation[2, 2] == pytest.approx(-1) and box.rotation[0, 0] == pytest.approx(1)


def test_free_boxes_are_as_tight_as_open3ds(see_boxes):
    import open3d
    rng = np.random.default_rng(2)
    turns = Rotation.random(6, random_state=3).as_matrix()
    places = [(-0.8, -0.5), (0, -0.5), (0.8, -0.5), (-0.8, 0.5), (0, 0.5), (0.8, 0.5)]
    boxes = [((x, y, 2.2), rng.uniform(0.1, 0.5, 3), turn)
             for (x, y), turn in zip(places, turns, strict=True)]
    depth, labels = see_boxes(boxes, np.eye(4), CAMERA)
    found = segment_boxes(make_frame(depth), labels)
    assert [box.id for box in found] == list(range(6))
    rows, columns = np.mgrid[:240, :320]
    points = np.stack([(columns - 159.5) / 300 * depth, (rows - 119.5) / 300 * depth, depth], -1)
    for box in found:
        assert_proper(box)
        listed = points[labels == box.id]
        np.testing.assert_allclose(box.centroid, listed.mean(axis=0), atol=0.01)
        cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(listed))
        principal = np.prod(np.array(cloud.get_oriented_bounding_box().extent) + 0.01)
        assert np.prod(box.size + 0.01) < 1.05 * principal
        outside = np.abs((listed - box.centre) @ box.rotation) - box.size / 2
        # What a face that is seen edge-on shows has gaps in depth, and is another surface.
        assert (outside > 0.02).mean() < 0.01


def test_wrong_pixels_behind_and_beside_change_nothing():
    labels = patch(40, 100, 60, 160)
    clean = only(segment_boxes(make_frame(wall()), labels))
    depth = wall()
    depth[40:100, 150:160] = 3.5
    depth[60:62, 80:82] = 0.6
    labels[200:206, 10:30] = 5
    found = only(segment_boxes(make_frame(depth), labels))
    np.testing.assert_allclose(found.centre, clean.centre, atol=0.04)
    assert np.all(found.size <= clean.size + 1e-6)
    assert found.size[2] < 1e-6
    assert found.points == pytest.approx(60 * 90, abs=200)


def test_largest_surface_counts_and_the_id_stays():
    labels = patch(10, 60, 10, 60, identity=900000)
    labels[100:180, 100:220] = 900000
    box = only(segment_boxes(make_frame(wall()), labels))
    assert box.id == 900000 and box.points == pytest.approx(80 * 120, abs=400)
    assert box.centroid[0] == pytest.approx(0, abs=0.02)


def test_order_filters_and_settings():
    labels = (np.indices((240, 320))[1] // 40).astype(np.int32)
    labels = np.where(labels == 3, -1, 20 - labels).astype(np.int32)
    depth = wall()
    depth[:, 280:] = 7.0
    frame = make_frame(depth)
    ids = [13, 14, 15, 16, 18, 19, 20]
    assert [box.id for box in segment_boxes(frame, labels)] == ids
    near = segment_boxes(frame, labels, CloudConfig(max_depth=4.0, flying_pixels=0.1,
                                                    organised=False))
    assert [box.id for box in near] == ids[1:]
    assert segment_boxes(frame, labels, min_points=40 * 240 + 1000) == []


@pytest.mark.parametrize('value', [np.nan, 0, np.inf])
def test_without_depth_there_are_no_boxes(value):
    assert segment_boxes(make_frame(wall(value)), patch(0, 240, 0, 320)) == []
    assert segment_boxes(make_frame(wall()), patch(0, 0, 0, 0)) == []


def test_few_pixels_give_no_box_and_a_line_gives_a_flat_one():
    assert segment_boxes(make_frame(wall()), patch(50, 54, 50, 54)) == []
    pixel = only(segment_boxes(make_frame(wall()), patch(50, 52, 50, 52), min_points=1))
    np.testing.assert_allclose(pixel.size, 0, atol=1e-9)
    assert_proper(pixel)
    line = only(segment_boxes(make_frame(wall()), patch(51, 52, 20, 220), min_points=1))
    assert sorted(line.size)[:2] == pytest.approx([0, 0], abs=1e-5)
    assert max(line.size) == pytest.approx(199 / 150, abs=4 / 150)


@given(st.integers(0, 10**6))
def test_random_scenes_give_proper_boxes(seed):
    rng = np.random.default_rng(seed)
    depth = rng.choice([np.nan, 1.0, 1.03, 2.0, 5.0], (24, 32), p=[0.2, 0.3, 0.3, 0.1, 0.1])
    labels = rng.integers(-1, 4, (24, 32)).astype(np.int32)
    camera = Intrinsics(32, 24, 30.0, 30.0, 15.5, 11.5)
    found = segment_boxes(make_frame(depth, camera), labels, min_points=1)
    valid = np.isfinite(depth)
    assert [box.id for box in found] == np.unique(labels[valid & (labels >= 0)]).tolist()
    for box in found:
        assert_proper(box)
        assert 0 < box.points <= np.count_nonzero(valid & (labels == box.id))
        assert (np.abs((box.centroid - box.centre) @ box.rotation) <= box.size / 2 + 1e-9).all()
        assert np.isfinite(box.corners).all()


def test_real_frame_has_boxes_the_size_of_furniture(real_sequences):
    from diffseg_ros.io.sequence_folder import SequenceFolder
    frame = SequenceFolder(real_sequences / 'redkitchen').read(20).frame
    labels = (np.arange(480)[:, None] // 68 * 7 + np.arange(640) // 92).astype(np.int32)
    found = segment_boxes(frame, labels, CloudConfig(max_depth=4.0), min_points=500)
    assert len(found) > 40
    assert all(0.05 < box.size.max() < 1.5 for box in found)
