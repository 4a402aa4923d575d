"""Detections against a stand-in with the fields of vision_msgs, and the real one where it is."""

from __future__ import annotations

from diffseg_ros.geometry.boxes import SegmentBox
import numpy as np
import pytest

pytest.importorskip('geometry_msgs', reason='the ROS message packages are not installed')
from diffseg_ros.ros.detections import (  # noqa: E402
    detections_2d,
    detections_3d,
    label_info,
    Segments2D,
    vision_messages,
)
from diffseg_ros.ros.messages import header_of  # noqa: E402
from vision_stand_in import MODULE  # noqa: E402

HEADER = header_of(1_700_000_000_000_000_005, 'optical')
MODULES = [pytest.param(MODULE, id='stand-in'), pytest.param(
    vision_messages(), id='vision_msgs', marks=pytest.mark.skipif(
        vision_messages() is None, reason='vision_msgs is not installed: it comes with a ROS '
        'distribution, not from PyPI'))]


def scene() -> tuple[np.ndarray, np.ndarray]:
    labels = np.full((20, 30), -1, np.int32)
    labels[2:10, 4:9] = 7
    labels[15, 25] = 7
    labels[10:20, 0:3] = 70000
    confidence = np.where(labels == 7, 51, 255).astype(np.uint8)
    confidence[15, 25] = 92
    return labels, confidence


def test_segments_are_measured_in_pixels():
    segments = Segments2D(*scene())
    assert segments.ids.tolist() == [7, 70000]
    assert segments.boxes.tolist() == [[14.5, 8.5, 22, 14], [1, 14.5, 3, 10]]
    assert np.allclose(segments.scores, [(40 * 51 + 92) / 41 / 255, 1])


@pytest.mark.parametrize('labels', [np.full((4, 5), -1, np.int32),
                                    np.array([[0, 2**31 - 1], [0, -1]], np.int32)])
def test_frames_without_segments_and_with_far_ids_are_measured(labels):
    segments = Segments2D(labels, np.full(labels.shape, 9, np.uint8))
    assert segments.ids.tolist() == [label for label in np.unique(labels) if label >= 0]
    assert segments.boxes.shape == (len(segments.ids), 4)


@pytest.mark.parametrize('vision', MODULES)
def test_detections_in_the_image(vision):
    array = detections_2d(Segments2D(*scene()), HEADER, vision)
    assert array.header == HEADER
    first, second = array.detections
    assert (first.id, second.id) == ('7', '70000')
    assert first.header == HEADER
    box = first.bbox
    assert (box.center.position.x, box.center.position.y, box.center.theta) == (14.5, 8.5, 0.0)
    assert (box.size_x, box.size_y) == (22.0, 14.0)
    result, = second.results
    assert (result.hypothesis.class_id, result.hypothesis.score) == ('segment', 1.0)


@pytest.mark.parametrize('vision', MODULES)
def test_detections_in_space(vision):
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], np.float64)
    box = SegmentBox(7, np.array([0.0, 0.0, 2.0]), np.array([0.1, 0.2, 2.5]),
                     np.array([0.3, 0.6, 0.9]), turn, 90)
    array = detections_3d([box], Segments2D(*scene()), HEADER, vision)
    found, = array.detections
    assert (found.id, found.header, array.header) == ('7', HEADER, HEADER)
    centre, size = found.bbox.center, found.bbox.size
    assert (centre.position.x, centre.position.y, centre.position.z) == (0.1, 0.2, 2.5)
    assert np.isclose(abs(centre.orientation.z), 0.5**0.5)
    assert np.isclose(centre.orientation.z, centre.orientation.w)
    assert (size.x, size.y, size.z) == (0.3, 0.6, 0.9)
    result, = found.results
    assert result.hypothesis.class_id == 'segment'
    assert result.pose.pose == centre


@pytest.mark.parametrize('vision', MODULES)
def test_label_info_calls_every_segment_a_segment(vision):
    info = label_info(HEADER, vision)
    assert [(item.class_id, item.class_name) for item in info.class_map] == [(0, 'segment')]
    assert info.header == HEADER and info.threshold == 0.0
