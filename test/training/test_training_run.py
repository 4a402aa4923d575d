"""Crops, rooms and runs: losses fall, runs resume, checkpoints are whole or not written."""

import csv
from itertools import islice
import json

import cv2
from diffseg_ros.backbones.loader import load_backbone
from diffseg_ros.backbones.whitening import load_whitening
from diffseg_ros.cli.train import main as train
from diffseg_ros.config import BackboneConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.training import run as training_run
from diffseg_ros.training import teacher
from diffseg_ros.training.checkpoint import (
    FEATURE_BLOCK,
    load_model,
    replacing,
    STATE_FILE,
    WEIGHTS_FILE,
)
from diffseg_ros.training.crops import colour_jitter, CropSampler, HeldoutCrops
from diffseg_ros.training.images import TrainingImages
from diffseg_ros.training.rooms import room_images, VIEWS_PER_ROOM
from diffseg_ros.training.run import (
    CURVE_FILE,
    log,
    LOG_FILE,
    SIZES,
    TrainingReport,
    TrainingRun,
)
from diffseg_ros.training.trainer import DiffusionTrainer, TrainingSettings
from hypothesis import given, settings, strategies
import numpy as np
import pytest
import torch
from torch.nn import functional

CPU = torch.device('cpu')


@pytest.fixture
def images(tmp_path):
    """Return a folder of images of smooth random blobs."""
    folder = tmp_path / 'images'
    folder.mkdir()
    for seed in range(6):
        coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f'{seed}.png'),
                    cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC))
    return folder


class Downscaled:
    """In place of a teacher: the features of an image are the image, of an eighth of its size."""

    def maps(self, images):
        return [cv2.resize(image, None, fx=1 / 8, fy=1 / 8, interpolation=cv2.INTER_AREA)
                .astype(np.float16) for image in images]


def ramp(height, width):
    """Return an image whose colours are its places."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.arange(width)
    image[..., 1] = np.arange(height)[:, None]
    return image


def sampler_of(images):
    return CropSampler(images, CPU, Downscaled())


def test_images_without_room_for_a_crop_are_refused():
    assert len(sampler_of([np.zeros((120, 160, 3), np.uint8)]).eligible(64, 64)) == 2
    with pytest.raises(DiffsegError, match='no image has at least 48x48 pixels'):
        sampler_of([np.zeros((20, 20, 3), np.uint8)])


@settings(max_examples=25)
@given(strategies.integers(0, 2**32 - 1), strategies.sampled_from(SIZES),
       strategies.lists(strategies.tuples(*[strategies.integers(12, 31)] * 2), min_size=1,
                        max_size=4))
def test_targets_follow_the_crop_like_the_image(seed, size, shapes):
    """Where it lies, how it is scaled and stretched, and whether it is flipped."""
    images = [ramp(8 * height, 8 * width) // number
              for number, (height, width) in enumerate(shapes, 1)]
    sampler = sampler_of(images)
    index = sampler.eligible(*size).repeat(3)
    crops, targets = sampler.crops(index, *size, torch.Generator().manual_seed(seed))
    expected = functional.avg_pool2d(crops * 255, 8)
    assert targets.shape == expected.shape
    # At the border of the image half a cell of the map is the same colour.
    assert torch.allclose(targets, expected, rtol=0, atol=4)


def test_crops_show_the_image():
    index = torch.zeros(20, dtype=torch.long)
    crops, _ = sampler_of([ramp(100, 140)]).crops(index, 64, 64,
                                                  torch.Generator().manual_seed(0))
    crops = crops * 255
    assert crops.shape == (20, 3, 64, 64)
    steps_x, steps_y = crops[:, 0].diff(dim=2), crops[:, 1].diff(dim=1)
    flipped = steps_x.mean(dim=(1, 2)) < 0
    assert 0 < flipped.sum() < 20
    # A crop is the image scaled by 0.6 to 1.5, give or take the stretch.
    for steps in (steps_x.abs(), steps_y):
        scale = steps.mean(dim=(1, 2))
        assert scale.min() > 0.5 and scale.max() < 1.8
    assert crops[:, 2].abs().max() == 0


def test_images_of_heldout_crops_are_evenly_spread():
    flat = [np.full((64, 64, 3), grey, np.uint8) for grey in range(0, 250, 10)]
    crops = HeldoutCrops(sampler_of(flat), 25, CPU)
    assert [int(image.max()) for image in crops.images(25)] == list(range(0, 250, 10))
    assert [int(image.max()) for image in crops.images(9)] == list(range(0, 250, 30))


def test_views_of_rooms_differ_and_repeat():
    views = list(islice(room_images(1), 3))
    again, other = next(room_images(1)), next(room_images(1, seed=1))
    np.testing.assert_array_equal(again, views[0])
    for number, view in enumerate(views):
        assert view.shape == (240, 320, 3) and view.std() > 5
        assert not any(np.array_equal(view, item) for item in (other, *views[:number]))


def test_colour_jitter_keeps_the_range_and_shape():
    images = torch.rand(4, 3, 16, 16)
    changed = colour_jitter(images, torch.Generator().manual_seed(0))
    assert changed.shape == images.shape and not torch.equal(changed, images)
    assert changed.min() >= 0 and changed.max() <= 1


def short_run(images, output, teacher, resume=None):
    heldout, *training = TrainingImages([images])
    settings = TrainingSettings(minutes=0.05, report_seconds=60, batch=2,
                                heldout_samples=8, warmup_steps=5)
    if resume:
        teacher.load(resume)
    else:
        teacher.fit(training)
    run = TrainingRun(settings, DiffusionTrainer(settings, CPU, resume=resume),
                      CropSampler(training, CPU, teacher), CropSampler([heldout], CPU, teacher),
                      teacher)
    first = run.heldout_losses()
    return first, run.run(output, lambda report: None)


def test_losses_fall_and_resuming_continues(images, tmp_path, stub_teacher):
    untrained, report = short_run(images, tmp_path / 'w', stub_teacher(CPU))
    trained = [report.heldout_loss, report.heldout_alignment]
    assert trained[0] < untrained[0] and trained[1] < untrained[1] and report.samples > 0
    # Another teacher object takes its components from the folder: the losses are the same.
    resumed, second = short_run(images, tmp_path / 'w2', stub_teacher(CPU), tmp_path / 'w')
    assert resumed == pytest.approx(trained, rel=0.02)
    assert second.samples > report.samples and second.seconds > report.seconds
    with (tmp_path / 'w2' / LOG_FILE).open() as handle:
        rows = list(csv.DictReader(handle))
    assert [int(float(row['samples'])) for row in rows] == [
        0, report.samples, report.samples, second.samples]
    for name, value in zip(('heldout_loss', 'heldout_alignment'), trained, strict=True):
        assert float(rows[1][name]) == pytest.approx(value, rel=1e-4)
        assert float(rows[2][name]) == pytest.approx(value, rel=0.02)
    assert np.isnan(float(rows[2]['train_alignment'])) and float(rows[1]['train_alignment']) > 0
    assert (tmp_path / 'w2' / teacher.TEACHER_FILE).read_bytes() == (
        tmp_path / 'w' / teacher.TEACHER_FILE).read_bytes()
    assert (tmp_path / 'w2' / CURVE_FILE).stat().st_size > 1000
    assert str(tmp_path) not in (tmp_path / 'w2' / 'config.json').read_text()


def test_the_rate_rises_over_steps_or_a_tenth_of_the_time(images):
    sampler = sampler_of(list(TrainingImages([images])))
    settings = TrainingSettings(minutes=1, heldout_samples=2)
    trainer = DiffusionTrainer(settings, CPU)
    run = TrainingRun(settings, trainer, sampler, sampler, Downscaled())
    assert run.learning_rate(0.0) == pytest.approx(1e-3 / 200)
    assert run.learning_rate(0.05) == pytest.approx(0.5e-3, rel=0.01)
    assert run.learning_rate(0.1) == pytest.approx(1e-3, rel=0.03)
    trainer._average.optimization_step = 99
    assert run.learning_rate(0.0) == pytest.approx(0.5e-3)
    trainer._average.optimization_step = 500
    assert run.learning_rate(0.0) == pytest.approx(1e-3)
    assert run.learning_rate(1.0) == pytest.approx(1e-4)


def test_command_writes_weights_that_load(images, tmp_path, monkeypatch, stub_teacher):
    monkeypatch.setattr(teacher, 'Teacher', stub_teacher)
    monkeypatch.setattr(training_run, 'HeldoutCrops',
                        lambda sampler, count, device: HeldoutCrops(sampler, 8, device))
    output, report = tmp_path / 'weights', tmp_path / 'report.json'
    assert train(['--photos', str(images), '--output', str(output), '--minutes', '0.03',
                  '--rooms', '1', '--json', str(report)]) == 0
    assert load_model(output).unet.config.in_channels == 48
    assert (output / WEIGHTS_FILE).stat().st_size < 16e6 and (output / STATE_FILE).is_file()
    counts = json.loads(report.read_text())
    assert (counts['photos'], counts['views']) == (6, VIEWS_PER_ROOM)
    matrix = load_whitening(output, FEATURE_BLOCK, 64)
    assert matrix is not None and matrix.shape == (64, 64)
    backbone = load_backbone(BackboneConfig(model=str(output), device='cpu'))
    assert (backbone.block, backbone.stride) == (FEATURE_BLOCK, 8)
    channels, rows, columns = backbone.features(np.zeros((96, 128, 3), np.uint8)).shape
    assert channels == 64 and rows * columns == pytest.approx(1200, rel=0.1)


def test_files_of_a_checkpoint_are_replaced_together_or_not_at_all(tmp_path):
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
    report = TrainingReport(1, 0.5, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5)
    log(tmp_path, report)
    with (tmp_path / LOG_FILE).open('a') as file:
        file.write('1,2,thr\n')
    with pytest.raises(DiffsegError, match='training_log.csv: damaged'):
        log(tmp_path, report)
