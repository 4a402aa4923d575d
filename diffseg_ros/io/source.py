"""Recordings as a stream of frames: bags and sequence folders behind one interface."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from diffseg_ros.errors import DiffsegError
from diffseg_ros.types import Frame

BAG_SUFFIXES = ('.mcap', '.db3')


@dataclass(frozen=True)
class TopicNames:
    """
    Which topics of a bag are read.

    A name matches with or without a leading slash and below any namespace; images also as
    NAME/compressed and NAME/compressedDepth. Where a default name is absent the most sensible
    topic of the right type is taken and `Source.notes` says which; another name must exist.
    """

    rgb: str = 'rgb/image_raw'
    camera_info: str = 'rgb/camera_info'
    depth: str = 'depth_registered/image_rect'


@dataclass(frozen=True)
class SourceFrame:
    """
    One moment of a recording.

    Attributes
    ----------
    number
        0-based place in the recording.
    frame
        None where the image could not be read.
    error
        One line that says why there is no frame, or None.

    """

    number: int
    frame: Frame | None
    error: str | None = None


class Source(Protocol):
    """A recording. It can be iterated several times and yields the same each time."""

    @property
    def name(self) -> str:
        """Name of the recording, without folder and suffix."""

    @property
    def frame_count(self) -> int:
        """How many frames an iteration yields, the broken ones included."""

    @property
    def notes(self) -> list[str]:
        """
        One line for each thing the user should know, such as 'no depth: ...'.

        Complete after an iteration, which may add lines with counts.
        """

    def __iter__(self) -> Iterator[SourceFrame]:
        """Yield the frames in order; a broken image gives an error in its place."""


def is_sequence_folder(path: Path) -> bool:
    """Return whether `open_source` reads `path` as a sequence folder, which has no topics."""
    return path.is_dir() and not _is_bag_folder(path) and (path / 'rgb').is_dir()


def open_source(path: Path, topics: TopicNames | None = None) -> Source:
    """
    Open a bag (.mcap, .db3, bag folder) or a sequence folder.

    Raises
    ------
    DiffsegError
        There is nothing at `path`, it is of another kind, empty, truncated or inconsistent.

    """
    from diffseg_ros.io.bag import Bag
    from diffseg_ros.io.sequence_folder import SequenceFolder

    path = Path(path)
    if not path.exists():
        raise DiffsegError(f'{path}: no such file or folder; give a bag (.mcap, .db3 or a bag '
                           'folder) or a sequence folder')
    if path.is_file():
        if path.suffix in BAG_SUFFIXES:
            return Bag(path, topics)
        hint = ' (a ROS 1 bag: convert it with rosbags-convert)' if path.suffix == '.bag' else ''
        raise DiffsegError(f'{path}: unsupported file{hint}; supported are .mcap, .db3, bag '
                           'folders and sequence folders')
    if is_sequence_folder(path):
        return SequenceFolder(path)
    if _is_bag_folder(path):
        return Bag(path, topics)
    raise DiffsegError(f'{path}: neither a bag folder (metadata.yaml) nor a sequence folder '
                       '(rgb/)')


def _is_bag_folder(path: Path) -> bool:
    return (path / 'metadata.yaml').exists() or any(
        entry.suffix in BAG_SUFFIXES for entry in path.iterdir())
