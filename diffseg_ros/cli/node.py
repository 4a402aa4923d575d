"""diffseg_node: segment the images of a camera topic into persistent masks and clouds."""

from __future__ import annotations

import argparse
from itertools import pairwise
import sys
from typing import Any, TYPE_CHECKING

from diffseg_ros.cli.signals import StopSignal
from diffseg_ros.config import PipelineConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.parameter_file import node_settings, read_parameter_file
from diffseg_ros.ros.startup import (
    check_ros_arguments,
    join_ros,
    keep_freed_memory,
    own_arguments,
)

if TYPE_CHECKING:
    from diffseg_ros.pipeline import Pipeline
    from diffseg_ros.ros.node import PipelineFactory, SegmentationNode

_SPIN_SECONDS = 0.1


def _parser() -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog='diffseg_node', description=__doc__,
        epilog='ROS arguments follow --ros-args: -r OLD:=NEW, -p NAME:=VALUE, --params-file FILE, '
               '--log-level LEVEL.')


def _check(words: list[str]) -> None:
    """Parse what is not for ROS, which is nothing but --help; refuse recordings by name."""
    file = next((word for word in words if not word.startswith('-')), None)
    if file is not None:
        raise DiffsegError(f'{file}: the node takes camera topics, not files; run diffseg_play '
                           f'{file} beside it, or diffseg_replay {file} --output DIR alone')
    _parser().parse_args(words)


def _parameter_files(arguments: list[str]) -> dict[str, Any]:
    """Return the documents that --params-file names, by path; those that are none are refused."""
    return {path: read_parameter_file(path)
            for option, path in pairwise(arguments) if option == '--params-file'}


def _warn_of_ignored(files: dict[str, Any], node: SegmentationNode) -> None:
    """Say which parameter files hold nothing for the node: ROS does not."""
    for path, document in files.items():
        try:
            node_settings(document, node.get_fully_qualified_name())
        except DiffsegError as error:
            node.get_logger().warning(f'parameter file {path}: {error}')


def _ended_by(stop: StopSignal, load: PipelineFactory) -> PipelineFactory:
    """Return `load`, which may take a minute, so that a signal ends it at once."""
    def load_or_stop(config: PipelineConfig, first_id: int) -> Pipeline:
        try:
            with stop.interrupting():
                return load(config, first_id)
        except KeyboardInterrupt:
            raise DiffsegError('stopped while the model was loading') from None
    return load_or_stop


def _spin(node: SegmentationNode, stop: StopSignal) -> None:
    from rclpy.executors import SingleThreadedExecutor

    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    node.start()
    while not stop() and node.context.ok():
        try:
            executor.spin_once(timeout_sec=_SPIN_SECONDS)
        except Exception as error:
            node.get_logger().error(f'callback failed: {type(error).__name__}: {error}')
    executor.remove_node(node)
    node.finish()


def main(argv: list[str] | None = None, *,
         pipeline_factory: PipelineFactory | None = None) -> int:
    """Run the node until SIGINT or SIGTERM and return the exit code."""
    # Before the imports, which take seconds: a signal would end them in a traceback.
    stop = StopSignal()
    keep_freed_memory()
    from diffseg_ros.ros.node import load_pipeline, SegmentationNode
    import rclpy

    if stop():
        return 0
    arguments = sys.argv if argv is None else ['diffseg_node', *argv]
    try:
        check_ros_arguments('diffseg_node', arguments[1:])
        files = _parameter_files(arguments)
        _check(own_arguments(arguments)[1:])
        join_ros(arguments)
        node = SegmentationNode(pipeline_factory=_ended_by(stop, pipeline_factory
                                                           or load_pipeline))
        _warn_of_ignored(files, node)
        _spin(node, stop)
        node.destroy_node()
    except DiffsegError as error:
        print(f'diffseg_node: {error}', file=sys.stderr)
        return 2
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
