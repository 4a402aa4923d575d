"""Colours that tell labels, and the table for those who read them."""

from __future__ import annotations

import csv
from pathlib import Path

from diffseg_ros.viz.colours import label_csv, label_palette, palette_rows
import numpy as np
import pytest

CSV = Path(__file__).resolve().parents[2] / 'config' / 'profiles' / 'kimera_labels.csv'


def test_no_two_colours_are_alike():
    palette = label_palette()
    assert palette.shape == (256, 3) and palette.dtype == np.uint8
    assert len(np.unique(palette, axis=0)) == 256
    assert palette[0].tolist() == [255, 255, 255]
    few = palette[:21].astype(int)
    distance = np.abs(few[:, None] - few[None]).sum(axis=-1)
    assert distance[np.triu_indices(21, 1)].min() >= 40


def test_the_file_has_an_opaque_colour_for_every_8_bit_id():
    assert CSV.read_text() == label_csv()
    with CSV.open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ['name', 'red', 'green', 'blue', 'alpha', 'id']
    assert [int(row['id']) for row in rows] == list(range(256))
    assert {row['alpha'] for row in rows} == {'255'}
    colours = [[int(row[name]) for name in ('red', 'green', 'blue')] for row in rows]
    assert np.array_equal(colours, label_palette())


@pytest.mark.parametrize(('unlabelled', 'values', 'rows'), [
    (0, [0, 1, 255, 256, 510], [0, 1, 255, 1, 255]),
    (255, [0, 1, 254, 255], [255, 1, 254, 0]),
    (2**32 - 1, [0, 1, 70000, 2**32 - 1], [255, 1, 70000 - 274 * 255, 0])])
def test_values_keep_their_row_and_none_is_white(unlabelled, values, rows):
    assert palette_rows(np.array(values, np.uint32), unlabelled).tolist() == rows
