"""What suits a kind of model fills what is left open, and nothing else."""

from diffseg_ros.backbones.latent import latent_kind
from diffseg_ros.config import PipelineConfig
from diffseg_ros.model_defaults import model_defaults, open_settings, with_model_defaults
from diffseg_ros.pipeline import create_method
from diffseg_ros.registry import segmentation_methods
from diffseg_ros.settings import flatten, updated
import pytest

KINDS = ('embedded', 'pixel', 'sd1', 'sd2', 'sdxl', 'sd1-lcm', 'sd2-turbo', 'sdxl-turbo',
         'imagenet', 'dino', 'other')
METHODS = 'auto', *segmentation_methods.names()


def filled(kind, method='auto', **values):
    config = updated(PipelineConfig(), {'segmentation.method': method, **{
        name.replace('__', '.'): value for name, value in values.items()}})
    return values_of(with_model_defaults(config, kind, method))


def values_of(config):
    return {name: value for name, value, _ in flatten(config)}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('method', METHODS)
def test_nothing_stays_open_and_nothing_else_changes(kind, method):
    before, after = values_of(PipelineConfig()), filled(kind, method)
    assert {name for name in after if after[name] != before[name]} == (
        open_settings(PipelineConfig()) | {'segmentation.method'})
    config = updated(PipelineConfig(), after)
    assert open_settings(with_model_defaults(config, 'other')) == set()


def test_a_value_of_the_user_wins():
    found = filled('sdxl', 'diffseg', backbone__tokens=300, backbone__noise=True,
                   segmentation__centre=True, segmentation__cut__colour=0.0,
                   segmentation__diffseg__threshold=0.7)
    assert found['backbone.tokens'] == 300 and found['backbone.noise'] is True
    assert found['segmentation.centre'] is True and found['segmentation.cut.colour'] == 0
    assert found['segmentation.diffseg.threshold'] == 0.7
    assert found['backbone.timestep'] == 300


@pytest.mark.parametrize(('kind', 'method', 'expected'), [
    ('embedded', 'auto', {'segmentation.method': 'regions', 'backbone.timestep': 10,
                          'segmentation.regions.features': 7.0}),
    ('sd1', 'auto', {'segmentation.method': 'kway', 'segmentation.cut.tau': 0.3,
                     'segmentation.centre': False}),
    ('sd1', 'diffcut', {'segmentation.cut.tau': 0.2, 'backbone.tokens': 1024}),
    ('sdxl', 'diffcut', {'segmentation.cut.tau': 0.5, 'segmentation.cut.geometry': 0.0}),
    ('sd1', 'diffseg', {'segmentation.diffseg.threshold': 1.0, 'backbone.noise': False,
                        'backbone.tokens': 256}),
    ('sdxl', 'diffseg', {'backbone.tokens': 1024, 'backbone.timestep': 300}),
    ('sd2-turbo', 'auto', {'backbone.timestep': 249}),
    ('sd1-lcm', 'auto', {'backbone.timestep': 59}),
    ('sd1-lcm', 'diffseg', {'backbone.timestep': 299}),
    ('imagenet', 'auto', {'backbone.tokens': 2352, 'segmentation.regions.features': 7.0}),
    ('dino', 'auto', {'backbone.tokens': 1369, 'segmentation.regions.features': 10.0}),
    ('embedded', 'diffseg', {'segmentation.diffseg.threshold': 0.03, 'backbone.noise': True})])
def test_rows(kind, method, expected):
    found = filled(kind, method)
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize('name', ['diffcut', 'kway'])
def test_a_method_alone_gets_its_own_thresholds(name):
    method = create_method(PipelineConfig().segmentation.replace(method=name), 'sdxl')
    values = model_defaults('sdxl', name)
    assert method.settings.tau == values['segmentation.cut.tau']
    assert method.common.centre is False


@pytest.mark.parametrize(('unet', 'scheduler', 'kind'), [
    ({}, {}, 'sd1'), ({'use_linear_projection': True}, {}, 'sd2'),
    ({'addition_embed_type': 'text_time', 'use_linear_projection': True}, {}, 'sdxl'),
    ({'time_cond_proj_dim': 256}, {}, 'sd1-lcm'), ({}, {'_class_name': 'LCMScheduler'}, 'sd1-lcm'),
    ({'use_linear_projection': True}, {'timestep_spacing': 'trailing'}, 'sd2-turbo'),
    ({}, {'timestep_spacing': 'trailing', 'rescale_betas_zero_snr': True}, 'sd1')])
def test_kind_is_told_by_the_configurations(unet, scheduler, kind):
    assert latent_kind(unet, scheduler) == kind
