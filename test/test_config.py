from diffseg_ros.config import BackboneConfig, PipelineConfig, SegmentationConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.settings import flatten, updated
import pytest


def test_every_setting_is_described():
    for name, _, option in flatten(PipelineConfig()):
        assert len(option.description) > 10, name


def test_updated_changes_only_what_is_named():
    config = updated(PipelineConfig(), {'segmentation.cut.tau': 0.25, 'backbone.tokens': 256})
    assert config.segmentation.cut.tau == 0.25 and config.backbone.tokens == 256
    assert config.segmentation.cut.alpha == SegmentationConfig().cut.alpha
    assert config.tracking == PipelineConfig().tracking


def test_whole_numbers_are_taken_for_fractions_and_lists_for_tuples():
    config = updated(PipelineConfig(), {'segmentation.cut.alpha': 3,
                                        'segmentation.refinement.dilations': [1, 5]})
    alpha = config.segmentation.cut.alpha
    assert alpha == 3.0 and isinstance(alpha, float)
    assert config.segmentation.refinement.dilations == (1, 5)


@pytest.mark.parametrize(('name', 'value', 'message'), [
    ('segmentation.cut.tau', 2.5, 'between -1.0 and 2.0'),
    ('segmentation.cut.tau', float('nan'), 'between'),
    ('segmentation.cut.tau', 'high', 'float is needed'),
    ('segmentation.cut.tau', True, 'float is needed'),
    ('segmentation.method', 'kmeans', 'choose one of auto, regions'),
    ('segmentation.refinement.dilations', [0], 'between 1 and 64'),
    ('segmentation.refinement.dilations', '1', 'tuple is needed'),
    ('segmentation.refinement.dilations', [1, 'a'], 'tuple is needed'),
    ('backbone.tokens', 1.5, 'int is needed'),
    ('backbone.tokens', -1, 'between 0'),
    ('segmentation.nothing', 1, 'unknown'),
    ('nothing', 1, 'unknown'),
])
def test_unusable_values_are_refused_by_name(name, value, message):
    with pytest.raises(DiffsegError, match=message) as error:
        updated(PipelineConfig(), {name: value})
    assert name.split('.')[-1] in str(error.value) and '\n' not in str(error.value)


def test_backbone_settings_are_not_live():
    assert not any(option.live for _, _, option in flatten(BackboneConfig()))


def test_a_bad_value_is_told_by_its_whole_name():
    with pytest.raises(DiffsegError, match='^parameter segmentation.granularity: got 7'):
        updated(PipelineConfig(), {'segmentation.granularity': 7})
