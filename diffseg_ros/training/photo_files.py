"""Where photos come from: folders, tar files, recordings of either kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from io import BytesIO
import lzma
from pathlib import Path
import tarfile
import zlib

from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.bag_reader import BagReader
from diffseg_ros.io.bag_topics import choose_topics
from diffseg_ros.io.base import BAG_SUFFIXES, TopicNames
from diffseg_ros.io.messages import COMPRESSED_IMAGE, decode_colour, deserialise, IMAGE
from diffseg_ros.training.photos import shrunk
import numpy as np
import numpy.typing as npt
from PIL import Image

PHOTO_SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp', '.ppm', '.tif', '.tiff')
MOST_FRAMES = 2000
"""Of one bag: more hardly differ, and 2000 take a gigabyte."""

Photo = bytes | npt.NDArray[np.uint8]
_DAMAGE = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError)


class PhotoFiles:
    """
    Photos below some paths, as (name, photo): encoded, or HxWx3 RGB uint8 from bags.

    Of a sequence folder only rgb/ is read, of a mask data set only images/, of a bag only the
    colour images, at the size that `PhotoBank` keeps.

    Attributes
    ----------
    skipped
        Number of files by what they are, complete after an iteration.
    notes
        A line for each bag with the topic that was read.

    """

    def __init__(self, paths: Sequence[Path], rgb_topic: str | None = None) -> None:
        """
        Take photos from these paths.

        Parameters
        ----------
        paths
            Folders, tar files, images, bags (.mcap, .db3 or folders), sequence folders, mask
            data sets, or folders of these.
        rgb_topic
            Colour images of the bags; None is the most sensible topic of each.

        """
        self._paths = paths
        self._topics = TopicNames(rgb=rgb_topic) if rgb_topic else TopicNames()
        self.skipped: Counter[str] = Counter()
        self.notes: list[str] = []

    def __iter__(self) -> Iterator[tuple[str, Photo]]:
        """
        Yield the photos in the order of the paths and names.

        Raises
        ------
        DiffsegError
            A path does not exist, is of another kind or is damaged.

        """
        self.skipped.clear()
        self.notes.clear()
        for path in self._paths:
            suffix = path.suffix.lower()
            if path.is_dir():
                yield from self._folder(path)
            elif path.is_file() and suffix in PHOTO_SUFFIXES:
                yield from self._encoded(str(path), path.read_bytes())
            elif path.is_file() and suffix in BAG_SUFFIXES:
                yield from self._bag(path)
            elif path.is_file() and tarfile.is_tarfile(path):
                yield from self._tar(path)
            else:
                found = 'an unsupported file' if path.exists() else 'no such path'
                raise DiffsegError(f'photos {path}: {found}; give folders, tar files, bags '
                                   f'(.mcap, .db3) or images ({", ".join(PHOTO_SUFFIXES)})')

    def _folder(self, folder: Path) -> Iterator[tuple[str, Photo]]:
        if (folder / 'metadata.yaml').is_file():
            yield from self._bag(folder)
            return
        if (folder / 'rgb').is_dir():
            folder = folder / 'rgb'
        elif (folder / 'images').is_dir() and (folder / 'labels').is_dir():
            folder = folder / 'images'
        for entry in sorted(folder.iterdir()):
            suffix = entry.suffix.lower()
            if entry.is_dir():
                if entry.is_symlink():
                    self.skipped['links to folders'] += 1
                else:
                    yield from self._folder(entry)
            elif not entry.is_file():
                self.skipped['links to nothing and other things that are no files'] += 1
            elif suffix in BAG_SUFFIXES:
                yield from self._bag(entry)
            elif suffix in PHOTO_SUFFIXES:
                yield from self._file(entry)
            else:
                self.skipped['files of other kinds'] += 1

    def _file(self, path: Path) -> Iterator[tuple[str, Photo]]:
        try:
            data = path.read_bytes()
        except OSError:
            self.skipped['files that may not be read'] += 1
            return
        yield from self._encoded(str(path), data)

    def _tar(self, path: Path) -> Iterator[tuple[str, Photo]]:
        try:
            with tarfile.open(path) as archive:
                for member in archive:
                    if member.isdir():
                        continue
                    handle = archive.extractfile(member) if member.isfile() else None
                    if handle is None or Path(member.name).suffix.lower() not in PHOTO_SUFFIXES:
                        self.skipped['files of other kinds'] += 1
                        continue
                    yield from self._encoded(f'{path}:{member.name}', handle.read())
        except _DAMAGE as error:
            raise DiffsegError(f'photos {path}: truncated or damaged tar file ({error}); copy it '
                               'again') from error

    def _encoded(self, name: str, data: bytes) -> Iterator[tuple[str, Photo]]:
        if _is_depth(data):
            self.skipped['images with one channel of 16 bits or more (depth, ids)'] += 1
        else:
            yield name, data

    def _bag(self, path: Path) -> Iterator[tuple[str, Photo]]:
        with BagReader(path) as storage:
            topic = choose_topics(path, storage, self._topics).rgb
            kind, count = storage.topics[topic], storage.counts[topic]
            every = -(-count // MOST_FRAMES)
            thinned = f', one in {every} of {count}' if every > 1 else ''
            others = [name for name, other in storage.topics.items() if name != topic
                      and 'depth' not in name.lower() and other in (IMAGE, COMPRESSED_IMAGE)]
            choice = f'; --rgb-topic takes another of {", ".join(others)}' if others else ''
            self.notes.append(f'{path}: frames of {topic}{thinned}{choice}')
            for number, (_, _, data) in enumerate(storage.messages([topic])):
                if number % every:
                    continue
                try:
                    message = deserialise(data, kind)
                    rgb = decode_colour(message)
                except DiffsegError:
                    self.skipped['frames of bags that cannot be decoded'] += 1
                    continue
                yield f'{path}:{topic}:{number}', shrunk(rgb)


def _is_depth(data: bytes) -> bool:
    """Return whether an encoded image holds one channel of more than 8 bits, from its header."""
    try:
        with Image.open(BytesIO(data)) as image:
            return image.mode.startswith(('I', 'F'))
    except Exception:  # Pillow raises many kinds; what cannot be read is counted when decoded
        return False
