"""diffseg_train as its user meets it: refusals, signals, checkpoints, adaptation."""

from __future__ import annotations

import csv
import json
from pathlib import Path
import signal

import cv2
from diffseg_ros.cli.train import main as train
from diffseg_ros.io.bag_writer import BagWriter
from diffseg_ros.io.messages import image_message
from diffseg_ros.training import run as training_run
from diffseg_ros.training.checkpoint import STATE_FILE, WEIGHTS_FILE
from diffseg_ros.training.crops import HeldoutCrops
from diffseg_ros.training.trainer import DiffusionTrainer
import numpy as np
import pytest

WEIGHTS = Path(__file__).resolve().parents[2] / 'diffseg_ros' / 'weights'


@pytest.fixture(autouse=True, scope='module')
def few_heldout_crops():
    """Measure on 16 crops instead of 128, which takes a few of the seconds of each run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_run, 'HeldoutCrops',
                      lambda sampler, count, device: HeldoutCrops(sampler, 16, device))
        yield


def picture(seed):
    """Return smooth random blobs, RGB."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """Return a folder of images."""
    folder = tmp_path_factory.mktemp('images')
    for seed in range(6):
        cv2.imwrite(str(folder / f'{seed}.png'), picture(seed))
    return folder


@pytest.fixture(scope='module')
def adapted(images, tmp_path_factory):
    """Return a folder with the committed weights after a few steps."""
    folder = tmp_path_factory.mktemp('runs') / 'adapted'
    assert train(words(images, folder, '--resume', WEIGHTS)) == 0
    return folder


def words(images, output, *more):
    return [str(word) for word in ('--photos', images, '--output', output, '--device', 'cpu',
                                   '--minutes', 0.005, '--batch', 1, *more)]


def files(folder):
    """Return the content of the files in a folder, apart from log and curve."""
    return {path.name: path.read_bytes() for path in folder.iterdir()
            if not path.name.startswith('training_')}


def rows(folder):
    with (folder / 'training_log.csv').open() as handle:
        return [{key: float(value) for key, value in row.items()}
                for row in csv.DictReader(handle)]


def test_a_run_that_diverges_leaves_the_checkpoint_before(images, adapted, capsys):
    before = files(adapted)
    assert len(before) == 6
    assert train(words(images, adapted, '--resume', adapted, '--learning-rate', 1e7)) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith('diffseg_train: training diverged at learning rate 1e+07')
    assert files(adapted) == before


def test_the_log_begins_with_the_loss_before_the_first_step(images, tmp_path, capsys):
    report = tmp_path / 'report.json'
    assert train(words(images, tmp_path / 'w', '--resume', WEIGHTS, '--json', report)) == 0
    first, last = rows(tmp_path / 'w')
    counts = json.loads(report.read_text())
    assert first['samples'] == 0 and np.isnan(first['train_loss'])
    assert first['heldout_loss'] == pytest.approx(counts['heldout_loss_at_start'], rel=1e-4)
    assert last['heldout_loss'] == pytest.approx(counts['heldout_loss'], rel=1e-4)
    assert last['learning_rate'] <= 2e-4
    assert f'held-out loss at the start: {first["heldout_loss"]:.4f}' in capsys.readouterr().err


@pytest.mark.parametrize('name', [WEIGHTS_FILE, STATE_FILE, 'training_log.csv'])
def test_a_folder_with_another_run_is_refused_before_images_are_loaded(tmp_path, capsys, name):
    output = tmp_path / 'w'
    output.mkdir()
    (output / name).write_text('mine')
    for resume in ([], ['--resume', WEIGHTS]):
        assert train(words(tmp_path / 'nowhere', output, *resume)) == 2
        [line] = capsys.readouterr().err.strip().splitlines()
        assert f'--output {output}: holds {name}' in line and 'name a new folder' in line


def test_weights_to_resume_from_are_checked_before_images_are_loaded(tmp_path, capsys):
    assert train(words(tmp_path / 'nowhere', tmp_path / 'w', '--resume', tmp_path)) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert f'weights {tmp_path}: no {WEIGHTS_FILE}' in line


@pytest.mark.parametrize('option, value', [
    ('--minutes', 'nan'), ('--minutes', '0'), ('--learning-rate', 'inf'),
    ('--learning-rate', '0'), ('--report-seconds', 'nan'), ('--seed', '-1'), ('--seed', 2**32),
    ('--rooms', '-1'), ('--batch', '0'), ('--rgb-topic', '/rgb'), ('--photos', 'nowhere')])
def test_values_that_no_run_can_use_are_refused_in_one_line(images, tmp_path, capsys, option,
                                                            value):
    assert train(words(images, tmp_path / 'w', option, value)) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert str(value) in line and option.strip('-').replace('-', '_') in line.replace('-', '_')
    assert not (tmp_path / 'w').exists()


def test_what_is_skipped_is_said_and_reported(images, tmp_path, capsys):
    mixed = tmp_path / 'mixed'
    mixed.mkdir()
    for path in images.iterdir():
        (mixed / path.name).write_bytes(path.read_bytes())
    (mixed / 'empty.jpg').write_bytes(b'')
    (mixed / 'notes.txt').write_text('none')
    report = tmp_path / 'report.json'
    assert train(words(mixed, tmp_path / 'w', '--json', report)) == 0
    error = capsys.readouterr().err
    assert 'skipped: 1 files of other kinds' in error
    assert '7 images (1 unreadable or below 48x48)' in error
    counts = json.loads(report.read_text())
    assert counts['skipped'] == {'files of other kinds': 1} and counts['unreadable'] == 1


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_training_after_its_step_with_one_checkpoint(monkeypatch, images, tmp_path,
                                                                   capsys, number):
    step, taken = DiffusionTrainer.step, []

    def interrupted(self, *batch):
        step(self, *batch)
        taken.append(len(batch[0]))
        if len(taken) == 3:
            signal.raise_signal(number)

    monkeypatch.setattr(DiffusionTrainer, 'step', interrupted)
    output = tmp_path / 'w'
    assert train(words(images, output, '--resume', WEIGHTS, '--minutes', 5)) == 128 + number
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith(f'diffseg_train: stopped early; saved in {output}')
    assert [row['samples'] for row in rows(output)] == [0, sum(taken)] and len(taken) == 3
    assert {WEIGHTS_FILE, STATE_FILE, 'whitening.safetensors'} <= set(files(output))


def test_a_signal_before_training_ends_at_once(monkeypatch, images, tmp_path, capsys):
    from diffseg_ros.training import rooms

    former = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(rooms, 'room_images', lambda *_: signal.raise_signal(signal.SIGTERM))
    assert train(words(images, tmp_path / 'w', '--resume', WEIGHTS)) == 143
    assert capsys.readouterr().err.strip() == 'diffseg_train: interrupted'
    assert not (tmp_path / 'w').exists() and signal.getsignal(signal.SIGTERM) is former


def committed_loss(folder):
    """Return the loss of the weights that training went on from, and that after it."""
    first, *_, last = rows(folder)
    return first['heldout_loss'], last['heldout_loss']


def test_committed_weights_adapt_to_a_recording(monkeypatch, real_sequences, tmp_path):
    """The whole sequence folder is given, depth and all."""
    monkeypatch.setattr(training_run, 'HeldoutCrops', HeldoutCrops)
    output, report = tmp_path / 'w', tmp_path / 'report.json'
    assert train(words(real_sequences / 'redkitchen', output, '--resume', WEIGHTS,
                       '--minutes', 0.05, '--json', report)) == 0
    counts = json.loads(report.read_text())
    assert (counts['photos'], counts['unreadable'], counts['skipped']) == (45, 0, {})
    before, after = committed_loss(output)
    assert before < 0.08 and after == pytest.approx(before, rel=0.03)


def test_committed_weights_adapt_to_a_bag(tmp_path, capsys):
    with BagWriter(tmp_path / 'bag.mcap') as writer:
        for number in range(8):
            stamp = (number + 1) * 10**9
            writer.write('/cam/color/image_raw', image_message(picture(number), stamp, 'camera'),
                         stamp)
    assert train(words(tmp_path / 'bag.mcap', tmp_path / 'w', '--resume', WEIGHTS)) == 0
    error = capsys.readouterr().err
    assert f'{tmp_path / "bag.mcap"}: frames of /cam/color/image_raw' in error
    assert '8 images (0 unreadable' in error
    before, after = committed_loss(tmp_path / 'w')
    assert after == pytest.approx(before, rel=0.1)
