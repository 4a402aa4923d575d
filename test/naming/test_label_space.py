"""The vocabulary as Hydra reads it."""

from __future__ import annotations

from diffseg_ros.naming.label_space import label_space, main
from diffseg_ros.naming.vocabulary import load_vocabulary
import yaml


def test_every_class_is_there_once_as_what_it_is():
    vocabulary = load_vocabulary([])
    space = yaml.safe_load(label_space(vocabulary))
    names = {entry['label']: entry['name'] for entry in space['label_names']}
    assert names == {0: 'unknown'} | {one.id: one.name for one in vocabulary.concepts}
    assert space['total_semantic_labels'] == max(names) + 1
    assert [names[number] for number in space['ground_labels']] == ['floor']
    assert space['surface_places_labels'] == space['ground_labels']
    objects = {names[number] for number in space['object_labels']}
    assert objects == set(names.values()) - {'unknown', 'floor', 'wall', 'ceiling'}
    assert 'table' in objects and space['invalid_labels'] == space['dynamic_labels'] == []


def test_what_is_removed_is_invalid_and_gaps_are_counted(tmp_path, capsys):
    file = tmp_path / 'words.yaml'
    file.write_text('- {name: person, id: 40, remove: true}\n- {name: chair, id: 7}\n')
    assert main([str(file)]) == 0
    written = capsys.readouterr().out
    assert '&' not in written
    assert yaml.safe_load(written) == {
        'total_semantic_labels': 41, 'dynamic_labels': [], 'invalid_labels': [40],
        'object_labels': [7], 'surface_places_labels': [], 'ground_labels': [],
        'label_names': [{'label': 0, 'name': 'unknown'}, {'label': 7, 'name': 'chair'},
                        {'label': 40, 'name': 'person'}]}


def test_words_are_numbered_and_a_missing_file_is_one_line(tmp_path, capsys):
    assert main(['chair', 'table']) == 0
    assert 'total_semantic_labels: 3' in capsys.readouterr().out
    assert main([str(tmp_path / 'none.yaml')]) == 2
    error = capsys.readouterr().err
    assert 'none.yaml: cannot be read' in error and error.count('\n') == 1
