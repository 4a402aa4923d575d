"""
Where segmentation methods, backbones, output topics and measures are added.

Each of them is one file that registers itself with a decorator. The files of this package are
listed below; a third party's package names its file as an entry point of the group, for example
in its pyproject.toml:

    [project.entry-points."diffseg_ros.segmentation"]
    grid = "my_package.grid"
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
import importlib
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from diffseg_ros.errors import DiffsegError
from diffseg_ros.settings import Settings

_Thing = TypeVar('_Thing')
# Looking for them reads the metadata of every installed package.
_entry_points = cache(entry_points)


@dataclass(frozen=True)
class Entry(Generic[_Thing]):
    """
    Something that is registered under a name.

    Attributes
    ----------
    create
        The registered class or function.
    settings
        Class of its own settings, which appear as the section `section`, or None.
    facts
        What else was said of it, such as the message type of an output.

    """

    name: str
    create: _Thing
    settings: type[Settings] | None
    section: str
    facts: dict[str, Any]


class Registry(Generic[_Thing]):
    """Things of one kind by name; the files that register them are imported at first use."""

    def __init__(self, kind: str, group: str, built_in: tuple[str, ...]) -> None:
        self.problems: list[str] = []
        self._kind = kind
        self._group = group
        self._built_in = built_in
        self._entries: dict[str, Entry[_Thing]] = {}
        self._loaded = False

    def register(self, name: str, settings: type[Settings] | None = None, *,
                 section: str | None = None, **facts: Any) -> Callable[[_Thing], _Thing]:
        """
        Return a decorator that adds a class or function under `name`.

        Parameters
        ----------
        name
            How users choose it.
        settings
            Its own settings, or None.
        section
            Where these appear among the parameters; `name` unless several share one section.
        facts
            Whatever else this kind of thing needs to say.

        Raises
        ------
        DiffsegError
            The name is taken, or is not an identifier such as `my_method`.

        """
        if not all(part.isidentifier() for part in name.split('/')):
            raise DiffsegError(f'{self._kind} {name!r}: not a usable name; use letters, digits '
                               'and underscores')

        def add(thing: _Thing) -> _Thing:
            known = self._entries.get(name)
            if known is not None and known.create is not thing:
                raise DiffsegError(f'{self._kind} {name}: registered twice, by '
                                   f'{known.create.__module__} and {thing.__module__}; rename '
                                   'one of them')
            self._entries[name] = Entry(name, thing, settings, section or name, facts)
            return thing

        return add

    def __iter__(self) -> Iterator[Entry[_Thing]]:
        """Yield all entries, those of this package first."""
        self._load()
        return iter(list(self._entries.values()))

    def names(self) -> list[str]:
        """Return the names in the order of registration."""
        return [entry.name for entry in self]

    def get(self, name: str) -> Entry[_Thing]:
        """
        Return the entry of a name.

        Raises
        ------
        DiffsegError
            There is none.

        """
        self._load()
        if name not in self._entries:
            reasons = ''.join(f'; {problem}' for problem in self.problems)
            raise DiffsegError(f'{self._kind} {name!r}: unknown; choose one of '
                               f'{", ".join(self._entries)}{reasons}')
        return self._entries[name]

    def sections(self) -> dict[str, type[Settings]]:
        """Return the settings classes by the section that they appear in."""
        return {entry.section: entry.settings for entry in self if entry.settings is not None}

    def _load(self) -> None:
        """Import the files that register something; a broken one of others is a problem noted."""
        if self._loaded:
            return
        self._loaded = True
        for module in self._built_in:
            importlib.import_module(module)
        for point in _entry_points().select(group=self._group):
            try:
                point.load()
            except Exception as error:
                owner = point.dist.name if point.dist else point.value
                self.problems.append(f'{self._kind} {point.name} of {owner} cannot be loaded: '
                                     f'{type(error).__name__}: {error}')


segmentation_methods: Registry[Any] = Registry(
    'segmentation method', 'diffseg_ros.segmentation',
    ('diffseg_ros.segmentation.regions', 'diffseg_ros.segmentation.diffcut',
     'diffseg_ros.segmentation.diffseg'))
backbones: Registry[Any] = Registry('backbone', 'diffseg_ros.backbones',
                                    ('diffseg_ros.backbones.imagenet',))
outputs: Registry[Any] = Registry('output', 'diffseg_ros.outputs', ())
measures: Registry[Any] = Registry('measure', 'diffseg_ros.measures', ())

register_segmentation = segmentation_methods.register
register_backbone = backbones.register
register_output = outputs.register
register_measure = measures.register
