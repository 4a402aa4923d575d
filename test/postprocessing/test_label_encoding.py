"""Ids as pixel values: ranges, slots and the unlabelled value."""

from __future__ import annotations

from diffseg_ros.config import NodeConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.postprocessing.label_encoding import LabelEncoder
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import numpy as np
import pytest


def ids(*values: int) -> np.ndarray:
    return np.array([values], np.int32)


@pytest.mark.parametrize(('encoding', 'dtype', 'unlabelled'), [
    ('16UC1', np.uint16, 65535), ('mono8', np.uint8, 255), ('32SC1', np.int32, -1)])
def test_default_unlabelled_value_is_all_bits_set(encoding, dtype, unlabelled):
    values = LabelEncoder(encoding).encode(ids(-1, -1))
    assert values.dtype == dtype
    assert values.tolist() == [[unlabelled, unlabelled]]


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.int32, (5, 7), elements=st.integers(-1, 2**31 - 1)))
def test_32_bits_carry_every_id(labels):
    encoder = LabelEncoder('32SC1')
    assert np.array_equal(encoder.encode(labels), labels)
    assert np.array_equal(encoder.point_values(labels), labels.view(np.uint32))


def test_16_bits_leave_larger_ids_unlabelled_and_count_them():
    encoder = LabelEncoder('16UC1')
    values = encoder.encode(ids(1, 65534, 65535, 65536, 70000, -1))
    assert values.tolist() == [[1, 65534, 65535, 65535, 65535, 65535]]
    assert encoder.unencodable == 3
    encoder.encode(ids(1, 2))
    assert encoder.unencodable == 0


def test_an_id_that_is_the_unlabelled_value_is_not_passed_off_as_one():
    encoder = LabelEncoder('16UC1', unlabelled_value=7)
    assert encoder.encode(ids(6, 7, 8, -1)).tolist() == [[6, 7, 8, 7]]
    assert encoder.unencodable == 1


def test_mono8_keeps_the_slot_of_an_id():
    encoder = LabelEncoder('mono8')
    first = encoder.encode(ids(70001, 90000, 70001, -1))[0]
    second = encoder.encode(ids(90000, 5, 70001))[0]
    assert first[0] == first[2] != first[1]
    assert first[3] == 255
    assert (second[0], second[2]) == (first[1], first[0])
    assert len(set(second.tolist())) == 3


def test_mono8_has_255_slots_and_the_rest_is_unlabelled_and_counted():
    encoder = LabelEncoder('mono8', unlabelled_value=0)
    values = encoder.encode(np.arange(1, 301, dtype=np.int32)[None])[0]
    assert sorted(values[values != 0].tolist()) == list(range(1, 256))
    assert encoder.unencodable == 45


def test_mono8_slots_come_back_after_the_track_is_gone_and_not_before():
    encoder = LabelEncoder('mono8', max_misses=2)
    full = np.arange(255, dtype=np.int32)[None]
    encoder.encode(full)
    for _ in range(2):
        encoder.encode(ids(300))
        assert encoder.unencodable == 1
    encoder.encode(ids(300))
    assert encoder.unencodable == 0


def test_widely_spread_ids_need_no_huge_table():
    labels = ids(1, 2**31 - 2, -1, 1)
    assert LabelEncoder('32SC1').encode(labels).tolist() == labels.tolist()


@pytest.mark.parametrize(('encoding', 'value'), [('mono8', 256), ('16UC1', 65536)])
def test_unlabelled_value_must_fit_the_encoding(encoding, value):
    with pytest.raises(DiffsegError, match=f'unlabelled_value: got {value}.*{encoding}'):
        NodeConfig(labels_encoding=encoding, unlabelled_value=value)


@pytest.mark.parametrize(('encoding', 'unlabelled', 'values'), [
    ('32SC1', -1, [0, 1, 2]), ('16UC1', -1, [0, 1, 2]), ('mono8', 0, [1, 2, 3])])
def test_slots_limit_the_values_of_any_encoding(encoding, unlabelled, values):
    encoder = LabelEncoder(encoding, unlabelled, pool_size=3)
    encoded = encoder.encode(ids(500, 90, 7000, 8, -1))[0]
    assert sorted(set(encoded.tolist()) - {encoder.unlabelled}) == values
    assert encoded[-1] == encoder.unlabelled
    assert encoder.unencodable == 1


@pytest.mark.parametrize(('encoding', 'unlabelled'), [('mono8', 255), ('32SC1', -1)])
def test_classes_take_the_place_of_ids(encoding, unlabelled):
    encoder = LabelEncoder(encoding, content='class')
    assert encoder.encode(ids(7, 300, -1, 70000)).tolist() == [[0, 0, unlabelled, 0]]
    assert encoder.unencodable == 0


def test_settings_reach_the_encoder():
    encoder = LabelEncoder.from_config(NodeConfig(labels_encoding='32SC1', label_pool_size=2))
    assert set(encoder.encode(ids(10, 20, 30)).ravel().tolist()) == {0, 1, -1}
    encoder = LabelEncoder.from_config(NodeConfig(labels_content='class'))
    assert encoder.encode(ids(10, -1)).tolist() == [[0, 65535]]


@pytest.mark.parametrize('settings', [
    {'labels_encoding': 'mono8', 'label_pool_size': 256},
    {'labels_content': 'class', 'unlabelled_value': 0}])
def test_settings_that_leave_no_value_are_refused(settings):
    with pytest.raises(DiffsegError, match='label_pool_size: got 256|unlabelled_value: 0 is the'):
        NodeConfig(**settings)
