"""What replays and maps write of names."""

from __future__ import annotations

import csv
import json

from diffseg_ros.cli.map import main as build_map
from diffseg_ros.io.ply import read_ply
import numpy as np
import pytest

COLOURS = {'yellow': (240, 220, 30), 'brown': (90, 60, 40), 'blue': (40, 80, 120)}
NAMING = ('--set', 'naming.model=colours', '--set', 'naming.vocabulary=[blue, brown, yellow]',
          '--set', 'naming.budget=100')


class ColourModel:
    """Embeds the mean colour, and names the nearest."""

    name = 'colours'

    def embed(self, crops):
        return np.stack([crop.rgb[crop.mask].mean(axis=0) for crop in crops]).astype(np.float32)

    def scores(self, embeddings, concepts):
        wanted = np.array([COLOURS[concept.name] for concept in concepts], np.float32)
        far = np.linalg.norm(embeddings[:, None] - wanted, axis=2)
        likely = np.exp(-far / 10)
        return likely / likely.sum(axis=1, keepdims=True)

    def without_meaning(self, concepts):
        return []


class BrokenModel(ColourModel):
    def embed(self, crops):
        raise RuntimeError('no room')


@pytest.fixture
def naming(monkeypatch):
    def use(model):
        monkeypatch.setattr('diffseg_ros.pipeline.load_naming_model', lambda *_: model)
    use(ColourModel())
    return use


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_replay_lists_the_names_of_its_labels(naming, run, sequence):
    import cv2

    code, output = run(sequence, 'out', *NAMING)
    assert code == 0
    report = json.loads((output / 'report.json').read_text())
    rows = table(output / 'names.csv')
    assert [{key: str(value) for key, value in row.items()} for row in report['names']] == rows
    assert report['naming_model'] == 'colours' and report['naming_failed'] == '0'
    names = {int(row['id']): row['name'] for row in rows}
    classes = {'blue': '1', 'brown': '2', 'yellow': '3', 'unknown': '0'}
    assert all(row['class_id'] == classes[row['name']] for row in rows)
    assert {'yellow', 'blue'} <= set(names.values())
    labels = cv2.imread(str(output / 'labels' / '000004.png'), cv2.IMREAD_UNCHANGED)
    for (row, column), name in (((50, 50), 'yellow'), ((85, 100), 'blue')):
        assert names[int(labels[row, column])] == name
    cloud = read_ply(output / 'clouds' / '000004.ply')
    assert set(cloud.labels.tolist()) - {65535} <= set(names)


def test_without_names_there_is_no_table_and_an_old_one_goes(naming, run, sequence):
    code, output = run(sequence, 'out', '--plots', *NAMING)
    assert code == 0 and (output / 'names.csv').exists()
    code, output = run(sequence)
    assert code == 0 and not (output / 'names.csv').exists()
    report = json.loads((output / 'report.json').read_text())
    assert not [key for key in report if key.startswith('nam')]


def test_a_model_that_fails_is_reported(naming, run, sequence):
    naming(BrokenModel())
    code, output = run(sequence, 'out', *NAMING)
    report = json.loads((output / 'report.json').read_text())
    assert code == 0 and report['names'] == [] and table(output / 'names.csv') == []
    assert int(report['naming_failed']) > 0 and 'no room' in report['naming_failure']


def test_what_is_called_so_leaves_the_clouds(naming, run, sequence):
    code, output = run(sequence, 'out', *NAMING, '--set', 'removal.names=[yellow]',
                       '--set', 'removal.from_points=true')
    assert code == 0
    cloud = read_ply(output / 'clouds' / '000004.ply')
    yellow = {int(row['id']) for row in table(output / 'names.csv') if row['name'] == 'yellow'}
    assert yellow and not yellow & set(cloud.labels.tolist())
    assert len(cloud.points) and (cloud.points[:, 2] < 2).mean() < 0.05


def test_a_map_has_the_table_beside_it(naming, weights, sequence, tmp_path):
    (sequence / 'poses.txt').write_text(5 * '0 0 0 0 0 0 1\n')
    output = tmp_path / 'map' / 'map.ply'
    arguments = [str(sequence), '--output', str(output), '--json', str(tmp_path / 'report.json'),
                 '--set', f'backbone.model={weights}']
    assert build_map([*arguments, *NAMING]) == 0
    rows = table(output.with_suffix('.names.csv'))
    assert {'yellow', 'blue'} <= {row['name'] for row in rows}
    report = json.loads((tmp_path / 'report.json').read_text())
    assert [row['id'] for row in report['names']] == [int(row['id']) for row in rows]
    assert set(np.unique(read_ply(output).labels).tolist()) - {-1} <= {
        row['id'] for row in report['names']}
    assert build_map(arguments) == 0 and not output.with_suffix('.names.csv').exists()
