"""diffseg_node: segment the images of a camera topic into persistent masks and clouds."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from diffseg_ros.cli.signals import StopSignal
from diffseg_ros.config import PipelineConfig
from diffseg_ros.errors import DiffsegError

if TYPE_CHECKING:
    from diffseg_ros.pipeline import Pipeline
    from diffseg_ros.ros.node import PipelineFactory, SegmentationNode

_SPIN_SECONDS = 0.1


def _parser() -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog='diffseg_node', description=__doc__,
        epilog='ROS arguments follow --ros-args: -r OLD:=NEW, -p NAME:=VALUE, --params-file FILE, '
               '--log-level LEVEL.')


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
    from diffseg_ros.ros.node import load_pipeline, SegmentationNode
    from diffseg_ros.ros.startup import join_ros, own_arguments
    import rclpy

    if stop():
        return 0
    arguments = sys.argv if argv is None else ['diffseg_node', *argv]
    try:
        _parser().parse_args(own_arguments(arguments)[1:])
        join_ros(arguments)
        node = SegmentationNode(pipeline_factory=_ended_by(stop, pipeline_factory
                                                           or load_pipeline))
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
