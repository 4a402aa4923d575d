import subprocess
import sys

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
    ('segmentation.refinement.dilations', '1', r'a list, such as \[1\], is needed'),
    ('segmentation.refinement.dilations', [1, 'a'], "'a' of type str; int is needed"),
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


def test_the_vocabulary_comes_with_the_settings(tmp_path):
    assert PipelineConfig().vocabulary is None and not PipelineConfig().removed_names
    file = tmp_path / 'words.yaml'
    file.write_text('[chair, {name: person, remove: true}, {name: sofa, synonyms: [couch]}]')
    config = updated(PipelineConfig(), {
        'naming.model': 'imagenet', 'naming.vocabulary': [str(file)],
        'removal.names': ['Couch', '', 'unknown']})
    assert [one.name for one in config.vocabulary.concepts] == ['chair', 'person', 'sofa']
    assert config.removed_names == {'person', 'sofa', 'unknown'}
    file.unlink()
    assert updated(config, {}).vocabulary == config.vocabulary
    with pytest.raises(DiffsegError, match='words.yaml: cannot be read'):
        updated(config, {'removal.names': ['']})


@pytest.mark.parametrize(('values', 'message'), [
    ({'removal.names': ['chair']}, "removal.names: got .'chair'.*set naming.model"),
    ({'naming.model': 'imagenet', 'naming.vocabulary': ['chair', 'table'],
      'removal.names': ['persn']}, "removal.names: got 'persn'; .*vocabulary has chair, table"),
    ({'naming.model': 'imagenet', 'naming.vocabulary': ['none.yaml']}, 'none.yaml'),
    ({'naming.model': 'imagenet', 'naming.vocabulary': ['chair', 'unknown']}, 'not known')])
def test_names_that_cannot_be_used_are_refused(values, message):
    with pytest.raises(DiffsegError, match=message):
        updated(PipelineConfig(), values)


def test_settings_load_no_model_library():
    loaded = subprocess.run(
        [sys.executable, '-c', 'import sys, diffseg_ros.config, diffseg_ros.parameter_file; '
         'print(sorted({"torch", "diffusers", "transformers", "timm"} & set(sys.modules)))'],
        capture_output=True, text=True, check=True, timeout=60)
    assert loaded.stdout.strip() == '[]'
