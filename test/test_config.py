from dataclasses import fields

from diffseg_ros.config import BackboneConfig, flatten, PipelineConfig, SegmentationConfig, updated
from diffseg_ros.errors import DiffsegError
import pytest


def test_every_setting_is_described():
    for name, _, option in flatten(PipelineConfig()):
        assert len(option.description) > 10, name


def test_updated_changes_only_what_is_named():
    config = updated(PipelineConfig(), {'segmentation.tau': 0.25, 'backbone.tokens': 256})
    assert config.segmentation.tau == 0.25 and config.backbone.tokens == 256
    assert config.segmentation.alpha == SegmentationConfig().alpha
    assert config.tracking == PipelineConfig().tracking


def test_whole_numbers_are_taken_for_fractions_and_lists_for_tuples():
    config = updated(PipelineConfig(), {'segmentation.alpha': 3,
                                        'segmentation.refinement_dilations': [1, 5]})
    assert config.segmentation.alpha == 3.0 and isinstance(config.segmentation.alpha, float)
    assert config.segmentation.refinement_dilations == (1, 5)


@pytest.mark.parametrize(('name', 'value', 'message'), [
    ('segmentation.tau', 2.5, 'between 0.0 and 2.0'),
    ('segmentation.tau', float('nan'), 'between'),
    ('segmentation.tau', 'high', 'float is needed'),
    ('segmentation.tau', True, 'float is needed'),
    ('segmentation.method', 'kmeans', 'choose one of regions'),
    ('segmentation.refinement_dilations', [0], 'between 1 and 64'),
    ('segmentation.refinement_dilations', '1', 'tuple is needed'),
    ('segmentation.refinement_dilations', [1, 'a'], 'int is needed'),
    ('backbone.tokens', 1.5, 'int is needed'),
    ('backbone.tokens', 1, 'between 16'),
    ('segmentation.nothing', 1, 'unknown'),
    ('nothing', 1, 'unknown'),
])
def test_unusable_values_are_refused_by_name(name, value, message):
    with pytest.raises(DiffsegError, match=message) as error:
        updated(PipelineConfig(), {name: value})
    assert name.split('.')[-1] in str(error.value) and '\n' not in str(error.value)


def test_backbone_settings_are_not_live():
    for item in fields(BackboneConfig):
        assert not item.metadata['option'].live


def test_a_bad_value_is_told_by_its_whole_name():
    with pytest.raises(DiffsegError, match='^parameter segmentation.granularity: got 7'):
        updated(PipelineConfig(), {'segmentation.granularity': 7})
