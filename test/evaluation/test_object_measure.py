"""The protocol for objects against cases computed by hand, and as a command."""

from __future__ import annotations

import json
from pathlib import Path

from diffseg_ros.cli.evaluate import main
from diffseg_ros.evaluation.measure import MeasureSet, Observation
import numpy as np
import pytest


def report_of(*pairs: tuple[np.ndarray, np.ndarray], background: int | None = None) -> dict:
    measures = MeasureSet('objects')
    for labels, truth in pairs:
        measures.update(Observation(labels, truth=truth, ignored=255, background=background))
    return measures.compute()


def image(*boxes: tuple[int, int, int], ground: int = 0) -> np.ndarray:
    """Return (60, 80) labels with squares: value, first row and column, side 20."""
    labels = np.full((60, 80), ground, np.int32)
    for value, row, column in boxes:
        labels[row:row + 20, column:column + 20] = value
    return labels


TRUTH = image((2, 10, 10), (3, 10, 40))


def test_the_truth_itself_has_all():
    report = report_of((np.where(TRUTH > 0, TRUTH, -1), TRUTH))
    assert (report.pop('objects_found'), report.pop('objects_there'), report.pop('images')) == (
        2, 2, 1)
    assert set(report.values()) == {1.0}


def test_a_shifted_and_a_false_object():
    # 7 has 15 of its 20 columns on object 2; nothing matches 9, and nothing finds object 3.
    report = report_of((image((7, 10, 15), (9, 35, 50), ground=-1), TRUTH))
    assert report['overlap_precision'] == pytest.approx(300 / 800)
    assert report['overlap_recall'] == pytest.approx(300 / 800)
    assert report['overlap_f'] == pytest.approx(300 / 800)
    # Outlines have 80 pixels. Top and bottom share 16 each and two more within the dilation, which
    # is a pixel; of the sides, 5 columns apart, the two beside these rows are within it.
    assert report['object_boundary_precision'] == pytest.approx(36 / 160)
    assert report['object_boundary_recall'] == pytest.approx(36 / 160)


def test_matching_is_by_f_and_one_to_one():
    # Of object 2, 4 is one half and 5 the other half, which reaches into object 3.
    labels = np.where(TRUTH == 2, 4, -1).astype(np.int32)
    labels[10:30, 20:60] = 5
    report = report_of((labels, TRUTH))
    assert report['overlap_precision'] == pytest.approx((200 + 400) / 1000)
    assert report['overlap_recall'] == pytest.approx((200 + 400) / 800)


def test_what_the_truth_ignores_is_no_object():
    truth = image((255, 10, 10), (3, 10, 40))
    report = report_of((np.where(truth > 0, truth, -1), truth))
    assert report['objects_there'] == 1 and report['overlap_precision'] == pytest.approx(0.5)


def test_background_of_the_data_set_is_no_object():
    truth = image((0, 10, 10), ground=9)
    report = report_of((np.where(truth == 0, 1, -1), truth), background=9)
    assert report['overlap_f'] == report['object_boundary_f'] == 1


@pytest.mark.parametrize(('labels', 'truth', 'expected'), [
    (image(ground=-1), TRUTH, (1, 0, 0)), (TRUTH, image(), (0, 1, 0)),
    (image(ground=-1), image(), (1, 1, 1))])
def test_images_without_objects(labels, truth, expected):
    report = report_of((labels, truth))
    assert tuple(report[f'{kind}_{value}'] for kind in ('overlap', 'object_boundary')
                 for value in ('precision', 'recall', 'f')) == expected * 2


def test_mean_over_images_and_none_before_the_first():
    perfect = np.where(TRUTH > 0, TRUTH, -1)
    assert report_of((perfect, TRUTH), (image(ground=-1), TRUTH))['overlap_f'] == 0.5
    assert report_of()['overlap_f'] is None


def test_command(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # A wall that fills the view: the right half is an object that nothing in depth shows.
    path = tmp_path / 'report.json'
    assert main(['masks', str(dataset), '--protocol', 'objects', '--baseline', 'grid',
                 '--json', str(path)]) == 0
    report = json.loads(path.read_text())
    assert (report['overlap_precision'], report['overlap_recall']) == (1, 0)
    assert (report['objects_found'], report['objects_there'], report['images']) == (0, 1, 3)
    assert 'overlap F' in capsys.readouterr().out
    (dataset / 'camera.json').unlink()
    for depth in (dataset / 'depth').iterdir():
        depth.unlink()
    (dataset / 'depth').rmdir()
    assert main(['masks', str(dataset), '--protocol', 'objects', '--baseline', 'grid']) == 2
    assert 'no depth or no camera' in capsys.readouterr().err
