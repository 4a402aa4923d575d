"""Settings of the node itself, beside those of the pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import dataclasses
from dataclasses import dataclass
from typing import Any

from diffseg_ros.config import Option, option, Validated
from diffseg_ros.errors import DiffsegError

_LARGEST = {'16UC1': 2**16 - 1, 'mono8': 2**8 - 1, '32SC1': 2**31 - 1}


@dataclass(frozen=True)
class NodeConfig(Validated):
    """How the node takes its input in and what it publishes."""

    autostart: bool = option(True, 'configure and activate without being told to', live=False)
    labels_encoding: str = option('16UC1', 'encoding of ~/labels', choices=tuple(_LARGEST),
                                  live=False)
    unlabelled_value: int = option(-1, 'value of pixels without a segment in ~/labels and '
                                   '~/points; -1 is all bits set: 65535, 255 or -1 by encoding',
                                   -1, 2**31 - 1, live=False)
    image_transport: str = option('raw', 'how the colour images come: raw, or compressed on the '
                                  'topic with /compressed added',
                                  choices=('raw', 'compressed'), live=False)
    depth_transport: str = option('raw', 'how the depth images come: raw, or compressedDepth on '
                                  'the topic with /compressedDepth added',
                                  choices=('raw', 'compressedDepth'), live=False)
    partner_timeout: float = option(0.1, 'seconds an image waits for the depth and camera_info '
                                    'of its stamp', 0.0, 1.0)
    image_queue: int = option(5, 'queue depth of the image subscription', 1, 100, live=False)
    depth_queue: int = option(10, 'queue depth of the depth and camera_info subscriptions',
                              1, 100, live=False)
    output_queue: int = option(5, 'queue depth of the publishers', 1, 100, live=False)
    diagnostics_period: float = option(1.0, 'seconds between messages on /diagnostics',
                                       0.1, 60.0, live=False)

    def __post_init__(self) -> None:
        """Refuse values outside their ranges, and an unlabelled value the encoding lacks."""
        super().__post_init__()
        largest = _LARGEST[self.labels_encoding]
        if self.unlabelled_value > largest:
            raise DiffsegError(f'parameter unlabelled_value: got {self.unlabelled_value}; '
                               f'{self.labels_encoding} holds at most {largest}')


def flatten_node(config: NodeConfig) -> Iterator[tuple[str, Any, Option]]:
    """Yield (name, value, option) of every setting of the node."""
    for item in dataclasses.fields(config):
        yield item.name, getattr(config, item.name), item.metadata['option']


def updated_node(config: NodeConfig, values: Mapping[str, Any]) -> NodeConfig:
    """
    Return `config` with some settings replaced.

    Raises
    ------
    DiffsegError
        A value is of the wrong type or out of range.

    """
    return dataclasses.replace(config, **values)
