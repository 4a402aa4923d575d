"""Every parameter is declared with its meaning and kind; wrong values are refused in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from diffseg_ros.config import RENAMED
from diffseg_ros.errors import DiffsegError
from diffseg_ros.parameter_file import all_parameters
import pytest
import yaml

pytest.importorskip('rclpy', reason='rclpy is not installed')
from diffseg_ros.ros.parameters import Parameters, unknown_parameters  # noqa: E402
import rclpy  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = {name: (default, option) for name, default, option in all_parameters()}
KINDS = {bool: 1, int: 2, float: 3, str: 4}


@pytest.fixture
def context() -> Iterator[Context]:
    context = Context()
    rclpy.init(context=context, domain_id=101)
    yield context
    context.shutdown()


class Declared:
    """A node with all parameters, and what was heard of changes."""

    def __init__(self, context: Context, **overrides: object) -> None:
        self.node = Node('diffseg', context=context, parameter_overrides=[
            Parameter(name, value=value) for name, value in overrides.items()])
        self.changes = 0
        self.parameters = Parameters(self.node, self._changed)

    def _changed(self) -> None:
        self.changes += 1

    def set(self, name: str, value: object) -> tuple[bool, str]:
        result, = self.node.set_parameters([Parameter(name, value=value)])
        return result.successful, result.reason

    def get(self, name: str) -> object:
        return self.node.get_parameter(name).value


@pytest.fixture
def declared(context: Context) -> Declared:
    return Declared(context)


def test_every_setting_is_declared_with_meaning_type_and_range(declared):
    for name, (default, option) in OPTIONS.items():
        descriptor = declared.node.describe_parameter(name)
        assert descriptor.description == option.description and len(option.description) > 10
        if type(default) in KINDS:
            assert descriptor.type == KINDS[type(default)]
        mixed = len({type(choice) for choice in option.choices}) > 1
        assert descriptor.dynamic_typing == mixed
        if type(default) in (int, float):
            ranges = [*descriptor.floating_point_range, *descriptor.integer_range]
            assert [(item.from_value, item.to_value) for item in ranges] == [
                (option.minimum, option.maximum)], name
        assert descriptor.read_only == option.read_only
        assert all(choice in descriptor.additional_constraints for choice in option.choice_names)


def test_default_file_has_exactly_the_declared_parameters_with_their_defaults(declared):
    tree = yaml.safe_load((ROOT / 'config' / 'default.yaml').read_text())

    def leaves(branch, prefix=''):
        for key, value in branch.items():
            if isinstance(value, dict):
                yield from leaves(value, f'{prefix}{key}.')
            else:
                yield f'{prefix}{key}', value

    values = dict(leaves(tree['/**']['ros__parameters']))
    assert set(values) == set(OPTIONS)
    for name, value in values.items():
        got = declared.get(name)
        assert (list(got) if isinstance(value, list) else got) == value, name


def test_integers_are_taken_for_floats_at_the_start_and_later(context):
    declared = Declared(context, **{'segmentation.cut.tau': 1,
                                    'base_to_camera': [0, 0, 1, 0, 0, 0, 1]})
    assert declared.get('segmentation.cut.tau') == 1.0
    assert declared.parameters.pipeline.segmentation.cut.tau == 1.0
    assert declared.parameters.node.base_to_camera == (0, 0, 1, 0, 0, 0, 1)
    assert declared.set('segmentation.cut.tau', 2) == (True, '')
    assert isinstance(declared.get('segmentation.cut.tau'), float)
    assert declared.parameters.pipeline.segmentation.cut.tau == 2.0
    assert declared.set('max_rate', 15)[0] and declared.parameters.node.max_rate == 15.0


@pytest.mark.parametrize(('name', 'value', 'reason'), [
    ('segmentation.cut.tau', 9.0, 'cut.tau'), ('segmentation.cut.tau', 9, 'cut.tau'),
    ('segmentation.cut.tau', float('nan'), 'cut.tau'),
    ('segmentation.cut.tau', 'high', 'type'), ('segmentation.max_segments', 2.5, 'type'),
    ('segmentation.method', 'guess', 'choose one of'),
    ('segmentation.refinement.dilations', [0], 'between 1 and 64'),
    ('autostart', False, 'read-only'), ('base_to_camera', [1.0], 'seven numbers'),
    ('base_to_camera', [1.0] + [0.0] * 6, 'quaternion'),
    ('unlabelled_value', 70000, '16UC1 holds at most')])
def test_wrong_value_is_refused_with_the_reason_and_the_old_one_stays(declared, name, value,
                                                                      reason):
    before, node, pipeline = declared.get(name), declared.parameters.node, (
        declared.parameters.pipeline)
    accepted, words = declared.set(name, value)
    assert not accepted and reason in words
    assert declared.get(name) == before
    assert (declared.parameters.node, declared.parameters.pipeline) == (node, pipeline)
    assert declared.changes == 0


def test_changes_at_once_are_taken_as_a_whole_or_not_at_all(declared):
    result = declared.node.set_parameters_atomically([
        Parameter('segmentation.cut.tau', value=0.5), Parameter('max_rate', value=-1.0)])
    assert not result.successful
    assert declared.get('segmentation.cut.tau') == OPTIONS['segmentation.cut.tau'][0]
    assert declared.changes == 0
    result = declared.node.set_parameters_atomically([
        Parameter('segmentation.cut.tau', value=0.5), Parameter('max_rate', value=2.0)])
    assert result.successful and declared.changes == 1


def test_what_affects_the_loaded_model_is_fixed_while_configured(declared):
    fixed = [name for name, (_, option) in OPTIONS.items() if not option.live]
    live = [name for name in OPTIONS if name not in fixed]
    assert {'backbone.model', 'labels_encoding'} <= set(fixed)
    assert {'segmentation.cut.tau', 'tracking.max_misses', 'cloud.max_depth'} <= set(live)
    declared.parameters.locked = True
    accepted, words = declared.set('backbone.model', 'other')
    assert not accepted and 'clean it up first' in words
    for name in live:
        assert declared.set(name, declared.get(name)) == (True, ''), name
    declared.parameters.locked = False
    assert declared.set('backbone.model', 'other')[0]


@pytest.mark.parametrize(('overrides', 'reason'), [
    ({'segmentation.cut.tau': 'high'},
     "parameter segmentation.cut.tau: got 'high' of type str; float is needed"),
    ({'segmentation.cut.tau': 9}, 'segmentation.cut.tau'),
    ({'backbone.tokens': 3.5}, 'backbone.tokens'), ({'autostart': 'maybe'}, 'autostart'),
    ({'base_to_camera': [1, 2]}, 'seven numbers')])
def test_wrong_start_is_refused_in_words(context, overrides, reason):
    with pytest.raises(DiffsegError, match=reason) as refused:
        Declared(context, **overrides)
    assert '\n' not in str(refused.value)


def test_parameters_that_do_not_exist_are_noticed(context):
    declared = Declared(context, **{'segmentation.taw': 1.0, 'segmentation.cut.tau': 0.5,
                                    'qos_overrides./a.publisher.depth': 3})
    unknown, = unknown_parameters(declared.node)
    assert unknown.startswith('segmentation.taw (the nearest are segmentation.cut.tau')


def test_old_names_are_taken_at_the_start_with_a_warning_that_gives_the_new_one(context, capfd):
    assert set(RENAMED.values()) <= set(OPTIONS)
    declared = Declared(context, **{'partner_timeout': 1, 'segmentation.tau': 0.5,
                                    'segmentation.method': 'ncut'})
    assert declared.get('sync_timeout') == declared.parameters.node.sync_timeout == 1.0
    assert declared.parameters.pipeline.segmentation.cut.tau == 0.5
    assert declared.get('segmentation.method') == 'kway'
    assert unknown_parameters(declared.node) == []
    logged = capfd.readouterr().err
    assert 'parameter partner_timeout is now called sync_timeout' in logged
    assert 'parameter segmentation.cut.tau is now called' not in logged
