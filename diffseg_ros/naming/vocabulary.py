"""The words that tracks are named with, from a list or a YAML file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

from diffseg_ros.errors import DiffsegError
from diffseg_ros.settings import setting, Settings
from diffseg_ros.types import SegmentKind, Track
import yaml

UNKNOWN = 'unknown'
"""Name of what is not known, and of class 0."""
TEMPLATES = 'a photo of a {}.', 'a photo of the {} in a room.'
INDOOR_FILE = Path(__file__).with_name('indoor.yaml')


class Concept(Settings):
    """A class of things that a track can be named."""

    name: str = setting('', 'as outputs show it')
    id: int = setting(0, 'its class; by default its number in the list, from 1', 0, 2**15 - 1)
    synonyms: tuple[str, ...] = setting((), 'further words for it')
    templates: tuple[str, ...] = setting(
        TEMPLATES, 'sentences with {} in place of the word, for a model that knows sentences')
    classes: tuple[str | int, ...] = setting(
        (), 'what ImageNet calls it, where that is not its name or a synonym; numbers of classes '
        'and ranges of them are taken too')
    colour: tuple[int, ...] = setting((), 'red, green, blue', 0, 255)
    remove: bool = setting(False, 'such tracks are hidden from mappers, as by removal.names')
    shape: Literal['', 'floor', 'table', 'wall', 'ceiling'] = setting(
        '', 'the kind of surface that it is: a track of that kind gets its name')

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        if not self.name.strip():
            raise DiffsegError('parameter name: it is needed')
        if len(self.colour) not in (0, 3):
            raise DiffsegError(f'parameter colour: got {list(self.colour)}; three numbers are '
                               'needed')
        if not self.templates or not all(text.count('{}') == 1 for text in self.templates):
            raise DiffsegError(f'parameter templates: got {list(self.templates)}; each needs {{}} '
                               'once, in place of the word')

    @property
    def words(self) -> tuple[str, ...]:
        """The name and the synonyms."""
        return self.name, *self.synonyms


@dataclass(frozen=True)
class Vocabulary:
    """Concepts with different names and ids."""

    concepts: tuple[Concept, ...]

    def __post_init__(self) -> None:
        """Refuse concepts that cannot be told apart."""
        for what in ('name', 'id'):
            values = [getattr(concept, what) for concept in self.concepts]
            for value in values:
                if values.count(value) > 1:
                    raise DiffsegError(f'the {what} {value} is there twice; give each its own')
        for concept in self.concepts:
            if not concept.id or concept.name.casefold() == UNKNOWN:
                raise DiffsegError(f'{concept.name} with the id {concept.id}: the name {UNKNOWN} '
                                   'and the id 0 are those of what is not known')

    @cached_property
    def by_name(self) -> dict[str, Concept]:
        return {concept.name: concept for concept in self.concepts}

    @cached_property
    def by_shape(self) -> dict[SegmentKind, Concept]:
        """The first concept of each kind of surface."""
        return {SegmentKind(concept.shape): concept for concept in reversed(self.concepts)
                if concept.shape}

    @cached_property
    def removed(self) -> frozenset[str]:
        """The names that are hidden from mappers."""
        return frozenset(concept.name for concept in self.concepts if concept.remove)

    def called(self, words: str) -> Concept | None:
        """Return the concept that has these words as its name or a synonym, in any case."""
        wanted = words.strip().casefold()
        for concept in self.concepts:
            if wanted in (word.casefold() for word in concept.words):
                return concept
        return None

    def class_of(self, name: str) -> int:
        """Return the class of a name, 0 for none and for those not in the vocabulary."""
        return self.by_name[name].id if name in self.by_name else 0


def known_names(tracks: Iterable[Track]) -> dict[int, str]:
    """Return what tracks are called, by id, without those that have no name or are unknown."""
    return {track.id: track.name for track in tracks if track.name not in ('', UNKNOWN)}


def load_vocabulary(words: Sequence[str]) -> Vocabulary:
    """
    Return the vocabulary of the setting `naming.vocabulary`.

    Parameters
    ----------
    words
        Names; or one path that ends in .yaml or .yml; or nothing but '' for the built-in list.

    Raises
    ------
    DiffsegError
        The file cannot be used, or names or ids are there twice.

    """
    words = [word.strip() for word in words if word.strip()]
    path = Path(words[0]).expanduser() if len(words) == 1 else Path()
    if path.suffix not in ('.yaml', '.yml'):
        if words:
            return _vocabulary(tuple(words))
        path = INDOOR_FILE
    try:
        return _vocabulary_file(path, path.stat().st_mtime_ns if path.is_file() else 0)
    except DiffsegError as error:
        raise DiffsegError(f'vocabulary {path}: {error}') from None


@lru_cache(maxsize=8)
def _vocabulary(words: tuple[str, ...]) -> Vocabulary:
    try:
        return Vocabulary(tuple(Concept(name=word, id=number)
                                for number, word in enumerate(words, 1)))
    except DiffsegError as error:
        raise DiffsegError(f'parameter naming.vocabulary: {error}') from None


@lru_cache(maxsize=8)
def _vocabulary_file(path: Path, changed: int) -> Vocabulary:
    """Read a file; `changed` is when it was written, so that it is read again after that."""
    try:
        entries = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DiffsegError(f'cannot be read: {" ".join(str(error).split())}') from error
    if not isinstance(entries, list) or not entries:
        raise DiffsegError('a list is needed, of words and of mappings with the key name')
    return Vocabulary(tuple(_concept(entry, number) for number, entry in enumerate(entries, 1)))


def _concept(entry: Any, number: int) -> Concept:
    values = entry if isinstance(entry, dict) else {'name': entry}
    try:
        return Concept(**{'id': number, **{str(key): value for key, value in values.items()}})
    except DiffsegError as error:
        raise DiffsegError(str(error).replace(
            'parameter', f'entry {number}, {values.get("name")},', 1)) from None
