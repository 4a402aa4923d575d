"""The interface of all recordings: numbered frames in order, and warnings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from diffseg_ros.error_text import printable
from diffseg_ros.types import Frame

BAG_SUFFIXES = ('.mcap', '.db3', '.mcap.zstd', '.db3.zstd')
CAMERA_FRAME = 'camera'
"""frame_id of images that do not come from a bag."""
TRANSPORTS = ('compressed', 'compressedDepth', 'ffmpeg', 'zstd', 'theora')
DEFAULT_PERIOD_NS = 33_333_333
"""Time between frames of recordings without stamps: 30 Hz."""


@dataclass(frozen=True)
class TopicNames:
    """
    Which topics of a bag are read.

    A name matches in any namespace, images also as NAME/compressed and NAME/compressedDepth.
    Where a default name is absent, the most likely topic of the right type is taken and a
    warning says which; any other name must exist.
    """

    rgb: str = 'rgb/image_raw'
    camera_info: str = 'rgb/camera_info'
    depth: str = 'depth_registered/image_rect'


@dataclass(frozen=True)
class BagSettings:
    """
    How depth of a bag is read; the node has the same settings.

    Attributes
    ----------
    depth_scale
        Metres per unit of 16-bit depth.
    sync_slop
        Largest difference in seconds between the stamps of depth and image. 0, the default of
        the node, stands for 0.02 in recordings, which need not wait for a nearer one.
    sparse_topic
        PointCloud2 or LaserScan that gives frames their `ranges`; '' is none.

    """

    depth_scale: float = 0.001
    sync_slop: float = 0.0
    sparse_topic: str = ''

    @property
    def tolerance(self) -> float:
        """Largest difference in seconds that is accepted."""
        return self.sync_slop or 0.02


def without_transport(topic: str) -> str:
    """Return the base topic of images: the name without /compressed or the like."""
    base, _, last = topic.rpartition('/')
    return base if last in TRANSPORTS else topic


@dataclass(frozen=True)
class SourceFrame:
    """A frame by its 0-based number in the recording, or the reason why it cannot be read."""

    number: int
    frame: Frame | None
    error: str | None = None


class Source(ABC):
    """
    A recording. It can be iterated several times and yields the same each time.

    Iterating yields the frames that can be read; those that cannot are skipped and counted in
    `warnings`. `numbered_frames` yields these too, in their places.

    Attributes
    ----------
    name
        Name of the recording, without folder and suffix.
    frame_count
        Number of frames that `numbered_frames` yields, the broken ones included.
    camera_file
        File that the intrinsics would be read from if it were there; '' where they come otherwise.

    """

    camera_file = ''

    def __init__(self, name: str, frame_count: int) -> None:
        self.name = printable(name)
        self.frame_count = frame_count
        self._warnings: list[str] = []
        self._skipped: list[str] = []

    @property
    def warnings(self) -> list[str]:
        """One line for each thing the user should know; complete after an iteration."""
        if not self._skipped:
            return list(self._warnings)
        return [*self._warnings, f'{len(self._skipped)} of {self.frame_count} frames cannot be '
                                 f'read and were skipped; the first: {self._skipped[0]}']

    @property
    def seconds(self) -> float:
        """About how long the recording took."""
        return self.frame_count * DEFAULT_PERIOD_NS / 1e9

    @abstractmethod
    def numbered_frames(self, first: int = 0) -> Iterator[SourceFrame]:
        """Yield the frames from `first` on in order; a broken image gives an error instead."""

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames that can be read."""
        self._skipped = []
        for item in self.numbered_frames():
            if item.frame is not None:
                yield item.frame
            else:
                self._skipped.append(str(item.error))
