"""A camera in its own process: 64x48 RGB-D at 20 Hz, stamped by the clock, until it is ended."""

from __future__ import annotations

import sys
import time

from diffseg_ros.ros.startup import use_large_message_profile
from node_rig import camera_info, depth, image, START
import rclpy
from sensor_msgs.msg import CameraInfo, Image


def main() -> None:
    use_large_message_profile()
    rclpy.init()
    node = rclpy.create_node('camera', namespace=sys.argv[1] if len(sys.argv) > 1 else '')
    images = node.create_publisher(Image, 'rgb/image_raw', 10)
    depths = node.create_publisher(Image, 'depth_registered/image_rect', 10)
    infos = node.create_publisher(CameraInfo, 'rgb/camera_info', 10)
    while True:
        number = (time.time_ns() - START) / 1e8
        infos.publish(camera_info(number))
        depths.publish(depth(number))
        images.publish(image(number))
        time.sleep(0.05)


if __name__ == '__main__':
    main()
