"""Options of the commands that run the pipeline."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from diffseg_ros.config import NodeConfig, PipelineConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.base import BagSettings
from diffseg_ros.parameter_file import (
    pipeline_config_from_file,
    pipeline_settings,
    settings_from_file,
)
from diffseg_ros.settings import updated
import yaml


def add_pipeline_options(parser: argparse.ArgumentParser) -> None:
    """Add `--params FILE` and `--set NAME=VALUE`."""
    parser.add_argument('--params', type=Path, metavar='FILE', help='ROS parameter file')
    parser.add_argument('--set', action='append', default=[], metavar='NAME=VALUE',
                        dest='settings', help='one parameter, for example '
                        'segmentation.granularity=0.7; may be repeated and wins over the file')


def pipeline_config(arguments: argparse.Namespace) -> PipelineConfig:
    """
    Return the defaults with what the user changed.

    Raises
    ------
    DiffsegError
        The file or a value cannot be used.

    """
    config = (pipeline_config_from_file(arguments.params) if arguments.params
              else PipelineConfig())
    return updated(config, pipeline_settings(_set_options(arguments)))


def bag_settings(arguments: argparse.Namespace) -> BagSettings:
    """Return how bags are read: by the node's settings, as far as the user gave them."""
    given = settings_from_file(arguments.params) if arguments.params else {}
    given |= _set_options(arguments)
    values = {field.name: given[field.name] for field in fields(BagSettings)
              if field.name in given}
    node = updated(NodeConfig(), values)
    depth = pipeline_config(arguments).depth
    return BagSettings(**{name: getattr(node, name) for name in values},
                       sparse_topic=depth.sparse_topic if depth.model else '')


def _set_options(arguments: argparse.Namespace) -> dict[str, Any]:
    values = {}
    for setting in arguments.settings:
        name, equals, text = setting.partition('=')
        if not (name and equals):
            raise DiffsegError(f'--set {setting}: NAME=VALUE is needed')
        try:
            values[name] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise DiffsegError(f'--set {setting}: {text!r} is no value') from error
    return values
