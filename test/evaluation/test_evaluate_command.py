"""diffseg_evaluate, from its arguments to its reports."""

from __future__ import annotations

import json
from pathlib import Path
import shutil

import cv2
from diffseg_ros.cli.evaluate import main
import pytest
from studies.baselines import write_random_weights

KEYS = {'miou', 'pixel_accuracy', 'boundary_f', 'images', 'segments_per_image',
        'seconds_per_image', 'per_class'}


@pytest.fixture(scope='module')
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('weights')
    write_random_weights(folder, seed=3)
    return folder


def test_flat_report_and_overlays(dataset: Path, tmp_path: Path,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / 'out/report.json'
    assert main(['masks', str(dataset), '--baseline', 'grid', '--json', str(path),
                 '--output', str(tmp_path / 'overlays')]) == 0
    report = json.loads(path.read_text())
    assert set(report) == KEYS
    # The largest cell within each half has 10x10 of its 39x24 labelled pixels.
    assert report['miou'] == pytest.approx(100 / (39 * 24))
    assert set(report['per_class']) == {'wall', 'window'}
    assert (report['images'], report['segments_per_image']) == (3, 20)
    overlays = sorted((tmp_path / 'overlays/grid/halves').iterdir())
    assert [path.name for path in overlays] == ['a.jpg', 'b.jpg', 'c.jpg']
    assert cv2.imread(str(overlays[0])).shape == (40, 48, 3)
    printed = capsys.readouterr().out
    assert 'mIoU' in printed and f'{report["miou"]:.3f}' in printed


def test_several_data_sets_and_methods(dataset: Path, tmp_path: Path) -> None:
    other = tmp_path / 'regions'
    shutil.copytree(dataset, other)
    (other / 'dataset.json').write_text('{"labels": "regions"}')
    path = tmp_path / 'report.json'
    assert main(['masks', str(dataset), str(other), '--baseline', 'grid', '--baseline',
                 'lab_kmeans', '--limit', '2', '--json', str(path)]) == 0
    methods = json.loads(path.read_text())['methods']
    assert list(methods) == ['grid', 'lab_kmeans']
    for report in methods.values():
        assert set(report['datasets']) == {'halves', 'regions'}
        assert set(report['mean']) == KEYS - {'per_class'}
        assert report['mean']['images'] == 4
        assert report['mean']['miou'] == pytest.approx(
            sum(item['miou'] for item in report['datasets'].values()) / 2)
        assert report['datasets']['regions']['per_class'] == {}


def test_pipeline_on_given_weights(dataset: Path, weights: Path, tmp_path: Path) -> None:
    common = ['masks', str(dataset), '--set', f'backbone.model={weights}', '--set',
              'backbone.tokens=48', '--set', 'segmentation.cut.colour=50',
              '--set', 'segmentation.max_segments=2', '--json', str(tmp_path / 'report.json')]
    reports = []
    for _ in range(2):
        assert main([*common, '--method', 'diffcut']) == 0
        reports.append(json.loads((tmp_path / 'report.json').read_text()))
        assert set(reports[-1]) == KEYS | {'calibration'}
        assert reports[-1].pop('seconds_per_image') > 0
    assert reports[0] == reports[1]
    assert reports[0]['miou'] > 0.8
    assert main([*common, '--set', 'segmentation.max_segments=1']) == 0
    single = json.loads((tmp_path / 'report.json').read_text())
    assert single['segments_per_image'] == 1
    assert single['miou'] == pytest.approx(1 / 4)


def test_random_weights_beside_the_pipeline(dataset: Path, weights: Path, tmp_path: Path) -> None:
    params = tmp_path / 'params.yaml'
    params.write_text(f'/**:\n  ros__parameters:\n    backbone: {{model: {weights}, '
                      'tokens: 48}\n    segmentation: {max_segments: 2}\n')
    assert main(['masks', str(dataset), '--method', 'diffcut', '--baseline', 'random_weights',
                 '--params', str(params), '--json', str(tmp_path / 'report.json')]) == 0
    methods = json.loads((tmp_path / 'report.json').read_text())['methods']
    assert list(methods) == ['diffcut', 'random_weights']
    assert methods['random_weights']['segments_per_image'] <= 2


def test_calibration_of_several_sets_and_its_picture(dataset: Path, weights: Path,
                                                     tmp_path: Path) -> None:
    other = tmp_path / 'more'
    shutil.copytree(dataset, other)
    path = tmp_path / 'report.json'
    assert main(['masks', str(dataset), str(other), '--method', 'regions', '--baseline', 'grid',
                 '--set', f'backbone.model={weights}', '--set', 'backbone.tokens=48', '--plots',
                 '--output', str(tmp_path / 'out'), '--json', str(path)]) == 0
    methods = json.loads(path.read_text())['methods']
    regions = methods['regions']
    bins = regions['mean']['calibration']['bins']
    assert regions['datasets']['more']['calibration'] == pytest.approx(
        regions['datasets']['halves']['calibration'])
    # Every pixel lies in one of two segments, each within one half.
    assert regions['mean']['calibration']['accuracy'] > 0.95
    assert sum(item['share'] for item in bins) == pytest.approx(1)
    assert 'calibration' not in methods['grid']['mean']
    picture = cv2.imread(str(tmp_path / 'out/regions/calibration.png'))
    assert picture is not None and picture.std() > 5
    assert not (tmp_path / 'out/grid/calibration.png').exists()


@pytest.mark.parametrize(('options', 'message'), [
    (['--plots'], '--plots: the plots need a folder'),
    (['--set', 'segmentation.tau'], 'NAME=VALUE is needed'),
    (['--set', 'segmentation.tua=1'], 'parameter segmentation.tua: unknown'),
    (['--set', 'backbone.model=/nowhere/model'], 'no such folder'),
    (['--params', 'nowhere.yaml'], 'parameter file nowhere.yaml'),
])
def test_bad_options(dataset: Path, tmp_path: Path, options: list[str], message: str,
                     capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / 'report.json'
    assert main(['masks', str(dataset), '--json', str(path), *options]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1
    assert not path.exists()


def test_bad_data_sets(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['masks', str(tmp_path / 'nowhere'), '--baseline', 'grid']) == 2
    assert 'nowhere: no such folder; give a mask data set' in capsys.readouterr().err
    assert main(['masks', str(dataset), str(dataset), '--baseline', 'grid']) == 2
    assert 'every name must be different' in capsys.readouterr().err
    for arguments in ([], ['masks'], ['masks', str(dataset), '--baseline', 'gird']):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
