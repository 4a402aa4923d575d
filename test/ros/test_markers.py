"""Boxes for RViz are where the segments are, in the colours of the overlay."""

from __future__ import annotations

from diffseg_ros.geometry.boxes import SegmentBox
from diffseg_ros.viz.colours import label_colours
import numpy as np
import pytest

pytest.importorskip('visualization_msgs', reason='the ROS message packages are not installed')
from diffseg_ros.ros.markers import marker_array  # noqa: E402
from diffseg_ros.ros.messages import header_of  # noqa: E402
from scipy.spatial.transform import Rotation  # noqa: E402
from visualization_msgs.msg import Marker  # noqa: E402

HEADER = header_of(1_700_000_000_000_000_005, 'optical')


def box(identity: int, size: tuple[float, float, float] = (0.4, 0.2, 0.1)) -> SegmentBox:
    rotation = Rotation.from_euler('xyz', [20, 40, 60], degrees=True).as_matrix()
    return SegmentBox(identity, np.array([0.1, 0.2, 2.0]), np.array([0.15, 0.25, 2.05]),
                      np.array(size), rotation, 500)


def test_old_boxes_are_deleted_before_the_new_ones_come():
    for boxes in ([], [box(3), box(9)]):
        first, *others = marker_array(boxes, HEADER).markers
        assert first.action == Marker.DELETEALL
        assert len(others) == 2 * len(boxes)
        assert {marker.action for marker in others} <= {Marker.ADD}


def test_cube_fills_the_box_and_text_names_it():
    given = box(70000)
    _, cube, text = marker_array([given], HEADER).markers
    assert (cube.type, text.type) == (Marker.CUBE, Marker.TEXT_VIEW_FACING)
    assert cube.id == text.id == 70000 and text.text == '70000'
    assert (cube.ns, cube.id) != (text.ns, text.id)
    position, turn = cube.pose.position, cube.pose.orientation
    assert np.allclose([position.x, position.y, position.z], given.centre)
    assert np.allclose(Rotation.from_quat([turn.x, turn.y, turn.z, turn.w]).as_matrix(),
                       given.rotation)
    assert np.allclose([cube.scale.x, cube.scale.y, cube.scale.z], given.size)
    assert text.pose.position.y < given.corners[:, 1].min() and text.scale.z > 0
    red, green, blue = label_colours(np.array([70000]))[0] / 255
    assert np.allclose([cube.color.r, cube.color.g, cube.color.b], [red, green, blue])
    assert 0 < cube.color.a < 1 and text.color.a == 1
    for marker in (cube, text):
        assert (marker.header.frame_id, marker.header.stamp) == ('optical', HEADER.stamp)
        assert 0 < marker.lifetime.sec + marker.lifetime.nanosec / 1e9 < 10


def test_flat_segments_have_a_thickness_that_rviz_draws():
    _, cube, _ = marker_array([box(1, (0.5, 0.5, 0.0))], HEADER).markers
    assert cube.scale.z > 0
