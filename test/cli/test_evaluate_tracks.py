"""diffseg_evaluate tracks, from its arguments to its reports."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
from typing import Any

from box_recording import FRAMES, write_sequence
import cv2
from diffseg_ros.cli.convert import main as convert
from diffseg_ros.cli.evaluate import main
from diffseg_ros.cli.evaluate_tracks import Variant
from diffseg_ros.errors import DiffsegError
from diffseg_ros.evaluation.trackers import create_tracking
from diffseg_ros.pipeline import Pipeline
from diffseg_ros.types import Frame
import numpy as np
import pytest

KEYS = {'stq', 'sq', 'aq', 'idf1', 'hota', 'miou', 'best_track_iou', 'flip_rate',
        'compared_share', 'voxel_agreement', 'id_switches', 'frames', 'tracks',
        'tracks_per_frame', 'largest_share', 'unlabelled_share', 'frames_failed',
        'keyframe_share', 'latency_ms', 'tracker', 'withheld', 'device', 'model'}

Run = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def run(weights: Path, tmp_path: Path) -> Run:
    def call(*arguments: object) -> tuple[int, dict[str, Any]]:
        path = tmp_path / 'report.json'
        path.unlink(missing_ok=True)
        code = main(['tracks', *map(str, arguments), '--set', f'backbone.model={weights}',
                     '--set', 'backbone.tokens=48', '--set', 'segmentation.max_segments=3',
                     '--json', str(path)])
        return code, json.loads(path.read_text()) if path.exists() else {}
    return call


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """Return the sequence of a moving box with its truth and the poses of a camera at rest."""
    folder = write_sequence(tmp_path / 'box')
    (folder / 'instances').mkdir()
    for number in range(FRAMES):
        truth = np.zeros((96, 128), np.uint16)
        truth[30:70, 20 + 4 * number:60 + 4 * number] = 1
        cv2.imwrite(str(folder / 'instances' / f'{number:06d}.png'), truth)
    (folder / 'sequence.json').write_text('{"background": 0}')
    (folder / 'poses.txt').write_text('0 0 0 0 0 0 1\n' * FRAMES)
    return folder


def test_flat_report(run: Run, box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = run(box, '--tracker', 'overlap')
    assert code == 0 and set(report) >= KEYS
    assert (report['frames'], report['frames_failed'], report['withheld']) == (FRAMES, 0, [])
    assert report['miou_untracked'] == report['miou'] == report['sq'] > 0.5
    # The box moves by 4 of 40 columns a frame: its tracks hold, whatever the segments are.
    assert report['best_track_iou'] > 0.5
    assert 0 <= report['flip_rate'] < 0.2 and report['voxel_agreement'] > 0.8
    # All but four rows without depth, and of the box's 40 rows four columns that it uncovers and
    # four that it hides.
    assert report['compared_share'] == pytest.approx((92 * 128 - 40 * 8) / (96 * 128))
    latency = report['latency_ms']
    assert 0 < latency['tracking']['p50'] <= latency['total']['p95']
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2 and f'{report["flip_rate"]:.4f}' in printed[1]


def test_trackers_side_by_side(run: Run, box: Path, tmp_path: Path,
                               capsys: pytest.CaptureFixture[str]) -> None:
    plain = write_sequence(tmp_path / 'plain', depth=False)
    output = tmp_path / 'out'
    code, report = run(box, plain, '--tracker', 'full', '--tracker', 'overlap', '--rgb-too',
                       '--limit', 3, '--output', output)
    names = ['full', 'overlap', 'full-no-depth-no-pose', 'overlap-no-depth-no-pose']
    assert code == 0 and list(report['trackers']) == names
    assert json.loads((output / 'report.json').read_text()) == report
    for name in names:
        found = report['trackers'][name]
        assert list(found['sequences']) == ['box', 'plain']
        assert found['mean']['frames'] == 6
        assert found['sequences']['plain']['flip_rate'] is None
        assert found['mean']['flip_rate'] == found['sequences']['box']['flip_rate']
        assert found['sequences']['box']['withheld'] == (
            ['depth', 'pose'] if 'no' in name else [])
    full, overlap = (report['trackers'][name]['sequences']['box'] for name in names[:2])
    assert full['gain_over_overlap']['aq'] == pytest.approx(full['aq'] / overlap['aq'])
    assert full['miou_untracked'] == overlap['miou']
    # Without depth and poses to withhold the second run would be the first.
    twins = [report['trackers'][name]['sequences']['plain'] for name in (names[0], names[2])]
    assert twins[0]['latency_ms'] == twins[1]['latency_ms']
    assert 'against overlap' in capsys.readouterr().out


def test_same_input_same_report(run: Run, box: Path) -> None:
    reports = [run(box, '--every', 2)[1] for _ in range(2)]
    for report in reports:
        assert report.pop('latency_ms') and report['frames'] == 3
    assert reports[0] == reports[1]


def test_pictures(run: Run, box: Path, tmp_path: Path) -> None:
    code, _ = run(box, '--tracker', 'overlap', '--plots', '--output', tmp_path / 'out')
    folder = tmp_path / 'out' / 'overlap' / 'box'
    assert code == 0
    assert sorted(path.name for path in folder.iterdir()) == ['strip.jpg', 'timeline.png']
    assert all(cv2.imread(str(path)).shape[1] > 800 for path in folder.iterdir())


def test_what_is_withheld_is_not_seen(box: Path) -> None:
    frame = Frame(np.zeros((4, 4, 3), np.uint8), depth=np.ones((4, 4), np.float32),
                  pose=np.eye(4))
    blind = Variant('full', ('depth', 'pose')).seen(frame)
    assert blind.depth is None and blind.pose is None and blind.rgb is frame.rgb
    assert Variant('full', ('pose',)).seen(frame).depth is frame.depth
    assert Variant('full', ('pose',)).name == 'full-no-pose'


def test_baseline_has_the_masks_of_single_frames(weights: Path, box: Path) -> None:
    from diffseg_ros.config import PipelineConfig
    from diffseg_ros.io.sequence_folder import SequenceFolder
    from diffseg_ros.settings import updated

    config = updated(PipelineConfig(), {'backbone.model': str(weights), 'backbone.tokens': 48})
    alone = Pipeline(config)
    tracking = create_tracking('overlap', config, alone.backbone)
    for frame in list(SequenceFolder(box))[:2]:
        labels = tracking.process(frame).labels
        masks = alone.segment(frame).labels
        pairs = np.unique(np.stack([labels.ravel(), masks.ravel()]), axis=1)
        assert pairs.shape[1] == len(np.unique(labels)) == len(np.unique(masks))
    with pytest.raises(DiffsegError, match="tracker 'none': unknown"):
        create_tracking('none', config, alone.backbone)


def test_propagation_alone_segments_the_first_frame(run: Run, box: Path) -> None:
    code, report = run(box, '--tracker', 'propagation')
    assert code == 0 and report['keyframe_share'] == pytest.approx(1 / FRAMES)


def test_a_broken_frame_is_counted(run: Run, box: Path,
                                   capsys: pytest.CaptureFixture[str]) -> None:
    (box / 'rgb' / '000001.png').write_bytes(b'not an image')
    (box / 'instances' / '000003.png').write_bytes(b'')
    code, report = run(box, '--tracker', 'overlap')
    assert code == 0 and (report['frames'], report['frames_failed']) == (FRAMES - 2, 2)
    errors = capsys.readouterr().err.splitlines()
    assert ['frame 000001' in errors[0], 'frame 000003' in errors[1]] == [True, True]


def test_a_bag_has_no_truth(run: Run, box: Path, tmp_path: Path) -> None:
    assert convert([str(box), str(tmp_path / 'box.mcap')]) == 0
    code, report = run(tmp_path / 'box.mcap', '--tracker', 'overlap', '--limit', 3)
    assert code == 0 and report['miou'] is None and report['compared_share'] > 0.9


def test_truth_of_another_size(run: Run, box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(box / 'instances' / '000002.png'), np.zeros((4, 4), np.uint16))
    assert run(box, '--tracker', 'overlap') == (2, {})
    assert 'box: frame 000002: prediction (96, 128) and truth (4, 4)' in capsys.readouterr().err


@pytest.mark.parametrize(('options', 'message'), [
    (['--plots'], 'give one with --output'),
    (['--set', 'tracking.nonsense=1'], 'parameter tracking.nonsense: unknown'),
    (['box'], 'every name must be different'),
    (['nowhere'], 'nowhere: no such file or folder'),
])
def test_bad_input(run: Run, box: Path, options: list[str], message: str,
                   capsys: pytest.CaptureFixture[str]) -> None:
    given = [box if option == 'box' else option for option in options]
    assert run(box, *given) == (2, {})
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1


def test_nothing_readable(run: Run, box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (box / 'rgb').iterdir():
        path.write_bytes(b'')
    assert run(box) == (2, {})
    assert f'box: none of {FRAMES} frames could be processed' in capsys.readouterr().err


@pytest.mark.parametrize('option', ['--every', '--limit'])
def test_counts_start_at_one(run: Run, box: Path, option: str) -> None:
    with pytest.raises(SystemExit) as caught:
        run(box, option, 0)
    assert caught.value.code == 2


@pytest.mark.parametrize(('name', 'space', 'truth'), [
    ('redkitchen', True, False), ('tum_fr1_rpy', True, False), ('replica_office0', False, True),
    ('davis_camel', False, True)])
def test_real_recordings(real_sequences: Path, tmp_path: Path, name: str, space: bool,
                         truth: bool) -> None:
    path = tmp_path / 'report.json'
    assert main(['tracks', str(real_sequences / name), '--tracker', 'overlap', '--limit', '3',
                 '--json', str(path)]) == 0
    report = json.loads(path.read_text())
    assert report['frames'] == 3 and report['tracks_per_frame'] >= 8
    assert report['largest_share'] < 0.5 and report['unlabelled_share'] < 0.05
    assert (report['miou'] is not None) == truth
    assert (report['best_track_iou'] is not None) == name.startswith('davis')
    if space:
        # Consecutive frames overlap, and most surfaces keep their id even by overlap alone.
        assert report['compared_share'] > 0.5 and report['flip_rate'] < 0.4
        assert report['voxel_agreement'] > 0.6


