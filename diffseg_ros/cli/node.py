"""diffseg_node: segment the images of a camera topic into persistent masks and clouds."""

from __future__ import annotations

import argparse
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

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


class _StopSignal:
    """Notes SIGINT and SIGTERM; the same one a second time ends the process at once."""

    def __init__(self) -> None:
        self.received = False
        self._loading = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = True
        signal.signal(number, signal.SIG_DFL)
        if self._loading:
            raise KeyboardInterrupt

    def ending(self, load: PipelineFactory) -> PipelineFactory:
        """Return `load`, which may take a minute, so that a signal ends it at once."""
        def loading(config: PipelineConfig, first_id: int) -> Pipeline:
            try:
                self._loading = True
                try:
                    if self.received:
                        raise KeyboardInterrupt
                    return load(config, first_id)
                finally:
                    self._loading = False
            except KeyboardInterrupt:
                raise DiffsegError('stopped while the model was loading') from None
        return loading


def _spin(node: SegmentationNode, stop: _StopSignal) -> None:
    from rclpy.executors import SingleThreadedExecutor

    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    node.start()
    while not stop.received and node.context.ok():
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
    stop = _StopSignal()
    from diffseg_ros.ros.node import load_pipeline, SegmentationNode
    from diffseg_ros.ros.startup import join_ros, own_arguments
    import rclpy

    if stop.received:
        return 0
    arguments = sys.argv if argv is None else ['diffseg_node', *argv]
    try:
        _parser().parse_args(own_arguments(arguments)[1:])
        join_ros(arguments)
    except DiffsegError as error:
        print(f'diffseg_node: {error}', file=sys.stderr)
        return 2
    try:
        node = SegmentationNode(pipeline_factory=stop.ending(pipeline_factory or load_pipeline))
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
