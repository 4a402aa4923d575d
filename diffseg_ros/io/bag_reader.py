"""Reads the raw messages of rosbag2 recordings and finds the topics of the camera in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, ExitStack
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
import re
from shutil import copyfileobj
import sqlite3
import struct
from tempfile import TemporaryDirectory
from typing import Any

from backports import zstd
from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.transforms import frame_name
from diffseg_ros.io.base import BAG_SUFFIXES, TopicNames, without_transport
from diffseg_ros.io.mcap_profile import as_ros2, check_ros2
from diffseg_ros.io.messages import (
    CAMERA_INFO,
    check_colour,
    check_depth,
    COMPRESSED_IMAGE,
    deserialise,
    IMAGE,
    image_encoding,
    thermal_as_grey,
    TRANSFORMS,
    video_codec,
    VIDEO_TYPES,
)
from diffseg_ros.io.video import load_av
from diffseg_ros.io.video_messages import decoded_video, Message
from diffseg_ros.settings import nearest
from rosbags.rosbag2 import Reader

_MCAP_CHUNK = 6
_ZSTD = b'\x28\xb5\x2f\xfd'
_THEORA = 'theora_image_transport/msg/Packet'
_THEORA_HINT = ('Theora is not read; make images of it: ros2 run image_transport republish '
                '--ros-args -p in_transport:=theora -p out_transport:=compressed')
_IMAGES = (IMAGE, COMPRESSED_IMAGE)
_COLOURS = (*_IMAGES, *VIDEO_TYPES)
_TRANSPORTS = ('', '/compressed', '/compressedDepth', '/ffmpeg', '/foxglove')
_COLOUR_HINTS = ('rgb', 'color', 'colour')
_DEPTH_HINTS = ('registered', 'aligned', 'rect')
_DERIVED = ('label', 'mask', 'overlay', 'confidence', 'segment', 'infra', 'debug')


class BagReader:
    """
    An open bag: a single file, or a folder with or without metadata.yaml.

    Raises DiffsegError if it is damaged, empty or of an unsupported kind.

    Attributes
    ----------
    topics
        Message type by topic name, in the order of the bag.
    counts
        Number of messages by topic name.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.topics: dict[str, str] = {}
        self.counts: Counter[str] = Counter()
        files = [path] if path.is_file() else sorted(
            file for file in path.iterdir() if file.name.endswith(BAG_SUFFIXES))
        complete = (path / 'metadata.yaml').exists()
        self._readers: list[Reader] = []
        with ExitStack() as stack:
            if not complete:
                files = [_decompressed(file, stack) for file in files]
            for file in files:
                if file.suffix == '.db3':
                    _check_database(file)
            for part in [path] if complete else files:
                try:
                    self._readers.append(stack.enter_context(Reader(as_ros2(part))))
                    for storage in _storages(self._readers[-1]):
                        _check_chunks(storage)
                except Exception as error:  # the readers raise many kinds for damaged data
                    for file in files:
                        check_ros2(file)
                    raise _damaged(path if path.is_file() else part, error) from error
            self._readers.sort(key=lambda reader: reader.start_time)
            for reader in self._readers:
                for item in reader.connections:
                    # Some recorders write sensor_msgs/Image.
                    package, *_, name = item.msgtype.split('/')
                    self.topics.setdefault(item.topic, f'{package}/msg/{name}' if name != package
                                           else name)
                # The counts in metadata.yaml may be out of date.
                for storage in _storages(reader):
                    for item in storage.connections:
                        self.counts[item.topic] += item.msgcount
            if not self.counts.total():
                raise DiffsegError(f'{path}: the bag is empty (no messages)')
            self._stack = stack.pop_all()

    def __enter__(self) -> BagReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    @property
    def seconds(self) -> float:
        """Time between the first and the last message."""
        return (max(reader.end_time for reader in self._readers)
                - min(reader.start_time for reader in self._readers)) / 1e9

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
        """
        Yield (topic, log time in ns, CDR bytes) in the order of log times.

        Raises DiffsegError where the bag turns out to be damaged.
        """
        for reader in self._readers:
            chosen = [item for item in reader.connections if item.topic in topics]
            if not chosen:
                continue
            try:
                for connection, log_time, data in reader.messages(chosen):
                    # Without metadata.yaml nobody says that messages are compressed.
                    yield connection.topic, log_time, (
                        zstd.decompress(data) if bytes(data[:4]) == _ZSTD else data)
            except Exception as error:  # the readers raise many kinds for damaged data
                raise _damaged(self.path if self.path.is_file() else reader.path,
                               error) from error

    def first(self, topic: str) -> bytes | None:
        """Return the first message of a topic, or None."""
        return next((data for _, _, data in self.messages([topic])), None)


def _storages(reader: Reader) -> list[Any]:
    """Return the readers of the files of a bag."""
    return getattr(reader.storage, 'storages', None) or [reader.storage]


def _decompressed(file: Path, stack: ExitStack) -> Path:
    """Return a bag file; of a compressed one a copy that lasts as long as `stack` is open."""
    if file.suffix != '.zstd':
        return file
    plain = Path(stack.enter_context(TemporaryDirectory(prefix='diffseg_')), file.stem)
    try:
        with zstd.open(file) as source, plain.open('wb') as target:
            copyfileobj(source, target)
    except (OSError, EOFError, zstd.ZstdError) as error:
        raise DiffsegError(f'{file}: cannot be decompressed ({error}); try: zstd -d {file}'
                           ) from error
    return plain


def _damaged(path: object, error: object) -> DiffsegError:
    reason = ' '.join(str(error).split()).rstrip('.') or type(error).__name__
    return DiffsegError(f'{path}: the bag is truncated or damaged, or of an unsupported kind '
                        f'({reason}); record it again, or try ros2 bag reindex / mcap recover')


def _check_database(path: Path) -> None:
    """Refuse a damaged SQLite file, which its reader may not notice before the middle."""
    log = Path(f'{path}-wal')
    if log.exists() and log.stat().st_size:
        raise DiffsegError(f'{path}: the recording was not closed, {log.name} holds messages; '
                           f'run: sqlite3 {path} "PRAGMA wal_checkpoint(TRUNCATE)"')
    try:
        address = f'{path.resolve().as_uri()}?immutable=1'
        with closing(sqlite3.connect(address, uri=True)) as database:
            verdict, = database.execute('PRAGMA quick_check(1)').fetchone()
            needed, = database.execute('SELECT page_count * page_size FROM pragma_page_count, '
                                       'pragma_page_size').fetchone()
    except sqlite3.Error as error:
        raise _damaged(path, error) from error
    size = path.stat().st_size
    if verdict == 'ok' and size < needed:
        verdict = f'{size} of {needed} bytes'
    if verdict != 'ok':
        raise _damaged(path, verdict)


def _check_chunks(storage: Any) -> None:
    """Refuse an mcap file whose index points outside of its chunks."""
    for chunk in getattr(storage, 'chunks', ()):
        storage.bio.seek(chunk.chunk_start_offset)
        opcode, length = struct.unpack('<BQ', storage.bio.read(9))
        if (opcode != _MCAP_CHUNK or length + 9 != chunk.chunk_length
                or chunk.chunk_start_offset + chunk.chunk_length > storage.data_end):
            raise ValueError(f'no chunk at byte {chunk.chunk_start_offset}')


@dataclass(frozen=True)
class ChosenTopics:
    """Full names of the topics that are read, and what the user should know about them."""

    rgb: str
    depth: str | None
    camera_info: str | None
    moving: list[str]
    static: list[str]
    warnings: list[str]
    rgb_type: str = IMAGE
    is_video: bool = False
    is_thermal: bool = False
    ranges: str | None = None

    @property
    def streamed(self) -> list[str]:
        """All but the static transforms, which are read first."""
        return [name for name in (self.rgb, self.depth, self.camera_info, self.ranges,
                                  *self.moving) if name]

    def with_ranges(self, topic: str, types: Collection[str],
                    topics: Mapping[str, str]) -> ChosenTopics:
        """Return the topics with that of ranges, or a warning if it is not of these types."""
        name = f'/{topic.lstrip("/")}'
        if topics.get(name) in types:
            return replace(self, ranges=name)
        found = f'; it is {topics[name]}' if name in topics else ''
        return replace(self, warnings=[
            *self.warnings, f'no topic {name} of type {" or ".join(types)}{found}: no ranges'])

    @property
    def image_type(self) -> str:
        """Type of the colour images in `images_of`."""
        return IMAGE if self.is_video else self.rgb_type

    def images_of(self, messages: Iterator[Message],
                  note: Callable[[str], None] = lambda problem: None) -> Iterator[Message]:
        """Return messages of the bag with colour or grey images in place of video and 16UC1."""
        if self.is_thermal:
            return ((topic, time, thermal_as_grey(data, self.rgb_type) if topic == self.rgb
                     else data) for topic, time, data in messages)
        return (decoded_video(messages, self.rgb, self.rgb_type, note) if self.is_video
                else messages)


def choose_topics(reader: BagReader, names: TopicNames) -> ChosenTopics:
    """
    Find the topics that `names` asks for, or the most likely ones in their place.

    Raises DiffsegError without a topic of usable images, or if a named topic is absent.
    """
    return _Chooser(reader, names).choose()


class _Chooser:
    def __init__(self, reader: BagReader, names: TopicNames) -> None:
        self._reader, self._names = reader, names
        self._heads: dict[str, Any] = {}
        self._warnings: list[str] = []

    def choose(self) -> ChosenTopics:
        rgb = self._colour()
        if rgb is None:
            raise DiffsegError(f'{self._reader.path}: no topic with colour images; the bag holds '
                               f'{self._listing()}{self._hints()}')
        is_thermal = self._names.rgb != TopicNames().rgb and self._may_be_thermal(rgb)
        if is_thermal:
            self._warnings.append(f'{rgb}: 16UC1 is read as grey images, because it was named; if '
                                  'it is depth, name the topic of the colour images')
        elif fault := self._fault(rgb, check_colour):
            others = ', '.join(self._colour_candidates()[:3])
            raise DiffsegError(f'{self._reader.path}: {fault}'
                               + (f'; colour images are on {others}' if others else ''))
        kind, head = self._reader.topics[rgb], self._head(rgb)
        if is_video := kind in VIDEO_TYPES or (head is not None and bool(video_codec(head))):
            load_av(f'{self._reader.path}: {rgb}')
        depth = self._depth_of(rgb)
        camera_info = self._partner('camera_info', (CAMERA_INFO,), rgb, self._info_candidates(rgb))
        if camera_info is None:
            self._warnings.append(f'{self._no_info(rgb)}: masks only, no clouds')
        transforms = self._of_type(TRANSFORMS)
        if not transforms:
            self._warnings.append('no tf: frames have no pose')
        static = [name for name in transforms if name.endswith('tf_static')]
        moving = [name for name in transforms if name not in static]
        return ChosenTopics(rgb, depth, camera_info, moving, static, self._warnings,
                            kind, is_video, is_thermal)

    def _depth_of(self, rgb: str) -> str | None:
        """Return the depth topic; one that holds no depth is refused only if it was named."""
        depth = self._partner('depth', _IMAGES, rgb, self._depth_candidates(rgb))
        if depth is None:
            self._warnings.append(f'{self._no_depth(rgb)}: clouds only with depth.model')
            return None
        fault = self._fault(depth, check_depth)
        if not fault and depth == rgb:
            fault = f'{depth}: is read as the colour images, so it cannot be the depth too'
        if not fault:
            return depth
        if self._names.depth != TopicNames().depth:
            raise DiffsegError(f'{self._reader.path}: {fault}')
        self._warnings.append(f'{fault}: clouds only with depth.model')
        return None

    def _fault(self, topic: str, check: Callable[[Any], None]) -> str:
        """Return what is wrong with the first message of a topic, '' if nothing is."""
        head = self._head(topic)
        try:
            if head is not None:
                check(head)
        except DiffsegError as error:
            return f'{topic}: {error}'
        return ''

    def _colour(self) -> str | None:
        """Return the topic that was named, else the most likely one; name other cameras."""
        found = self._named('rgb', _COLOURS)
        defaults = TopicNames()
        partners = [name for role in ('depth', 'camera_info')
                    if (name := getattr(self._names, role)) != getattr(defaults, role)]

        def rank(name: str) -> tuple[Any, ...]:
            kinship = -sum(_shared_words(name, partner) for partner in partners)
            return kinship, () if found else self._colour_rank(name)

        fitting = sorted(found or self._colour_candidates(), key=rank)
        if not fitting:
            return None
        rgb = fitting[0]
        if not found:
            self._warnings.append(f'no topic {self._names.rgb}: rgb is read from {rgb}')
        others = dict.fromkeys(without_transport(name) for name in fitting
                               if rank(name)[:1] + rank(name)[1][:3] == (
                                   rank(rgb)[:1] + rank(rgb)[1][:3])
                               and _folder(name) != _folder(rgb))
        if others:
            self._warnings.append(f'several cameras fit: {rgb} is read, not {", ".join(others)}; '
                                  'name the right one with --rgb-topic')
        return rgb

    def _partner(self, role: str, types: tuple[str, ...], rgb: str,
                 candidates: list[str]) -> str | None:
        """Return the depth or camera_info that was named, else that of the colour's camera."""
        wanted = getattr(self._names, role)
        named = sorted(self._named(role, types), key=lambda name: (
            not self._is_of(name, rgb), not self._same_frame(name, rgb)))
        if wanted != getattr(TopicNames(), role):
            return named[0]
        if named and self._is_of(named[0], rgb) and (role == 'depth' or named[0] in candidates):
            return named[0]
        if candidates:
            self._warnings.append(f'no topic {wanted}: {role} is read from {candidates[0]}')
        return next(iter(candidates), None)

    def _named(self, role: str, types: tuple[str, ...]) -> list[str]:
        """Return the topics of a name, the shortest first; raise if one was named in vain."""
        wanted = getattr(self._names, role)
        for transport in _TRANSPORTS:
            name = f'/{wanted.strip("/")}{transport}'
            found = [topic for topic in self._of_type(*types)
                     if f'/{topic.lstrip("/")}'.endswith(name)]
            if exact := [topic for topic in found if topic == name and wanted.startswith('/')]:
                return exact
            if found:
                return sorted(found, key=lambda topic: (len(topic), topic))
        if wanted != getattr(TopicNames(), role):
            alike = ', '.join(nearest(wanted, self._of_type(*types)))
            raise DiffsegError(f'{self._reader.path}: no topic {wanted} of type '
                               f'{" or ".join(types[:2])}; ' + (
                                   f'the nearest are {alike}' if alike else
                                   f'the bag holds {self._listing()}'))
        return []

    def _is_of(self, topic: str, rgb: str) -> bool:
        """Return whether the names give a topic to no other colour topic rather than to `rgb`."""
        own = _shared_words(topic, rgb)
        return _folder(topic) == _folder(rgb) or all(
            _shared_words(topic, other) <= own for other in self._of_type(*_COLOURS)
            if 'depth' not in other.lower())

    def _same_frame(self, topic: str, rgb: str) -> bool:
        """Return whether the frame_ids agree, as far as they are known."""
        frames = {frame_name(head.header.frame_id) for head in map(self._head, (topic, rgb))
                  if head is not None} - {''}
        return len(frames) < 2

    def _of_type(self, *types: str) -> list[str]:
        return [name for name, kind in sorted(self._reader.topics.items())
                if kind in types and self._reader.counts.get(name)]

    def _hints(self) -> str:
        """Return what to do about topics that may be meant, '' if there are none."""
        return ''.join([f'; {name}: {_THEORA_HINT}' for name in self._of_type(_THEORA)] + [
            f'; {name} is 16UC1: if a thermal camera made it, say --rgb-topic {name}'
            for name in self._of_type(*_IMAGES) if self._may_be_thermal(name)])

    def _may_be_thermal(self, topic: str) -> bool:
        head = self._head(topic)
        return ('depth' not in topic.lower() and head is not None
                and image_encoding(head) == '16UC1')

    def _head(self, topic: str) -> Any:
        """Return the first message of a topic, or None where it cannot be decoded."""
        if topic not in self._heads:
            data = self._reader.first(topic)
            try:
                self._heads[topic] = deserialise(data or b'', self._reader.topics[topic])
            except DiffsegError:
                self._heads[topic] = None
        return self._heads[topic]

    def _colour_rank(self, name: str) -> tuple[int, ...]:
        return (any(hint in name for hint in _DERIVED),
                not any(hint in name for hint in _COLOUR_HINTS),
                getattr(self._head(name), 'encoding', '').startswith('mono'),
                _COLOURS.index(self._reader.topics[name]))

    def _colour_candidates(self) -> list[str]:
        return sorted((name for name in self._of_type(*_COLOURS)
                       if 'depth' not in name.lower() and not self._fault(name, check_colour)),
                      key=self._colour_rank)

    def _depth_candidates(self, rgb: str) -> list[str]:
        usable = [name for name in self._of_type(*_IMAGES)
                  if name != rgb and 'depth' in name.lower() and self._head(name) is not None
                  and self._same_frame(name, rgb) and self._is_of(name, rgb)
                  and not self._fault(name, check_depth)]
        return sorted(usable, key=lambda name: (
            not any(hint in name for hint in _DEPTH_HINTS), 'compressed' in name))

    def _info_candidates(self, rgb: str) -> list[str]:
        """Return the camera_info beside the image, then those in its frame."""
        infos = self._of_type(CAMERA_INFO)
        beside = [name for name in infos if _folder(name) == _folder(rgb)]
        return beside or sorted((name for name in infos if self._is_of(name, rgb)
                                 and self._same_frame(name, rgb)),
                                key=lambda name: -_shared_words(name, rgb))

    def _no_info(self, rgb: str) -> str:
        """Return why no camera_info is used."""
        others = self._of_type(CAMERA_INFO)
        return 'no camera_info topic' + (
            f' beside {rgb} or in its frame (the bag has {", ".join(others)}; name one with '
            '--camera-info-topic if it fits)' if others else '')

    def _no_depth(self, rgb: str) -> str:
        """Return why no depth is used: another frame_id than the colour's is the usual cause."""
        apart = [f'{name} in frame {self._head(name).header.frame_id!r}'
                 for name in self._of_type(*_IMAGES)
                 if 'depth' in name.lower() and self._head(name) is not None
                 and not self._fault(name, check_depth) and not self._same_frame(name, rgb)]
        return 'no depth topic' + (
            f' in the frame of {rgb}, {self._head(rgb).header.frame_id!r} (the bag has '
            f'{", ".join(apart)}): register it to the colour camera when recording (RealSense: '
            'align_depth.enable:=true)' if apart else '')

    def _listing(self) -> str:
        return ', '.join(f'{name} ({kind}, {self._reader.counts.get(name, 0)})'
                         for name, kind in sorted(self._reader.topics.items())) or 'no topics'


def _folder(topic: str) -> str:
    """Return what the topics of one image stream share, such as /camera/color."""
    return without_transport(topic).strip('/').rpartition('/')[0]


def _shared_words(topic: str, other: str) -> int:
    """Return how many words two names begin with in common: /front_left/rgb has three."""
    words = zip(*(re.split('[/_]', name.strip('/')) for name in (topic, other)))
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], words))
