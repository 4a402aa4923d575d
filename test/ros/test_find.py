"""~/find: words are looked for in what the camera sees and has seen."""

from __future__ import annotations

import array
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
from diffseg_ros.io.messages import nanoseconds  # noqa: E402
import node_rig  # noqa: E402
from node_rig import camera_info, Client, depth, Rig, stamp_of, stamped  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from visualization_msgs.msg import Marker, MarkerArray  # noqa: E402

NODE = str(Path(__file__).with_name('naming_node.py')),
SETTINGS = [part for setting in (
    'naming.model:=stub', 'naming.vocabulary:=[red, green, blue]', 'naming.budget:=4',
    'tracking.keyframe_interval:=1', 'tracking.min_share:=0.01',
    'segmentation.cut.position:=0.0') for part in ('-p', setting)]
BLUE, RED = (20, 40, 200), (220, 20, 20)
ROWS, COLUMNS = slice(12, 36), slice(16, 44)


@pytest.fixture
def rig(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Rig:
    for name, kind in (('mask', Image), ('ranking', String), ('markers', MarkerArray)):
        monkeypatch.setitem(node_rig.TYPES, f'found/{name}', kind)
    return rig


def send(client: Client, number: int, *, thing: bool = True) -> None:
    rgb = np.full((node_rig.HEIGHT, node_rig.WIDTH, 3), BLUE, np.uint8)
    metres = np.full(rgb.shape[:2], 2.0)
    if thing:
        rgb[ROWS, COLUMNS], metres[ROWS, COLUMNS] = RED, 1.0
    client.infos.publish(camera_info(number))
    client.depths.publish(depth(number, metres=metres))
    client.images.publish(stamped(Image(
        width=node_rig.WIDTH, height=node_rig.HEIGHT, encoding='rgb8', step=node_rig.WIDTH * 3,
        data=array.array('B', rgb.tobytes())), number, 'camera'))
    seen = len(client.got['labels'])
    client.until(lambda: len(client.got['labels']) > seen)


def newest(client: Client, name: str, number: int) -> Any:
    """Return what an output says of an image; each topic comes in its own time."""
    def stamp(message: Any) -> int:
        if isinstance(message, String):
            return json.loads(message.data)['stamp']
        header = message.markers[0].header if isinstance(message, MarkerArray) else message.header
        return nanoseconds(header.stamp)

    client.until(lambda: client.got[name] and stamp(client.got[name][-1]) == stamp_of(number))
    return client.got[name][-1]


def mask(client: Client, number: int) -> np.ndarray:
    data = newest(client, 'found/mask', number).data
    return np.frombuffer(data, np.uint8).reshape(node_rig.HEIGHT, -1)


def ranking(client: Client, number: int) -> dict:
    return json.loads(newest(client, 'found/ranking', number).data)


def test_words_find_what_is_in_view_and_what_was(rig):
    client = rig.start(*SETTINGS, program=NODE)
    client.until(lambda: client.values.get('state') == 'active')
    words = client.node.create_publisher(String, '/diffseg/find', 10)
    client.subscribe('labels', 'found/mask', 'found/ranking', 'found/markers')
    client.ready(client.images, client.depths, client.infos, words)
    for number in range(4):
        send(client, number)
    assert not client.got['found/ranking']

    words.publish(String(data='red'))
    client.until(lambda: "looking for 'red'" in rig.log)
    numbers = iter(range(4, 400))
    for number in numbers:
        send(client, number)
        found = mask(client, number)
        if found.any():
            break
    truth = np.zeros(found.shape, bool)
    truth[ROWS, COLUMNS] = True
    assert set(np.unique(found)) == {0, 255}
    assert (truth & (found > 0)).sum() / (truth | (found > 0)).sum() > 0.9
    best = ranking(client, number)['tracks'][0]
    assert best['name'] == 'red' and best['score'] > 0.7 and best['in_view']
    cube, text = newest(client, 'found/markers', number).markers[1:3]
    assert (cube.type, cube.id) == (Marker.CUBE, best['id'])
    assert text.text.startswith('red 0.') and text.text.endswith(f'({best["id"]})')

    words.publish(String(data='mauve'))
    client.until(lambda: "'mauve': colours does not know what that is" in rig.log)
    for _ in range(8):
        number = next(numbers)
        send(client, number, thing=False)
    left = ranking(client, number)
    gone = next(one for one in left['tracks'] if one['id'] == best['id'])
    assert left['words'] == 'red' and not gone['in_view']

    words.publish(String(data=''))
    client.until(lambda: "looking for ''" in rig.log)
    count = len(client.got['found/ranking'])
    send(client, next(numbers))
    client.spin(0.5)
    assert len(client.got['found/ranking']) == count


def test_without_naming_words_are_refused_in_the_log(rig):
    client = rig.start(*SETTINGS, '-p', "naming.model:=''", program=NODE)
    client.until(lambda: client.values.get('state') == 'active')
    words = client.node.create_publisher(String, '/diffseg/find', 10)
    client.until(words.get_subscription_count)
    words.publish(String(data='red'))
    client.until(lambda: "~/find 'red': words cannot be looked for: naming is off" in rig.log)
