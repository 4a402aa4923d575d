"""Options of the commands that run the pipeline."""

from __future__ import annotations

import argparse
from pathlib import Path

from diffseg_ros.config import PipelineConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.parameter_file import pipeline_config_from_file, pipeline_settings
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
    values = {}
    for setting in arguments.settings:
        name, equals, text = setting.partition('=')
        if not equals:
            raise DiffsegError(f'--set {setting}: NAME=VALUE is needed')
        try:
            values[name] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise DiffsegError(f'--set {setting}: {text!r} is no value') from error
    return updated(config, pipeline_settings(values))
