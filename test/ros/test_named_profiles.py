"""Profiles with classes over real topics: khronos, and hydra and nav2 with names."""

from __future__ import annotations

from collections.abc import Iterator

from diffseg_ros.config import PipelineConfig
from diffseg_ros.naming.base import NamingSettings
from diffseg_ros.naming.label_space import label_space
import numpy as np
import pytest
import yaml

pytest.importorskip('rclpy', reason='rclpy is not installed')
from grid_node import grid_labels, grid_names  # noqa: E402
from node_rig import own_domain  # noqa: E402
from profile_rig import (  # noqa: E402
    FRAMES,
    HEIGHT,
    millimetres,
    pixels,
    points,
    ProfileRig,
    stamp_of,
    WIDTH,
    write_recording,
)
from rclpy.qos import qos_profile_sensor_data, QoSProfile  # noqa: E402
from sensor_msgs.msg import Image, PointCloud2  # noqa: E402

RELIABLE = QoSProfile(depth=10)
READS = {
    '/khronos/semantic/image_raw': (Image, RELIABLE),
    '/khronos_named/semantic/image_raw': (Image, RELIABLE),
    '/khronos_instance_first/semantic/image_raw': (Image, RELIABLE),
    '/hydra_named/semantic/image_raw': (Image, RELIABLE),
    '/nav2_named/diffseg/labels': (Image, qos_profile_sensor_data),
    '/nav2_named/diffseg/points': (PointCloud2, qos_profile_sensor_data)}
NAMED = {'naming.model': 'imagenet'}
"""The stand-in pipeline names its segments by the built-in vocabulary."""
CONFIG = PipelineConfig(naming=NamingSettings(model='imagenet'))
LABELS = grid_labels(HEIGHT, WIDTH)
LABELLED = LABELS >= 0


@pytest.fixture(scope='module')
def got(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list]]:
    folder = tmp_path_factory.mktemp('named_profiles')
    write_recording(folder / 'recording.mcap')
    with own_domain() as domain:
        rig = ProfileRig(domain, folder)
        try:
            rig.start('khronos', {})
            rig.start('khronos', NAMED, 'khronos_named')
            rig.start('khronos', {**NAMED, 'labels_content': 'id_and_class'},
                      'khronos_instance_first')
            rig.start('hydra', {**NAMED, 'labels_content': 'class'}, 'hydra_named')
            rig.start('nav2', {**NAMED, 'removal.names': '[floor]'}, 'nav2_named')
            for topic, (kind, qos) in READS.items():
                rig.subscribe(topic, kind, qos)
            rig.play(folder / 'recording.mcap')
            yield rig.got
        finally:
            rig.close()


def classes() -> np.ndarray:
    """Return the (H, W) class of each segment, -1 where there is none."""
    numbers = {identity: CONFIG.vocabulary.class_of(name)
               for identity, name in grid_names(CONFIG).items()}
    assert {0, 1, 2, 5} < set(numbers.values())
    return np.vectorize({-1: -1, **numbers}.get)(LABELS)


def test_every_message_has_exactly_the_stamp_and_frame_of_its_colour_image(got):
    for topic in READS:
        stamps = [message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
                  for message in got[topic]]
        assert stamps == [stamp_of(number) for number in range(FRAMES)], topic
        assert {message.header.frame_id for message in got[topic]} == {'optical'}, topic


@pytest.mark.parametrize(('namespace', 'named', 'instance_first'), [
    ('khronos', False, False), ('khronos_named', True, False),
    ('khronos_instance_first', True, True)])
def test_khronos_gets_category_and_instance_in_32_bits(got, namespace, named, instance_first):
    messages = got[f'/{namespace}/semantic/image_raw']
    assert {message.encoding for message in messages} == {'32SC1'}
    for message in messages:
        values = pixels(message, '<i4')
        assert np.array_equal(values == 0, ~LABELLED)
        halves = [values[LABELLED] >> 16, values[LABELLED] & 0xFFFF]
        category, instance = halves[::-1] if instance_first else halves
        assert np.array_equal(category, classes()[LABELLED] if named else 0 * category)
        assert np.array_equal(instance, LABELS[LABELLED])


def test_hydra_gets_classes_of_its_label_space(got):
    space = yaml.safe_load(label_space(CONFIG.vocabulary))
    names = {entry['label']: entry['name'] for entry in space['label_names']}
    values = pixels(got['/hydra_named/semantic/image_raw'][-1], '<i4')
    assert np.array_equal(values, classes())
    assert values.max() < space['total_semantic_labels']
    for identity, name in grid_names(CONFIG).items():
        assert {names[value] for value in values[LABELS == identity].tolist()} == {
            name or 'unknown'}


def test_nav2_gets_classes_and_no_points_of_what_is_removed_by_name(got):
    values = pixels(got['/nav2_named/diffseg/labels'][-1], 'u1')
    assert np.array_equal(values, np.where(LABELLED, classes(), 255))
    cloud = points(got['/nav2_named/diffseg/points'][-1])
    floor = CONFIG.vocabulary.by_name['floor'].id
    assert (values == floor).any()
    assert np.array_equal(np.isfinite(cloud['z']), (millimetres() > 0) & (values != floor))
    assert np.array_equal(cloud['label'], values)
