"""~/save and ~/load of a node that ends and starts again, with the embedded model."""

from __future__ import annotations

import array
from pathlib import Path

from diffseg_ros.synthetic.camera_path import camera_path
from diffseg_ros.synthetic.renderer import Renderer
from diffseg_ros.synthetic.scene import create_scene
from diffseg_ros.types import Intrinsics
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
from node_rig import Client, stamped, stamps  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

SIZE = 160, 120
NODE = '-m', 'diffseg_ros.cli.node'
SETTINGS = ('-p', 'tracking.keyframe_interval:=1', '-p', 'tracking.confirm_after:=1',
            '-p', 'backbone.tokens:=300')


@pytest.fixture(scope='module')
def room() -> np.ndarray:
    """Return the image of a generated room."""
    scene = create_scene(0)
    camera = Intrinsics(*SIZE, 131.25, 131.25, 79.5, 59.5)
    return Renderer(scene, camera).render(0.0, camera_path(scene, np.zeros(1))[0], 0).rgb


def trigger(client: Client, name: str) -> tuple[bool, str]:
    answer = client.call(Trigger, name, Trigger.Request())
    return answer.success, answer.message


def send(client: Client, rgb: np.ndarray, numbers: range) -> np.ndarray:
    """Send an image under some numbers, one after the other; return the last labels."""
    for number in numbers:
        client.images.publish(stamped(Image(
            width=SIZE[0], height=SIZE[1], encoding='rgb8', step=SIZE[0] * 3,
            data=array.array('B', rgb.tobytes())), number, 'camera'))
        client.until(lambda: stamps(client.got['labels'])[-1:] == [number])
    return np.frombuffer(client.got['labels'][-1].data, '<u2')


def active(client: Client) -> None:
    client.until(lambda: client.values.get('state') == 'active')
    client.subscribe('labels')
    client.ready(client.images)


def test_ids_last_over_a_restart_and_wrong_files_are_refused(rig, room, tmp_path):
    file, wrong = tmp_path / 'kitchen' / 'memory.safetensors', tmp_path / 'notes'
    wrong.write_text('mine')
    client = rig.start(*SETTINGS, program=NODE)
    active(client)
    before = send(client, room, range(5))
    assert trigger(client, 'save') == (
        False, 'parameter memory.file: empty; set it to the path of a file')
    for name in ('save', 'load'):
        assert client.set_parameter('memory.file', str(wrong))[0]
        success, message = trigger(client, name)
        assert not success and 'no safetensors file' in message and '\n' not in message
    assert wrong.read_text() == 'mine'
    assert client.set_parameter('memory.file', str(file))[0]
    success, message = trigger(client, 'save')
    assert success and message.endswith('tracks saved') and file.exists()
    after = send(client, room, range(5, 7))
    assert (after == before).mean() > 0.9
    success, message = trigger(client, 'load')
    assert success and message.endswith('tracks loaded')
    assert (send(client, room, range(7, 9)) == before).mean() > 0.6
    client.until(lambda: client.values.get('memory_saved', '0') != '0')
    file.unlink()
    assert rig.stop() == 0
    assert file.exists() and 'tracks saved' in rig.log

    client.statuses.clear()
    rig.start(*SETTINGS, '-p', f'memory.file:={file}', program=NODE)
    client.until(lambda: client.values.get('state') == 'active')
    client.ready(client.images)
    again = send(client, room, range(20, 22))
    assert 'tracks loaded' in rig.log
    assert (again == before).mean() > 0.6
    new = np.setdiff1d(again, before)
    assert not len(new) or new.min() > before.max()
    client.until(lambda: int(client.values.get('memory_found_again', '0')) > 0)
    assert rig.stop() == 0


def test_a_wrong_file_keeps_the_node_from_being_configured(rig, tmp_path):
    file = Path(tmp_path, 'cut.safetensors')
    file.write_bytes(b'\x10')
    client = rig.start('-p', f'memory.file:={file}', program=NODE)
    client.until(lambda: 'not configured because: memory file' in client.sentence)
    assert client.level == 2 and file.read_bytes() == b'\x10'
    assert trigger(client, 'load') == (False, 'the node is unconfigured; configure it first')
    assert client.set_parameter('memory.file', '') == (True, '')
    assert client.transition('configure')
    assert rig.stop() == 0
