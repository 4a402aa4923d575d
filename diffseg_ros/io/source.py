"""Opens whatever a recording is stored as: a bag, folder of images, image or video file."""

from __future__ import annotations

from pathlib import Path

from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.base import BAG_SUFFIXES, BagSettings, Source, TopicNames
from diffseg_ros.io.file_kinds import check_kind
from diffseg_ros.io.images import IMAGE_SUFFIXES, sorted_images
from diffseg_ros.io.sequence_folder import ImageSequence, SequenceFolder

__all__ = ['is_bag', 'open_source', 'recording_kind', 'Source']

VIDEO_SUFFIXES = ('.mp4', '.m4v', '.mov', '.mkv', '.webm', '.avi', '.mpg', '.mpeg', '.ts', '.gif')
_SUPPORTED = ('bags (.mcap, .db3, these with .zstd, or a bag folder), sequence folders (rgb/), '
              'folders of images, images and video files')
_FRAMES_OF_A_CAMERA = ('images without times are read as the frames of one camera, 1/30 s apart; '
                       'photos that do not belong together are for diffseg_segment')


def open_source(path: str | Path, topics: TopicNames | None = None,
                settings: BagSettings | None = None) -> Source:
    """
    Open a recording: a bag, a sequence folder, a folder of images, an image or a video file.

    `topics` says which topics of a bag are read, without it these are chosen; `settings` how its
    depth is read.

    Raises
    ------
    DiffsegError
        There is nothing at `path`, it is of another kind, empty, damaged or inconsistent.

    """
    path = Path(path)
    suffix = path.suffix.lower()
    if not path.exists():
        raise DiffsegError(f'{path}: no such file or folder; supported are {_SUPPORTED}')
    check_kind(path)
    if is_bag(path):
        from diffseg_ros.io.bag import Bag
        return Bag(path, topics, settings)
    if path.is_dir():
        from diffseg_ros.io.downloaded_folder import open_downloaded
        if folder := open_downloaded(path) or _sequence_folder(path):
            if settings and settings.depth_scale != BagSettings.depth_scale:
                folder.add_note(
                    f'depth_scale {settings.depth_scale:g} is for bags and not used: camera.json '
                    'says the unit of depth/ by its own "depth_scale", in units per metre: '
                    f'{1 / settings.depth_scale:g}')
            return folder
        if images := sorted_images(path):
            return ImageSequence(path.resolve().name, images, _FRAMES_OF_A_CAMERA,
                                 camera=path / 'camera.json')
        for ros1_bag in sorted(path.glob('*.bag')):
            check_kind(ros1_bag)
        kind = 'neither' if any(path.iterdir()) else 'an empty folder: neither'
        raise DiffsegError(f'{path}: {kind} a bag folder (metadata.yaml), nor a sequence folder '
                           '(rgb/), nor a folder of images')
    if suffix in IMAGE_SUFFIXES:
        return ImageSequence(path.stem, [path], _FRAMES_OF_A_CAMERA)
    if suffix in VIDEO_SUFFIXES:
        from diffseg_ros.io.video import Video
        return Video(path)
    raise DiffsegError(f'{path}: unsupported file; supported are {_SUPPORTED}')


def _sequence_folder(path: Path) -> SequenceFolder | None:
    return SequenceFolder(path) if (path / 'rgb').is_dir() else None


def recording_kind(path: Path) -> str:
    """Return what kind of recording is at `path`, '' where it is images or nothing known."""
    if is_bag(path):
        return 'a bag'
    if path.is_dir():
        return 'a sequence folder' if any((path / part).is_dir()
                                          for part in ('rgb', 'color')) else ''
    return 'a video' if path.suffix.lower() in VIDEO_SUFFIXES else ''


def is_bag(path: Path) -> bool:
    """Return whether `open_source` reads `path` as a bag, which alone has topics."""
    if path.is_file():
        return path.name.endswith(BAG_SUFFIXES)
    return path.is_dir() and ((path / 'metadata.yaml').exists() or any(
        entry.name.endswith(BAG_SUFFIXES) for entry in path.iterdir()))
