"""Ids as pixel values: ranges, slots and the unlabelled value."""

from __future__ import annotations

from diffseg_ros.config import NodeConfig, PipelineConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.naming.base import NamingSettings
from diffseg_ros.postprocessing.label_encoding import check_classes, LabelEncoder
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


def test_segments_have_the_class_of_their_name():
    encoder = LabelEncoder('mono8', content='class')
    assert encoder.encode(ids(7, 300, -1, 70000), {300: 4, 70000: 254, 9: 1}).tolist() == [
        [0, 4, 255, 254]]
    assert encoder.point_values(np.array([300, 7, -1], np.int32)).tolist() == [4, 0, 255]


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.int32, (5, 7), elements=st.one_of(st.integers(-1, 40),
                                                       st.integers(65000, 66000))),
       st.dictionaries(st.integers(0, 40), st.integers(0, 2**15 - 1)))
@pytest.mark.parametrize(('content', 'largest'), [('class_and_id', 2**16 - 1),
                                                  ('id_and_class', 2**15 - 1)])
def test_class_and_id_share_32_bits(content, largest, labels, classes):
    labels[labels == 0] = 1
    encoder = LabelEncoder('32SC1', 0, content=content)
    values = encoder.encode(labels, classes)
    high, low = values >> 16, values & 0xFFFF
    of_class, instances = (high, low) if content == 'class_and_id' else (low, high)
    assert np.array_equal(values == 0, labels == -1) and (values >= 0).all()
    assert encoder.unencodable == 0
    for identity in set(labels[labels >= 0].tolist()):
        here = labels == identity
        assert set(of_class[here].tolist()) == {classes.get(identity, 0)}
        instance, = set(instances[here].tolist())
        assert instance == identity or identity > largest
        assert 0 < instance <= largest
    pairs = set(zip(labels[labels >= 0].tolist(), instances[labels >= 0].tolist(), strict=True))
    assert len(pairs) == len({instance for _, instance in pairs})


def test_an_id_keeps_its_instance_while_its_name_changes():
    encoder = LabelEncoder('32SC1', 0, content='class_and_id')
    assert encoder.encode(ids(70000, 1), {1: 2}).tolist()[0] == [2, 2 << 16 | 1]
    assert encoder.encode(ids(70000, 1), {70000: 3}).tolist()[0] == [3 << 16 | 2, 1]


def vocabulary(tmp_path, **entry):
    file = tmp_path / 'words.yaml'
    file.write_text(f'- chair\n- {entry}\n')
    return PipelineConfig(naming=NamingSettings(model='imagenet', vocabulary=(str(file),)))


@pytest.mark.parametrize(('node', 'number', 'message'), [
    ({'labels_encoding': 'mono8'}, 300, 'the id of sofa is 300; with labels_content class mono8 '
     'holds at most 255'),
    ({'labels_encoding': 'mono8'}, 255, 'the id of sofa is 255, which means unlabelled'),
    ({'unlabelled_value': 9}, 9, 'the id of sofa is 9, which means unlabelled')])
def test_classes_without_a_value_are_refused(tmp_path, node, number, message):
    config = vocabulary(tmp_path, name='sofa', id=number)
    with pytest.raises(DiffsegError, match=f'parameter naming.vocabulary: {message}'):
        check_classes(NodeConfig(labels_content='class', **node), config)
    check_classes(NodeConfig(**node), config)
    check_classes(NodeConfig(labels_content='class', **node), PipelineConfig())
    check_classes(NodeConfig(labels_content='class', labels_encoding='32SC1'), config)


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


@pytest.mark.parametrize(('settings', 'message'), [
    ({}, 'needs labels_encoding 32SC1 and unlabelled_value 0; got 16UC1 and -1'),
    ({'labels_encoding': '32SC1'}, 'got 32SC1 and -1'),
    ({'unlabelled_value': 0}, 'got 16UC1 and 0'),
    ({'labels_encoding': '32SC1', 'unlabelled_value': 0, 'label_pool_size': 40000},
     'label_pool_size: got 40000; id_and_class has 32767 values')])
def test_class_and_id_need_the_room_for_both(settings, message):
    with pytest.raises(DiffsegError, match=message):
        NodeConfig(labels_content='id_and_class', **settings)
