"""Images to train on: from folders, tar files, recordings and videos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from io import BytesIO
import lzma
from pathlib import Path
import tarfile
import zlib

import cv2
from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.bag_reader import BagReader, choose_topics
from diffseg_ros.io.base import BAG_SUFFIXES, TopicNames
from diffseg_ros.io.images import decode_rgb, IMAGE_SUFFIXES
from diffseg_ros.io.messages import COMPRESSED_IMAGE, decode_colour, deserialise, IMAGE
from diffseg_ros.io.source import open_source, VIDEO_SUFFIXES
from diffseg_ros.types import RgbImage
from PIL import Image

SMALLEST_SIDE = 48
LONGEST_SHORT_SIDE = 320
MOST_FRAMES = 2000
"""Of one recording: more hardly differ, and 2000 take a gigabyte."""

_TAR_DAMAGE = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError)


class TrainingImages:
    """
    The images below some paths, (H, W, 3) RGB uint8 with a short side of 48 to 320 pixels.

    Of a sequence folder only rgb/ is read, of a mask data set only images/, of a bag only the
    colour images.

    Attributes
    ----------
    skipped
        Number of files that are not images, by kind; complete after an iteration.
    unreadable
        Number of images that are damaged or too small, likewise.
    bags
        A line for each bag with the topic that was read, likewise.

    """

    def __init__(self, paths: Sequence[Path], rgb_topic: str | None = None) -> None:
        """
        Take images from these paths.

        They are folders, tar files, images, videos, bags (.mcap, .db3 or folders), sequence
        folders, mask data sets, or folders of these. `rgb_topic` is the topic of the colour
        images in the bags; None chooses the most likely one.
        """
        self._paths = paths
        self._topics = TopicNames(rgb=rgb_topic) if rgb_topic else TopicNames()
        self.skipped: Counter[str] = Counter()
        self.unreadable = 0
        self.bags: list[str] = []

    def __iter__(self) -> Iterator[RgbImage]:
        """
        Yield the images in the order of the paths and names.

        Raises DiffsegError where a path does not exist, is of another kind or is damaged.
        """
        self.skipped.clear()
        self.bags.clear()
        self.unreadable = 0
        for path in self._paths:
            if path.is_dir():
                yield from self._folder(path)
            elif path.is_file() and (found := self._file(path)):
                yield from found
            elif path.is_file() and tarfile.is_tarfile(path):
                yield from self._tar(path)
            else:
                reason = 'unsupported file' if path.exists() else 'no such path'
                raise DiffsegError(f'--photos {path}: {reason}; give folders, tar files, videos, '
                                   f'bags (.mcap, .db3) or images ({", ".join(IMAGE_SUFFIXES)})')

    def _folder(self, folder: Path) -> Iterator[RgbImage]:
        if (folder / 'metadata.yaml').is_file():
            yield from self._bag(folder)
            return
        if (folder / 'rgb').is_dir():
            folder = folder / 'rgb'
        elif (folder / 'images').is_dir() and (folder / 'labels').is_dir():
            folder = folder / 'images'
        for entry in sorted(folder.iterdir()):
            if entry.is_dir() and entry.is_symlink():
                self.skipped['links to folders'] += 1
            elif entry.is_dir():
                yield from self._folder(entry)
            elif not entry.is_file():
                self.skipped['broken links and special files'] += 1
            elif found := self._file(entry):
                yield from found
            else:
                self.skipped['files of other kinds'] += 1

    def _file(self, path: Path) -> Iterator[RgbImage] | None:
        """Return the images of a file, None where it is of another kind."""
        suffix = path.suffix.lower()
        if suffix in IMAGE_SUFFIXES:
            return self._image(path)
        if path.name.endswith(BAG_SUFFIXES):
            return self._bag(path)
        return self._video(path) if suffix in VIDEO_SUFFIXES else None

    def _image(self, path: Path) -> Iterator[RgbImage]:
        try:
            data = path.read_bytes()
        except OSError:
            self.skipped['files that cannot be read'] += 1
        else:
            yield from self._decoded(data)

    def _tar(self, path: Path) -> Iterator[RgbImage]:
        try:
            with tarfile.open(path) as archive:
                for member in archive:
                    if member.isdir():
                        continue
                    file = archive.extractfile(member) if member.isfile() else None
                    if file is None or Path(member.name).suffix.lower() not in IMAGE_SUFFIXES:
                        self.skipped['files of other kinds'] += 1
                    else:
                        yield from self._decoded(file.read())
        except _TAR_DAMAGE as error:
            raise DiffsegError(f'--photos {path}: truncated or damaged tar file ({error}); copy '
                               'it again') from error

    def _decoded(self, data: bytes) -> Iterator[RgbImage]:
        if _is_depth(data):
            self.skipped['images with one channel of 16 bits or more (depth, ids)'] += 1
            return
        try:
            yield from self._resized(decode_rgb(data, 'image'))
        except DiffsegError:
            self.unreadable += 1

    def _resized(self, rgb: RgbImage) -> Iterator[RgbImage]:
        scale = LONGEST_SHORT_SIDE / min(rgb.shape[:2])
        if min(rgb.shape[:2]) < SMALLEST_SIDE:
            self.unreadable += 1
        elif scale >= 1:
            yield rgb
        else:
            yield cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)

    def _video(self, path: Path) -> Iterator[RgbImage]:
        source = open_source(path)
        every = max(1, -(-source.frame_count // MOST_FRAMES))
        for item in source.numbered_frames():
            if item.frame is None:
                self.skipped['frames of videos that cannot be decoded'] += 1
            elif item.number % every == 0:
                yield from self._resized(item.frame.rgb)

    def _bag(self, path: Path) -> Iterator[RgbImage]:
        """Yield the colour images; unlike `Bag`, without decoding depth and skipped frames."""
        with BagReader(path) as reader:
            chosen = choose_topics(reader, self._topics)
            topic, count = chosen.rgb, reader.counts[chosen.rgb]
            every = max(1, -(-count // MOST_FRAMES))
            thinned = f', one in {every} of {count}' if every > 1 else ''
            others = [name for name, other in reader.topics.items() if name != topic
                      and 'depth' not in name.lower() and other in (IMAGE, COMPRESSED_IMAGE)]
            choice = f'; --rgb-topic takes another of {", ".join(others)}' if others else ''
            self.bags.append(f'{path}: frames of {topic}{thinned}{choice}')
            images = chosen.images_of(reader.messages([topic]))
            for number, (_, _, data) in enumerate(images):
                if number % every:
                    continue
                try:
                    rgb = decode_colour(deserialise(data, chosen.image_type))
                except DiffsegError:
                    self.skipped['frames of bags that cannot be decoded'] += 1
                    continue
                yield from self._resized(rgb)


def _is_depth(data: bytes) -> bool:
    """Return whether an encoded image holds one channel of more than 8 bits, from its header."""
    try:
        with Image.open(BytesIO(data)) as image:
            return image.mode.startswith(('I', 'F'))
    except Exception:  # Pillow raises many kinds; what cannot be read is counted when decoded
        return False
