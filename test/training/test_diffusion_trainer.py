"""Steps of training: what enters the average, what is skipped, what a state continues."""

from __future__ import annotations

import os

from diffseg_ros.errors import DiffsegError
from diffseg_ros.training import checkpoint
from diffseg_ros.training.trainer import (
    DiffusionTrainer,
    NEW_RATE,
    RESUMED_RATE,
    supports_bf16,
    TrainingSettings,
)
import pytest
from safetensors.torch import load_file, save_file
import torch

CPU = torch.device('cpu')
SETTINGS = TrainingSettings(minutes=1)


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    """Return a folder with weights and state after three steps."""
    folder = tmp_path_factory.mktemp('saved')
    trainer = DiffusionTrainer(SETTINGS, CPU)
    for number in range(3):
        trainer.step(*batch(number), 1e-3)
    trainer.progress = {'samples': 6, 'seconds': 1.5}
    save(trainer, folder)
    return folder


def batch(seed, *, broken=False):
    """Return a small batch of noise."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand((2, 12, 16, 16), generator=generator)
    if broken:
        images[0, 0, 0, 0] = float('nan')
    noise = torch.randn(images.shape, generator=generator)
    return images, noise, torch.tensor([100, 700])


def save(trainer, folder):
    with checkpoint.replacing(folder) as scratch:
        checkpoint.save_weights(trainer.ema, scratch)
        checkpoint.save_state(scratch, trainer.state(), trainer.progress)


def copy(saved, folder, *, state=True):
    """Copy what a run saved, or only the bare weights."""
    folder.mkdir()
    for file in saved.iterdir():
        if state or not file.name.startswith('trainer'):
            (folder / file.name).write_bytes(file.read_bytes())
    return folder


def values(model):
    return [parameter.detach().clone() for parameter in model.parameters()]


def equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_the_average_has_no_graph():
    trainer = DiffusionTrainer(SETTINGS, CPU)
    for number in range(2):
        trainer.step(*batch(number), 1e-3)
    for parameter in trainer.ema.parameters():
        assert not parameter.requires_grad and parameter.grad_fn is None


def test_an_average_is_the_slower_the_more_steps_it_has_seen(saved, tmp_path):
    def first_step(folder, steps=None):
        trainer = DiffusionTrainer(SETTINGS, CPU, resume=folder)
        if steps is not None:
            trainer._average.optimization_step = steps
        before, count = values(trainer.ema), trainer.steps
        trainer.step(*batch(9), 1e-3)
        return before, values(trainer.ema), values(trainer._unet), count

    for folder, steps, decay in ((None, None, 2 / 11), (saved, 20_000, 0.999),
                                 (copy(saved, tmp_path / 'bare', state=False), None, 2 / 11)):
        before, after, raw, _ = first_step(folder, steps)
        for old, new, parameter in zip(before, after, raw, strict=True):
            torch.testing.assert_close(new, torch.lerp(old, parameter, 1 - decay))
    assert first_step(saved)[3] > 0


def test_a_step_whose_gradient_is_not_finite_changes_nothing():
    trainer = DiffusionTrainer(SETTINGS, CPU)
    trainer.step(*batch(0), 1e-3)
    assert trainer.take_loss()[1] == 0
    raw, moments = values(trainer._unet), trainer.state()
    trainer.step(*batch(1, broken=True), 1e-3)
    trainer.step(*batch(2, broken=True), 1e-3)
    loss, skipped = trainer.take_loss()
    assert skipped == 2 and loss != loss
    assert equal(raw, values(trainer._unet)) and checkpoint.all_finite(trainer.ema)
    after = trainer.state()
    for key in moments:
        if key.startswith(('exp_avg', 'step.')):
            assert torch.equal(moments[key], after[key]), key
    trainer.step(*batch(3), 1e-3)
    loss, skipped = trainer.take_loss()
    assert skipped == 0 and loss == loss
    assert not equal(raw, values(trainer._unet)) and checkpoint.all_finite(trainer._unet)


@pytest.mark.parametrize('which, value', [
    ('ema', 1e5), ('ema', float('inf')), ('_unet', float('nan'))])
def test_weights_that_are_not_finite_are_not_worth_keeping(saved, which, value):
    trainer = DiffusionTrainer(SETTINGS, CPU, resume=saved)
    trainer.check_finite(0.5)
    with pytest.raises(DiffsegError, match='learning rate 0.0002'):
        trainer.check_finite(float('nan'))
    with torch.no_grad():
        getattr(trainer, which).conv_in.bias[3] = value
    with pytest.raises(DiffsegError, match='diverged at learning rate 0.0002'):
        trainer.check_finite(0.5)


def test_a_state_continues_bit_by_bit(tmp_path):
    whole = DiffusionTrainer(SETTINGS, CPU)
    for number in range(4):
        if number == 2:
            save(whole, tmp_path)
            drawn = whole.generator.get_state()
        whole.step(*batch(number), 1e-3)
    parts = DiffusionTrainer(SETTINGS, CPU, resume=tmp_path)
    assert parts.steps == 2 and torch.equal(parts.generator.get_state(), drawn)
    for number in (2, 3):
        parts.step(*batch(number), 1e-3)
    assert equal(values(whole._unet), values(parts._unet))
    assert equal(values(whole.ema), values(parts.ema))


def test_a_state_of_an_earlier_version_takes_the_average_from_the_weights(saved, tmp_path):
    folder = copy(saved, tmp_path / 'old')
    tensors = load_file(folder / checkpoint.STATE_FILE)
    save_file({key: value for key, value in tensors.items()
               if not key.startswith(('ema.', 'generator.')) and key != 'steps'},
              folder / checkpoint.STATE_FILE)
    trainer = DiffusionTrainer(SETTINGS, CPU, resume=folder)
    assert trainer.steps == 3 and trainer.progress == {'samples': 6, 'seconds': 1.5}
    assert equal(values(trainer.ema), values(checkpoint.load_weights(folder)))
    current = DiffusionTrainer(SETTINGS, CPU, resume=saved)
    assert not equal(values(trainer.ema), values(current.ema))


def test_the_default_rate_is_lower_when_resuming(saved):
    assert DiffusionTrainer(SETTINGS, CPU).peak_rate == NEW_RATE == 1e-3
    assert DiffusionTrainer(SETTINGS, CPU, resume=saved).peak_rate == RESUMED_RATE == 2e-4
    given = TrainingSettings(minutes=1, learning_rate=5e-4)
    assert DiffusionTrainer(given, CPU, resume=saved).peak_rate == 5e-4


def edit(file, old, new):
    file.write_text(file.read_text().replace(old, new))


def edit_tensors(file, change):
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


DAMAGES = {
    'progress': (lambda f: (f / checkpoint.PROGRESS_FILE).write_text('{"samples": '),
                 checkpoint.PROGRESS_FILE),
    'counts': (lambda f: edit(f / checkpoint.PROGRESS_FILE, '6', '"many"'),
               checkpoint.PROGRESS_FILE),
    'cut state': (lambda f: os.truncate(f / checkpoint.STATE_FILE, 10_000), checkpoint.STATE_FILE),
    'thin state': (lambda f: edit_tensors(f / checkpoint.STATE_FILE,
                                          lambda t: t.pop('exp_avg.conv_in.weight')),
                   checkpoint.STATE_FILE),
    'wide config': (lambda f: edit(f / 'config.json', '\n    32,', '\n    64,'),
                    'another config.json'),
    'channels': (lambda f: edit(f / 'config.json', '"in_channels": 12', '"in_channels": 3'),
                 '3 channels in'),
    'not a number': (lambda f: edit_tensors(f / checkpoint.WEIGHTS_FILE,
                                            lambda t: t['conv_in.bias'].fill_(float('nan'))),
                     'not finite'),
}


@pytest.mark.parametrize('damage, named', DAMAGES.values(), ids=DAMAGES)
def test_what_is_damaged_is_named_in_one_line(saved, tmp_path, damage, named):
    folder = copy(saved, tmp_path / 'damaged')
    damage(folder)
    with pytest.raises(DiffsegError) as caught:
        DiffusionTrainer(SETTINGS, CPU, resume=folder)
    message = str(caught.value)
    assert named in message and str(folder) in message and '\n' not in message


class Compiled:
    """Stands in for a compiled model and notes the shapes it is called with."""

    def __init__(self, model, **options):
        self.model, self.options, self.shapes = model, options, []

    def __call__(self, images, *arguments, **options):
        self.shapes.append(tuple(images.shape))
        return self.model(images, *arguments, **options)


def test_warming_up_compiles_every_shape_and_changes_nothing(monkeypatch):
    monkeypatch.setattr(torch, 'compile', Compiled)
    trainer = DiffusionTrainer(SETTINGS, CPU)
    raw, drawn = values(trainer._unet), trainer.generator.get_state()
    shapes = [(2, 12, 16, 16), (3, 12, 16, 24)]
    assert trainer.compile(shapes) is None
    compiled = trainer._forward
    assert compiled.shapes == shapes and compiled.options == {'dynamic': False}
    assert equal(raw, values(trainer._unet))
    assert torch.equal(drawn, trainer.generator.get_state()) and trainer.steps == 0
    assert all(parameter.grad is None for parameter in trainer._unet.parameters())
    trainer.step(*batch(0), 1e-3)
    assert compiled.shapes[2:] == [(2, 12, 16, 16)]


def test_without_a_compiler_training_goes_on_as_it_is(monkeypatch):
    class Failing(Compiled):
        def __call__(self, images, *arguments, **options):
            raise RuntimeError('no C compiler\nwas found')

    monkeypatch.setattr(torch, 'compile', Failing)
    trainer = DiffusionTrainer(SETTINGS, CPU)
    assert trainer.compile([(2, 12, 16, 16)]) == 'no C compiler was found'
    trainer.step(*batch(0), 1e-3)
    assert trainer.take_loss()[0] > 0


def test_a_batch_beyond_the_memory_is_named(monkeypatch):
    class Full(Compiled):
        def __call__(self, images, *arguments, **options):
            raise torch.OutOfMemoryError('80 GiB')

    monkeypatch.setattr(torch, 'compile', Full)
    with pytest.raises(DiffsegError, match='smaller --batch'):
        DiffusionTrainer(SETTINGS, CPU).compile([(2, 12, 16, 16)])


def test_arithmetic_is_chosen_without_mkldnn_too(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, 'is_available', lambda: False)
    assert supports_bf16(CPU) is False
