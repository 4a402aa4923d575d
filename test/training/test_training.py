import csv
import io
from itertools import islice
import json
import tarfile

import cv2
from diffseg_ros.backbones.whitening import load_whitening
from diffseg_ros.cli.train import main as train
from diffseg_ros.errors import DiffsegError
from diffseg_ros.training.checkpoint import load_weights, replacing, WEIGHTS_FILE
from diffseg_ros.training.curve import append_row, COLUMNS, draw_curve
from diffseg_ros.training.learner import Learner
from diffseg_ros.training.photo_files import PhotoFiles
from diffseg_ros.training.photos import colour_jitter, PhotoBank
from diffseg_ros.training.rooms import room_photos, VIEWS_PER_ROOM
from diffseg_ros.training.settings import TrainingSettings
from diffseg_ros.training.trainer import Trainer
import numpy as np
import pytest
import torch

CPU = torch.device('cpu')


def photo(seed, height=120, width=160):
    """Return an encoded photo of smooth random blobs."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode('.png', image)[1].tobytes()


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / 'photos'
    folder.mkdir()
    for seed in range(6):
        (folder / f'{seed}.png').write_bytes(photo(seed))
    return folder


def test_folders_tars_and_single_files_are_read(photos, tmp_path):
    archive = tmp_path / 'more.tar'
    with tarfile.open(archive, 'w') as tar:
        for name, data in (('a/x.png', photo(7)), ('a/notes.txt', b'none')):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    found = list(PhotoFiles([photos, archive, photos / '0.png']))
    assert len(found) == 6 + 1 + 1 and found[6][1] == photo(7)


def test_missing_and_unsupported_paths_are_named(tmp_path):
    with pytest.raises(DiffsegError, match='nowhere: no such path'):
        list(PhotoFiles([tmp_path / 'nowhere']))
    (tmp_path / 'x.doc').write_text('text')
    with pytest.raises(DiffsegError, match='unsupported file'):
        list(PhotoFiles([tmp_path / 'x.doc']))


def test_unreadable_photos_are_counted():
    bank, unreadable = PhotoBank.load([photo(0), b'nothing', photo(1, 20, 20)], CPU)
    assert unreadable == 2 and bank.heights.tolist() == [120, 60]
    with pytest.raises(DiffsegError, match='none of 1'):
        PhotoBank.load([b'nothing'], CPU)


def test_crops_show_the_photo():
    ramp = np.zeros((100, 140, 3), np.uint8)
    ramp[..., 0] = np.arange(140)
    ramp[..., 1] = np.arange(100)[:, None]
    bank, _ = PhotoBank.load([cv2.imencode('.png', ramp[..., ::-1])[1].tobytes()], CPU)
    index = torch.zeros(20, dtype=torch.long)
    crops = bank.crops(index, 64, 64, torch.Generator().manual_seed(0)) * 255
    assert crops.shape == (20, 3, 64, 64)
    steps_x, steps_y = crops[:, 0].diff(dim=2), crops[:, 1].diff(dim=1)
    flipped = steps_x.mean(dim=(1, 2)) < 0
    assert 0 < flipped.sum() < 20
    # A crop is the photo scaled by 0.75 to 1.5, give or take the stretch.
    for steps in (steps_x.abs(), steps_y):
        scale = steps.mean(dim=(1, 2))
        assert scale.min() > 0.6 and scale.max() < 1.8
    assert crops[:, 2].abs().max() == 0


def test_rooms_are_further_photos_that_differ_and_repeat():
    views = list(islice(room_photos(1), 3))
    assert len(set(views)) == 3
    assert list(islice(room_photos(1), 1)) == views[:1]
    assert next(room_photos(1, seed=1)) not in views
    for view in views:
        image = cv2.imdecode(np.frombuffer(view, np.uint8), cv2.IMREAD_COLOR)
        assert image.shape == (240, 320, 3) and image.std() > 5


def test_colour_jitter_keeps_the_range_and_shape():
    images = torch.rand(4, 3, 16, 16)
    changed = colour_jitter(images, torch.Generator().manual_seed(0))
    assert changed.shape == images.shape and not torch.equal(changed, images)
    assert changed.min() >= 0 and changed.max() <= 1


def short_run(photos, output, **options):
    data = [data for _, data in PhotoFiles([photos])]
    heldout, _ = PhotoBank.load(data[:1], CPU)
    training, _ = PhotoBank.load(data[1:], CPU)
    settings = TrainingSettings(minutes=0.05, report_seconds=60, batch=1,
                                heldout_samples=8, warmup_steps=5)
    trainer = Trainer(settings, Learner(settings, CPU, **options), training, heldout)
    first = trainer.heldout_loss()
    return first, trainer.run(output, lambda report: None)


def test_loss_falls_and_resuming_goes_on_from_it(photos, tmp_path):
    untrained, report = short_run(photos, tmp_path / 'w')
    assert report.heldout_loss < untrained and report.samples > 0
    resumed, second = short_run(photos, tmp_path / 'w2', resume=tmp_path / 'w')
    assert resumed == pytest.approx(report.heldout_loss, rel=0.02)
    assert second.samples > report.samples and second.seconds > report.seconds
    with (tmp_path / 'w2' / 'training_log.csv').open() as handle:
        rows = list(csv.DictReader(handle))
    assert [int(float(row['samples'])) for row in rows] == [
        0, report.samples, report.samples, second.samples]
    assert float(rows[2]['heldout_loss']) == pytest.approx(report.heldout_loss, rel=1e-4)
    assert (tmp_path / 'w2' / 'training_curve.png').stat().st_size > 1000
    assert str(tmp_path) not in (tmp_path / 'w2' / 'config.json').read_text()


def test_the_rate_rises_over_steps_or_a_tenth_of_the_time(photos):
    bank, _ = PhotoBank.load([data for _, data in PhotoFiles([photos])], CPU)
    settings = TrainingSettings(minutes=1, heldout_samples=2)
    trainer = Trainer(settings, learner := Learner(settings, CPU), bank, bank)
    assert trainer._learning_rate(0.0) == pytest.approx(1e-3 / 200)
    assert trainer._learning_rate(0.05) == pytest.approx(0.5e-3, rel=0.01)
    assert trainer._learning_rate(0.1) == pytest.approx(1e-3, rel=0.03)
    learner.steps = 99
    assert trainer._learning_rate(0.0) == pytest.approx(0.5e-3)
    learner.steps = 500
    assert trainer._learning_rate(0.0) == pytest.approx(1e-3)
    assert trainer._learning_rate(1.0) == pytest.approx(1e-4)


def test_resuming_from_weights_alone(photos, tmp_path):
    _, report = short_run(photos, tmp_path / 'w')
    bare = tmp_path / 'bare'
    bare.mkdir()
    for name in ('config.json', WEIGHTS_FILE):
        (bare / name).write_bytes((tmp_path / 'w' / name).read_bytes())
    resumed, _ = short_run(photos, tmp_path / 'w2', resume=bare)
    assert resumed == pytest.approx(report.heldout_loss, rel=0.02)


def test_command_writes_weights_that_load(photos, tmp_path):
    output, report = tmp_path / 'weights', tmp_path / 'report.json'
    assert train(['--photos', str(photos), '--output', str(output), '--minutes', '0.03',
                  '--rooms', '1', '--json', str(report)]) == 0
    assert load_weights(output).config.in_channels == 12
    assert (output / WEIGHTS_FILE).stat().st_size < 16e6
    counts = json.loads(report.read_text())
    assert (counts['photos'], counts['views']) == (6, VIEWS_PER_ROOM)
    matrix = load_whitening(output, 'down_blocks.1.attentions.0', 64)
    assert matrix is not None and matrix.shape == (16, 64)


@pytest.mark.parametrize('arguments', [
    ['--photos', 'nowhere'], ['--minutes', '0'], ['--rooms', '-1'], ['--batch', '0'],
    ['--resume', 'nowhere'],
])
def test_bad_arguments_end_with_code_2(photos, tmp_path, arguments, capsys):
    code = train(['--photos', str(photos), '--output', str(tmp_path / 'w'), '--minutes', '0.01',
                  *arguments])
    assert code == 2 and capsys.readouterr().err.strip().splitlines()[-1].startswith(
        'diffseg_train: ')
    assert not (tmp_path / 'w').exists()


def test_files_of_a_checkpoint_take_their_places_together_or_not_at_all(tmp_path):
    (tmp_path / 'a').write_text('old')
    with pytest.raises(OSError), replacing(tmp_path) as scratch:
        (scratch / 'a').write_text('new')
        assert (tmp_path / 'a').read_text() == 'old'
        raise OSError('disk full')
    assert [path.name for path in tmp_path.iterdir()] == ['a']
    assert (tmp_path / 'a').read_text() == 'old'
    with replacing(tmp_path) as scratch:
        for name in ('a', 'b'):
            (scratch / name).write_text('new')
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {'a': 'new',
                                                                            'b': 'new'}


def test_a_damaged_log_is_named(tmp_path):
    log = tmp_path / 'training_log.csv'
    append_row(log, dict.fromkeys(COLUMNS, 0.5))
    draw_curve(log, tmp_path / 'curve.png')
    log.write_text(log.read_text() + '1,2,thr')
    with pytest.raises(DiffsegError, match='training_log.csv: damaged'):
        draw_curve(log, tmp_path / 'curve.png')
