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

    autostart: bool = option(True, 'configure and activate without being told to', read_only=True)
    labels_encoding: str = option('16UC1', 'encoding of ~/labels', choices=tuple(_LARGEST),
                                  live=False)
    unlabelled_value: int = option(-1, 'value of pixels without a segment in ~/labels and '
                                   '~/points; -1 is all bits set: 65535, 255 or -1 by encoding',
                                   -1, 2**31 - 1, live=False)
    labels_content: str = option('id', 'what ~/labels and ~/points hold: the id of each segment, '
                                 'or its class (see ~/label_info; without names all are 0)',
                                 choices=('id', 'class'), live=False)
    label_slots: int = option(0, 'number of values that the live ids share, for consumers with a '
                              'fixed number of labels; 0 is 255 in mono8 and no limit (the ids '
                              'themselves) otherwise', 0, 2**16 - 1, live=False)
    points_colour: str = option('photo', 'what rgb of ~/points shows: the photo, or a colour per '
                                'label value', choices=('photo', 'label'), live=False)
    static_mask: str = option('', "8-bit image of the camera's view; what is not black there, "
                              "such as the robot's own body, is left out of every output; '' is "
                              'none', live=False)
    output_reliability: str = option('best_effort', 'of image and cloud outputs; a consumer that '
                                     'subscribes reliably gets nothing from best_effort',
                                     choices=('best_effort', 'reliable'), live=False)
    image_transport: str = option('raw', 'how the colour images come: raw, or compressed on the '
                                  'topic with /compressed added',
                                  choices=('raw', 'compressed'), live=False)
    depth_transport: str = option('raw', 'how the depth images come: raw, or compressedDepth on '
                                  'the topic with /compressedDepth added',
                                  choices=('raw', 'compressedDepth'), live=False)
    partner_timeout: float = option(0.1, 'seconds an image waits for the depth and camera_info '
                                    'of its stamp', 0.0, 1.0)
    sync_slop: float = option(0.0, 'seconds by which the stamp of depth may differ from that of '
                              'its image; 0 asks for equal stamps', 0.0, 1.0)
    max_rate: float = option(0.0, 'frames a second, by their stamps, that are processed at most; '
                             '0 is no limit', 0.0, 1000.0)
    camera_motion: str = option('auto', 'where the motion of the camera comes from: tf, the topic '
                                'odom, neither, or auto: tf where it has the camera, else odom',
                                choices=('auto', 'tf', 'odometry', 'none'), live=False)
    camera_in_base: tuple[float, ...] = option(
        (0.0,) * 7, 'x y z (metres) qx qy qz qw of the optical frame in the frame that odom '
        'moves; 0 everywhere: not known', -1000.0, 1000.0, live=False)
    image_queue: int = option(5, 'queue depth of the image subscription', 1, 100, live=False)
    depth_queue: int = option(10, 'queue depth of the depth and camera_info subscriptions',
                              1, 100, live=False)
    output_queue: int = option(5, 'queue depth of the publishers', 1, 100, live=False)
    diagnostics_period: float = option(1.0, 'seconds between messages on /diagnostics',
                                       0.1, 60.0)

    def __post_init__(self) -> None:
        """Refuse values outside their ranges, and an unlabelled value the encoding lacks."""
        super().__post_init__()
        largest = _LARGEST[self.labels_encoding]
        if self.unlabelled_value > largest:
            raise DiffsegError(f'parameter unlabelled_value: got {self.unlabelled_value}; '
                               f'{self.labels_encoding} holds at most {largest}')
        if self.labels_content == 'class' and self.unlabelled_value == 0:
            raise DiffsegError('parameter unlabelled_value: 0 is the class of segments without a '
                               'name; choose another value, or labels_content id')
        if self.label_slots > largest:
            raise DiffsegError(f'parameter label_slots: got {self.label_slots}; '
                               f'{self.labels_encoding} has {largest} values beside the '
                               'unlabelled one')
        place = self.camera_in_base
        if len(place) != 7 or any(place) and not any(place[3:]):
            raise DiffsegError(f'parameter camera_in_base: got {list(place)}; seven numbers are '
                               'needed, x y z and a quaternion qx qy qz qw that is not 0')


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
    values = {name: tuple(value) if isinstance(value, list) else value
              for name, value in values.items()}
    return dataclasses.replace(config, **values)
