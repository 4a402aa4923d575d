"""
Count what arrives of colour, depth and a cloud at 15 Hz, with and without the transport profile.

    python test/soak/transport.py

Publisher and subscriber are two processes; best effort, 640x480, a cloud of 307200 points.
"""

from __future__ import annotations

import argparse
import array
import os
from pathlib import Path
import subprocess
import sys
import tempfile
import time

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'test' / 'ros')]
SIZES = {'rgb': 640 * 480 * 3, 'depth': 640 * 480 * 2, 'points': 640 * 480 * 24}
RATE, COUNT = 15, 60
DEFAULTS = '<?xml version="1.0"?><dds xmlns="http://www.eprosima.com"><profiles/></dds>'


def publish() -> None:
    """Send COUNT messages of each size at RATE."""
    import rclpy
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image

    rclpy.init()
    node = rclpy.create_node('publisher')
    publishers = {name: node.create_publisher(Image, name, qos_profile_sensor_data)
                  for name in SIZES}
    messages = {name: Image(data=array.array('B', bytes(size))) for name, size in SIZES.items()}
    while not all(item.get_subscription_count() for item in publishers.values()):
        time.sleep(0.05)
    time.sleep(1)
    begin = time.monotonic()
    for number in range(COUNT):
        time.sleep(max(begin + number / RATE - time.monotonic(), 0))
        for name, publisher in publishers.items():
            messages[name].header.stamp.sec, messages[name].header.stamp.nanosec = divmod(
                time.time_ns(), 10**9)
            publisher.publish(messages[name])
    time.sleep(1)


def receive(environment: dict[str, str]) -> dict[str, tuple[int, float]]:
    """Return how many messages of each kind came, and their median latency in ms."""
    import numpy as np
    import rclpy
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image

    os.environ.update(environment)
    rclpy.init()
    node = rclpy.create_node('subscriber')
    ages: dict[str, list[float]] = {name: [] for name in SIZES}

    def note(name: str, message: Image) -> None:
        sent = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        ages[name].append((time.time_ns() - sent) / 1e6)

    for name in SIZES:
        node.create_subscription(Image, name, lambda message, name=name: note(name, message),
                                 qos_profile_sensor_data)
    process = subprocess.Popen([sys.executable, __file__, '--publish'],
                               env={**os.environ, **environment})
    while process.poll() is None:
        rclpy.spin_once(node, timeout_sec=0.1)
    return {name: (len(values), float(np.median(values)) if values else float('nan'))
            for name, values in ages.items()}


def main() -> None:
    """Measure both, each in processes of its own."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('--publish', action='store_true', help=argparse.SUPPRESS)
    parser.add_argument('--receive', action='store_true', help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.publish:
        publish()
        return
    if arguments.receive:
        for name, (count, latency) in receive({}).items():
            print(f'  {name}: {count} of {COUNT}, {latency:.0f} ms')
        return
    from node_rig import own_domain

    with tempfile.TemporaryDirectory() as folder, own_domain() as domain:
        defaults = Path(folder, 'defaults.xml')
        defaults.write_text(DEFAULTS)
        for title, profile in (('default transports', defaults),
                               ("the package's profile", ROOT / 'config' / 'fastdds.xml')):
            print(title, flush=True)
            subprocess.run([sys.executable, __file__, '--receive'], check=True, env={
                **os.environ, 'FASTDDS_DEFAULT_PROFILES_FILE': str(profile),
                'ROS_DOMAIN_ID': str(domain)})


if __name__ == '__main__':
    main()
