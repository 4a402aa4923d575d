"""Images are decoded as cv_bridge decodes them, where all of its releases are right."""

from __future__ import annotations

import array

from diffseg_ros.io.messages import decode_colour
import numpy as np
import pytest

cv_bridge = pytest.importorskip('cv_bridge', reason='cv_bridge needs the ROS messages')
Image = pytest.importorskip('sensor_msgs.msg').Image


@pytest.mark.parametrize(('encoding', 'channels'), [('rgb8', 3), ('bgr8', 3), ('rgba8', 4),
                                                    ('bgra8', 4), ('mono8', 1)])
def test_colours_are_those_of_cv_bridge(encoding, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, channels), np.uint8)
    message = Image(height=12, width=16, encoding=encoding, step=16 * channels,
                    data=array.array('B', pixels.tobytes()))
    expected = cv_bridge.CvBridge().imgmsg_to_cv2(message, 'rgb8')
    np.testing.assert_array_equal(decode_colour(message), expected)
