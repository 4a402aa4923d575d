"""From messages to a frame: what TF tells of the camera, and ranges of another sensor."""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
from diffseg_ros.ros.camera_motion import CameraMotion  # noqa: E402
from diffseg_ros.ros.counters import Counters  # noqa: E402
from diffseg_ros.ros.frame_converter import FrameConverter, Topics  # noqa: E402
from diffseg_ros.ros.messages import image_message, make_header  # noqa: E402
from diffseg_ros.ros.sparse_ranges import SparseRanges  # noqa: E402
from diffseg_ros.ros.synchronizer import FrameSynchronizer, SyncedMessages  # noqa: E402
import numpy as np  # noqa: E402
from test_motion import transforms  # noqa: E402
from test_sparse_ranges import scan  # noqa: E402

S = 10**9


def test_a_frame_has_what_tf_tells_early_late_and_in_time():
    motion, counters = CameraMotion(), Counters()
    for child, place in (('camera', (0, 0, 1)), ('lidar', (0, 1, 1))):
        motion.add_transforms(transforms(0, 'base_link', child, *place), static=True)
    for second in range(3):
        motion.add_transforms(transforms(second * S, 'odom', 'base_link', second, 0, 0),
                              static=False)
        motion.add_transforms(transforms(second * S, 'map', 'odom', 20, 0, 0), static=False)
    ranges = SparseRanges('scan', motion, counters)
    converter = FrameConverter(FrameSynchronizer(counters, timeout=0.0), Topics('a', 'b', 'c'),
                               counters, motion, ranges=ranges)

    def frame(stamp):
        image = image_message(np.zeros((4, 4, 3), np.uint8), 'rgb8', make_header(stamp, 'camera'))
        return converter.convert(SyncedMessages(image, stamp, 0, 0.0, set()))[0]

    ranges.add(scan(2 * S - S // 10))
    known = frame(2 * S)
    assert known.pose[:3, 3].tolist() == [22, 0, 1] and known.up is None
    assert known.odom_pose[:3, 3].tolist() == [2, 0, 1]
    np.testing.assert_allclose(known.ranges, [[1.9, 1, 0]], atol=1e-6)
    # TF does not reach the next image: the robot's place is not known, the camera's on it is.
    late = frame(2 * S + S // 20)
    assert late.pose is None and late.odom_pose is None and late.up.tolist() == [0, 0, 1]
    np.testing.assert_allclose(late.ranges, [[2, 1, 0]], atol=1e-6)
