"""Vocabularies: lists and files, what they may hold, and what is said of what they may not."""

from __future__ import annotations

import os

from diffseg_ros.errors import DiffsegError
from diffseg_ros.naming.vocabulary import load_vocabulary, TEMPLATES
from diffseg_ros.types import SegmentKind
import pytest


def from_file(tmp_path, text):
    path = tmp_path / 'words.yaml'
    path.write_text(text)
    return load_vocabulary((str(path),))


def test_words_get_ids_in_their_order():
    words = load_vocabulary(('chair', ' table '))
    assert [(concept.name, concept.id) for concept in words.concepts] == [
        ('chair', 1), ('table', 2)]
    assert words.class_of('table') == 2 and words.class_of('unknown') == 0


def test_no_words_are_the_built_in_list():
    words = load_vocabulary(('',))
    assert 40 < len(words.concepts) < 100
    assert {'chair', 'table', 'person', 'floor', 'wall'} <= words.by_name.keys()
    assert words.by_shape[SegmentKind.FLOOR].name == 'floor'
    assert words.called('Couch').name == 'sofa'
    assert not words.removed


def test_a_file_says_all_that_a_concept_has(tmp_path):
    words = from_file(tmp_path, """
- chair
- name: cup
  synonyms: [mug, tumbler]
  templates: ['a {} on a table']
  classes: [coffee mug, '967', 968]
  colour: [255, 0, 10]
  id: 7
  remove: true
- {name: ground, shape: floor}
""")
    chair, cup, ground = words.concepts
    assert (chair.id, chair.templates, chair.colour) == (1, TEMPLATES, ())
    assert cup.words == ('cup', 'mug', 'tumbler')
    assert (cup.id, cup.colour, cup.classes) == (7, (255, 0, 10), ('coffee mug', '967', 968))
    assert words.removed == {'cup'} and words.called(' MUG') is cup
    assert words.by_shape == {SegmentKind.FLOOR: ground} and ground.id == 3


@pytest.mark.parametrize(('text', 'wanted'), [
    ('', 'a list is needed'),
    ('a: b', 'a list is needed'),
    ('- [', 'cannot be read'),
    ('- {id: 3}', 'entry 1, None, name: it is needed'),
    ('- 12', 'entry 1, 12, name: got 12 of type int'),
    ('- {name: a, color: red}', 'entry 1, a, color: unknown; the nearest are colour'),
    ('- {name: a, colour: [1, 2]}', 'colour: got [1, 2]; three numbers'),
    ('- {name: a, colour: [1, 2, 300]}', 'colour: got (1, 2, 300); every item must lie'),
    ('- {name: a, id: -1}', 'id: got -1; it must lie between'),
    ('- {name: a, shape: round}', "shape: got 'round'; choose one of"),
    ("- {name: a, templates: ['a photo']}", 'each needs {} once'),
    ('- a\n- a', 'the name a is there twice'),
    ('- {name: a, id: 2}\n- b', 'the id 2 is there twice'),
])
def test_a_wrong_file_is_refused_in_one_line(tmp_path, text, wanted):
    with pytest.raises(DiffsegError) as caught:
        from_file(tmp_path, text)
    assert str(caught.value).startswith(f'vocabulary {tmp_path / "words.yaml"}: ')
    assert wanted in str(caught.value) and '\n' not in str(caught.value)


def test_a_missing_file_and_a_word_given_twice_are_told(tmp_path):
    with pytest.raises(DiffsegError, match='cannot be read.*No such file'):
        load_vocabulary((str(tmp_path / 'none.yaml'),))
    with pytest.raises(DiffsegError, match=r'naming\.vocabulary: the name chair is there twice'):
        load_vocabulary(('chair', 'chair'))


def test_a_file_is_read_again_when_it_was_changed(tmp_path):
    assert from_file(tmp_path, '- chair').by_name.keys() == {'chair'}
    path = tmp_path / 'words.yaml'
    path.write_text('- table')
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1000))
    assert load_vocabulary((str(path),)).by_name.keys() == {'table'}
