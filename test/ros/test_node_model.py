"""The node with the real pipeline and a randomly initialised model, over real topics."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
from diffseg_ros.training.checkpoint import create_model, save_weights  # noqa: E402
from node_rig import stamps  # noqa: E402


def test_labels_and_clouds_come_out_of_a_model_on_disk(rig, tmp_path):
    model = tmp_path / 'model'
    save_weights(create_model(), model)
    client = rig.start('-p', f'backbone.model:={model}', '-p', 'backbone.tokens:=64',
                       program=('-m', 'diffseg_ros.cli.node'))
    client.until(lambda: client.values.get('state') == 'active')
    client.subscribe('labels', 'points')
    client.ready()
    for number in range(3):
        client.send(number)
        client.until(lambda: all(len(got) == number + 1 for got in client.got.values()))
    client.settled(3)
    assert stamps(client.got['labels']) == stamps(client.got['points']) == [0, 1, 2]
    assert client.values['model'] == 'model' and client.values['device'] != ''
    labels = np.frombuffer(client.got['labels'][-1].data, '<u2')
    points = np.frombuffer(client.got['points'][-1].data, '<u4').reshape(-1, 6)
    assert np.array_equal(points[:, 4], labels)
    assert np.allclose(points[:, 2].view('<f4'), 1.5)
    assert rig.stop() == 0
