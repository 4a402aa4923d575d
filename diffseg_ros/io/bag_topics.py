"""Which topics of a bag hold the colour image, its depth, its camera_info and the transforms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.bag_reader import BagReader
from diffseg_ros.io.base import TopicNames
from diffseg_ros.io.messages import (
    CAMERA_INFO,
    check_colour,
    check_depth,
    COMPRESSED_IMAGE,
    deserialise,
    IMAGE,
    TRANSFORMS,
)

_IMAGES = (IMAGE, COMPRESSED_IMAGE)
_TRANSPORTS = ('', '/compressed', '/compressedDepth')
_COLOUR_HINTS = ('rgb', 'color', 'colour')
_DEPTH_HINTS = ('registered', 'aligned', 'rect')
_DERIVED = ('label', 'mask', 'overlay', 'confidence', 'segment', 'infra', 'debug')


@dataclass(frozen=True)
class ChosenTopics:
    """Full names of the topics that are read, and what the user should know about them."""

    rgb: str
    depth: str | None
    camera_info: str | None
    moving: list[str]
    static: list[str]
    warnings: list[str]

    @property
    def streamed(self) -> list[str]:
        """All but the static transforms, which are read first."""
        return [name for name in (self.rgb, self.depth, self.camera_info, *self.moving) if name]


def choose_topics(path: Path, reader: BagReader, names: TopicNames) -> ChosenTopics:
    """
    Find the topics that `names` asks for, or the most likely ones in their place.

    Raises DiffsegError without a topic of usable images, or if a named topic is absent.
    """
    return _Chooser(path, reader, names).choose()


class _Chooser:
    def __init__(self, path: Path, reader: BagReader, names: TopicNames) -> None:
        self._path, self._reader, self._names = path, reader, names
        self._heads: dict[str, Any] = {}
        self._warnings: list[str] = []

    def choose(self) -> ChosenTopics:
        rgb = self._find('rgb', _IMAGES, self._colour_candidates)
        if rgb is None:
            raise DiffsegError(f'{self._path}: no topic with colour images; the bag holds '
                               f'{self._listing()}')
        if fault := self._fault(rgb, check_colour):
            others = ', '.join(self._colour_candidates()[:3])
            raise DiffsegError(f'{self._path}: {fault}'
                               + (f'; colour images are on {others}' if others else ''))
        depth = self._depth_of(rgb)
        camera_info = self._find('camera_info', (CAMERA_INFO,),
                                 lambda: self._info_candidates(rgb))
        if camera_info is None:
            self._warnings.append('no camera_info topic: masks only, no clouds')
        transforms = self._of_type(TRANSFORMS)
        if not transforms:
            self._warnings.append('no tf: frames have no pose')
        static = [name for name in transforms if name.endswith('tf_static')]
        moving = [name for name in transforms if name not in static]
        return ChosenTopics(rgb, depth, camera_info, moving, static, self._warnings)

    def _depth_of(self, rgb: str) -> str | None:
        """Return the depth topic; one that holds no depth is refused only if it was named."""
        depth = self._find('depth', _IMAGES, lambda: self._depth_candidates(rgb))
        if depth is None:
            self._warnings.append('no depth topic: masks only, no clouds')
            return None
        fault = self._fault(depth, check_depth)
        if not fault and depth == rgb:
            fault = f'{depth}: is read as the colour images, so it cannot be the depth too'
        if not fault:
            return depth
        if self._names.depth != TopicNames().depth:
            raise DiffsegError(f'{self._path}: {fault}')
        self._warnings.append(f'{fault}: masks only, no clouds')
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

    def _find(self, role: str, types: tuple[str, ...],
              candidates: Callable[[], list[str]]) -> str | None:
        """Return the topic that was named, else the first candidate."""
        wanted = getattr(self._names, role)
        for transport in _TRANSPORTS:
            ending = f'/{wanted.strip("/")}{transport}'
            if named := [name for name in self._of_type(*types)
                         if f'/{name.lstrip("/")}'.endswith(ending)]:
                return min(named, key=lambda name: (len(name), name))
        if wanted != getattr(TopicNames(), role):
            raise DiffsegError(f'{self._path}: no topic {wanted} of type {" or ".join(types)}; '
                               f'the bag holds {self._listing()}')
        found = next(iter(candidates()), None)
        if found is not None:
            self._warnings.append(f'no topic {wanted}: {role} is read from {found}')
        return found

    def _of_type(self, *types: str) -> list[str]:
        return [name for name, kind in sorted(self._reader.topics.items())
                if kind in types and self._reader.counts.get(name)]

    def _head(self, topic: str) -> Any:
        """Return the first message of a topic, or None where it cannot be decoded."""
        if topic not in self._heads:
            data = self._reader.first(topic)
            try:
                self._heads[topic] = deserialise(data or b'', self._reader.topics[topic])
            except DiffsegError:
                self._heads[topic] = None
        return self._heads[topic]

    def _colour_candidates(self) -> list[str]:
        def rank(name: str) -> tuple[bool, ...]:
            return (any(hint in name for hint in _DERIVED),
                    not any(hint in name for hint in _COLOUR_HINTS),
                    getattr(self._head(name), 'encoding', '').startswith('mono'),
                    self._reader.topics[name] != IMAGE)

        return sorted((name for name in self._of_type(*_IMAGES)
                       if 'depth' not in name.lower() and not self._fault(name, check_colour)),
                      key=rank)

    def _depth_candidates(self, rgb: str) -> list[str]:
        head = self._head(rgb)
        frame = None if head is None else head.header.frame_id
        usable = [name for name in self._of_type(*_IMAGES)
                  if name != rgb and 'depth' in name.lower()
                  and (depth := self._head(name)) is not None
                  and frame in (None, depth.header.frame_id)
                  and not self._fault(name, check_depth)]
        return sorted(usable, key=lambda name: (
            not any(hint in name for hint in _DEPTH_HINTS), 'compressed' in name))

    def _info_candidates(self, rgb: str) -> list[str]:
        """Return the camera_info beside the image; failing that the only one there is."""
        for transport in _TRANSPORTS:
            rgb = rgb.removesuffix(transport)
        infos = self._of_type(CAMERA_INFO)
        beside = [name for name in infos if name.rpartition('/')[0] == rgb.rpartition('/')[0]]
        return beside or (infos if len(infos) == 1 else [])

    def _listing(self) -> str:
        return ', '.join(f'{name} ({kind}, {self._reader.counts.get(name, 0)})'
                         for name, kind in sorted(self._reader.topics.items())) or 'no topics'
