"""Steps of training: what enters the average, what is skipped, what a state continues."""

from __future__ import annotations

import os

from diffseg_ros.backbones.projector import create_projector, PROJECTOR_FILE, save_projector
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
    images = torch.rand((4, 48, 8, 8), generator=generator)
    targets = torch.randn((4, 64, 4, 4), generator=generator)
    if broken:
        images[0, 0, 0, 0] = float('nan')
    noise = torch.randn(images.shape, generator=generator)
    return images, targets, noise, torch.tensor([100, 300, 500, 700])


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


def test_both_losses_fall():
    trainer = DiffusionTrainer(SETTINGS, CPU)
    images, targets, noise, timesteps = batch(0)
    before = trainer.ema_losses(images, targets, noise, timesteps)
    assert before[1] == pytest.approx(1, abs=0.2)
    for _ in range(30):
        trainer.step(images, targets, noise, timesteps, 2e-3)
    denoising, alignment = trainer.ema_losses(images, targets, noise, timesteps) / before
    assert denoising < 0.9 and alignment < 0.7
    means = trainer.take_losses()
    assert 0 < means[1] < before[1] and means[2] == 0


def test_a_quarter_of_a_batch_is_denoised_and_the_rest_aligned():
    def losses(changed, number):
        trainer = DiffusionTrainer(SETTINGS, CPU)
        images, targets, noise, timesteps = batch(0)
        {'targets': targets, 'timesteps': timesteps}[changed][number] = 1
        trainer.step(images, targets, noise, timesteps, 1e-3)
        return trainer.take_losses()[:2]

    (denoising, alignment), *others = (losses(*change) for change in (
        ('targets', 0), ('targets', 1), ('timesteps', 0), ('timesteps', 1)))
    assert [first == denoising for first, _ in others] == [True, False, True]
    assert [second == alignment for _, second in others] == [False, True, True]


def test_the_trunk_is_the_unet_as_far_as_the_features():
    model = checkpoint.create_model().double().to(memory_format=torch.channels_last)
    unet, trunk = model.passes
    noisy, timesteps = torch.randn(2, 48, 8, 12).double(), torch.tensor([10, 500])
    seen = []
    handle = unet.get_submodule(checkpoint.FEATURE_BLOCK).register_forward_hook(
        lambda module, inputs, output: seen.append(output))
    unet(noisy, timesteps)
    handle.remove()
    [found] = trunk(noisy, timesteps, return_dict=False)
    assert torch.equal(found, seen[0]) and found.shape == (2, 64, 4, 6)
    assert torch.equal(model.features(noisy, timesteps), model.projector(found))
    own = {id(parameter) for parameter in unet.parameters()}
    shared = {id(parameter) for parameter in trunk.parameters()}
    assert shared < own
    found.sum().backward()
    missing = {name for name, parameter in unet.named_parameters() if parameter.grad is None}
    assert {name for name, parameter in unet.named_parameters()
            if id(parameter) not in shared} == missing
    assert all(name.startswith(('up_blocks.1.upsamplers', 'up_blocks.2', 'conv_')) for name
               in missing)
    assert len(model.state_dict()) == len(unet.state_dict()) + len(model.projector.state_dict())


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
        return before, values(trainer.ema), values(trainer._model), count

    for folder, steps, decay in ((None, None, 2 / 11), (saved, 20_000, 0.999),
                                 (copy(saved, tmp_path / 'bare', state=False), None, 2 / 11)):
        before, after, raw, _ = first_step(folder, steps)
        for old, new, parameter in zip(before, after, raw, strict=True):
            torch.testing.assert_close(new, torch.lerp(old, parameter, 1 - decay))
    assert first_step(saved)[3] > 0


def test_a_step_whose_gradient_is_not_finite_changes_nothing():
    trainer = DiffusionTrainer(SETTINGS, CPU)
    trainer.step(*batch(0), 1e-3)
    assert trainer.take_losses()[2] == 0
    raw, moments = values(trainer._model), trainer.state()
    trainer.step(*batch(1, broken=True), 1e-3)
    trainer.step(*batch(2, broken=True), 1e-3)
    denoising, alignment, skipped = trainer.take_losses()
    assert skipped == 2 and denoising != denoising and alignment != alignment
    assert equal(raw, values(trainer._model)) and checkpoint.all_finite(trainer.ema)
    after = trainer.state()
    for key in moments:
        if key.startswith(('exp_avg', 'step.')):
            assert torch.equal(moments[key], after[key]), key
    trainer.step(*batch(3), 1e-3)
    denoising, alignment, skipped = trainer.take_losses()
    assert skipped == 0 and denoising == denoising and alignment == alignment
    assert not equal(raw, values(trainer._model)) and checkpoint.all_finite(trainer._model)


@pytest.mark.parametrize('which, value', [
    ('ema', 1e5), ('ema', float('inf')), ('_model', float('nan'))])
def test_weights_that_are_not_finite_are_not_worth_keeping(saved, which, value):
    trainer = DiffusionTrainer(SETTINGS, CPU, resume=saved)
    trainer.check_finite(0.5)
    with pytest.raises(DiffsegError, match='learning rate 0.0002'):
        trainer.check_finite(float('nan'))
    with torch.no_grad():
        getattr(trainer, which).unet.conv_in.bias[3] = value
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
    assert equal(values(whole._model), values(parts._model))
    assert equal(values(whole.ema), values(parts.ema))


def test_a_state_of_an_earlier_version_takes_the_average_from_the_weights(saved, tmp_path):
    folder = copy(saved, tmp_path / 'old')
    tensors = load_file(folder / checkpoint.STATE_FILE)
    save_file({key: value for key, value in tensors.items()
               if not key.startswith(('ema.', 'generator.')) and key != 'steps'},
              folder / checkpoint.STATE_FILE)
    trainer = DiffusionTrainer(SETTINGS, CPU, resume=folder)
    assert trainer.steps == 3 and trainer.progress == {'samples': 6, 'seconds': 1.5}
    assert equal(values(trainer.ema), values(checkpoint.load_model(folder)))
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
                                          lambda t: t.pop('exp_avg.unet.conv_in.weight')),
                   checkpoint.STATE_FILE),
    'wide config': (lambda f: edit(f / 'config.json', '\n    32,', '\n    64,'),
                    'another config.json'),
    'channels': (lambda f: edit(f / 'config.json', '"in_channels": 48', '"in_channels": 3'),
                 '3 channels in'),
    'an earlier version': (lambda f: edit(f / 'config.json', '_channels": 48', '_channels": 12'),
                           '12 channels in and 12 out; training supports 48'),
    'no projector': (lambda f: (f / PROJECTOR_FILE).unlink(), PROJECTOR_FILE),
    'another projector': (lambda f: save_projector(f, 'mid_block', create_projector(128, 64)),
                          f'no {PROJECTOR_FILE} for {checkpoint.FEATURE_BLOCK}'),
    'cut projector': (lambda f: os.truncate(f / PROJECTOR_FILE, 10_000), PROJECTOR_FILE),
    'thin projector': (lambda f: edit_tensors(f / PROJECTOR_FILE, lambda t: t.pop('2.bias')),
                       PROJECTOR_FILE),
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
    """Stands in for a compiled pass and notes the shapes and arithmetic it is called with."""

    def __init__(self, call, **options):
        self.call, self.options, self.calls = call, options, []

    def __call__(self, images, *arguments, **options):
        self.calls.append((*images.shape, torch.is_autocast_enabled('cpu')))
        return self.call(images, *arguments, **options)


SHAPES = [(4, 48, 8, 8), (8, 48, 8, 12)]


def test_warming_up_compiles_every_shape_and_changes_nothing(monkeypatch):
    monkeypatch.setattr(torch, 'compile', Compiled)
    trainer = DiffusionTrainer(TrainingSettings(minutes=1, precision='bf16'), CPU)
    raw, drawn = values(trainer._model), trainer.generator.get_state()
    assert trainer.compile(SHAPES) is None
    whole, trunk = (part._compiled_call_impl for part in trainer._model.passes)
    assert whole.options == trunk.options == {'dynamic': False}
    assert whole.calls == [(1, 48, 8, 8, True), (2, 48, 8, 12, True)]
    assert trunk.calls == [(3, 48, 8, 8, True), (6, 48, 8, 12, True)]
    assert equal(raw, values(trainer._model))
    assert torch.equal(drawn, trainer.generator.get_state()) and trainer.steps == 0
    assert all(parameter.grad is None for parameter in trainer._model.parameters())
    trainer.step(*batch(0), 1e-3)
    assert whole.calls[2:] == whole.calls[:1] and trunk.calls[2:] == trunk.calls[:1]


def test_without_a_compiler_training_goes_on_as_it_is(monkeypatch):
    class Failing(Compiled):
        def __call__(self, images, *arguments, **options):
            raise RuntimeError('no C compiler\nwas found')

    monkeypatch.setattr(torch, 'compile', Failing)
    trainer = DiffusionTrainer(SETTINGS, CPU)
    assert trainer.compile(SHAPES) == 'no C compiler was found'
    trainer.step(*batch(0), 1e-3)
    assert min(trainer.take_losses()[:2]) > 0


def test_a_batch_beyond_the_memory_is_named(monkeypatch):
    class Full(Compiled):
        def __call__(self, images, *arguments, **options):
            raise torch.OutOfMemoryError('80 GiB')

    monkeypatch.setattr(torch, 'compile', Full)
    with pytest.raises(DiffsegError, match='smaller --batch'):
        DiffusionTrainer(SETTINGS, CPU).compile(SHAPES)


@pytest.mark.parametrize('mkldnn, amx', [(True, True), (True, False), (False, True)])
def test_on_a_cpu_bf16_needs_mkldnn_and_amx(monkeypatch, mkldnn, amx):
    monkeypatch.setattr(torch.backends.mkldnn, 'is_available', lambda: mkldnn)
    monkeypatch.setattr(torch.cpu, '_is_amx_tile_supported', lambda: amx)
    assert supports_bf16(CPU) is (mkldnn and amx)
