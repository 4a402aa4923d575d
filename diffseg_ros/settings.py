"""
Declaring settings: validated, immutable classes that parameters, files and tables come from.

A stage, a segmentation method or an output topic declares its settings as a subclass of
`Settings` whose fields are made by `setting`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, get_args, get_origin, Literal, TypeVar

from diffseg_ros.errors import DiffsegError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

_Self = TypeVar('_Self', bound='Settings')


class Settings(BaseModel):
    """
    Base class of all settings.

    Raises
    ------
    DiffsegError
        A value is unknown, of the wrong type or out of range, when an instance is made.

    """

    model_config = ConfigDict(frozen=True, extra='forbid', strict=True, allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise DiffsegError(_explain(error, type(self))) from None
        for name, value in self:
            if isinstance(value, tuple):
                _check_items(name, value, _option(type(self).model_fields[name]))

    def replace(self: _Self, **changes: Any) -> _Self:
        """Return these settings with some values replaced and validated again."""
        return type(self)(**{**dict(self), **changes})


def setting(default: Any, description: str, minimum: float | None = None,
            maximum: float | None = None, *, live: bool = True, read_only: bool = False) -> Any:
    """
    Return a field of a `Settings` class; its annotation gives the type.

    Parameters
    ----------
    default
        Value where the user sets none.
    description
        One sentence for parameter descriptors, `config/default.yaml` and the reference.
    minimum, maximum
        Inclusive range; of the items where the setting is a list (a tuple).
    live
        Whether the value may change while frames are processed.
    read_only
        Whether it can only be given at the start.

    """
    extra: dict[str, Any] = {'live': live and not read_only, 'read_only': read_only,
                             'minimum': minimum, 'maximum': maximum}
    if isinstance(default, tuple):
        return Field(default, description=description, strict=False, json_schema_extra=extra)
    return Field(default, description=description, ge=minimum, le=maximum,
                 json_schema_extra=extra)


@dataclass(frozen=True)
class Option:
    """
    What a setting means and which values it takes.

    Attributes
    ----------
    live
        Whether it may change while frames are processed.
    read_only
        Whether it can only be given at the start.

    """

    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str | bool, ...] = ()
    live: bool = True
    read_only: bool = False

    @property
    def choice_names(self) -> tuple[str, ...]:
        """The choices as one writes them."""
        return tuple(item if isinstance(item, str) else str(item).lower() for item in self.choices)


def flatten(settings: Settings, prefix: str = '') -> Iterator[tuple[str, Any, Option]]:
    """Yield (dotted name, value, option) of every setting, sections in their order."""
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, Settings):
            yield from flatten(value, f'{prefix}{name}.')
        else:
            yield f'{prefix}{name}', value, _option(field)


def updated(settings: _Self, values: Mapping[str, Any], prefix: str = '') -> _Self:
    """
    Return the settings with dotted names replaced, for example {'backbone.tokens': 256}.

    Raises
    ------
    DiffsegError
        A name does not exist, or a value is of the wrong type or out of range.

    """
    changes: dict[str, Any] = {}
    sections: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        key, _, rest = name.partition('.')
        if isinstance(getattr(settings, key, None), Settings):
            sections.setdefault(key, {})[rest] = value
        elif rest or key not in type(settings).model_fields:
            raise DiffsegError(_unknown(prefix + name, settings, prefix))
        else:
            changes[key] = value
    for key, below in sections.items():
        changes[key] = updated(getattr(settings, key), below, f'{prefix}{key}.')
    try:
        return settings.replace(**changes) if changes else settings
    except DiffsegError as error:
        raise DiffsegError(str(error).replace('parameter ', f'parameter {prefix}', 1)) from None


def _unknown(name: str, settings: Settings, prefix: str) -> str:
    found = nearest(name, [known for known, _, _ in flatten(settings, prefix)])
    return f'parameter {name}: unknown; the nearest are {", ".join(found)}'


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Return the three dotted names most alike, as a whole or in their last part."""
    def likeness(other: str) -> float:
        pairs = (name, other), (name.rpartition('.')[2], other.rpartition('.')[2])
        return max(SequenceMatcher(None, *pair).ratio() for pair in pairs)

    return sorted(known, key=likeness, reverse=True)[:3]


def _option(field: FieldInfo) -> Option:
    extra: Any = field.json_schema_extra
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    return Option(field.description or '', extra['minimum'], extra['maximum'], choices,
                  extra['live'], extra['read_only'])


def _check_items(name: str, items: tuple[Any, ...], option: Option) -> None:
    low, high = option.minimum, option.maximum
    if low is not None and high is not None and not all(low <= item <= high for item in items):
        raise DiffsegError(f'parameter {name}: got {items!r}; every item must lie between {low} '
                           f'and {high}')


def _explain(error: ValidationError, kind: type[Settings]) -> str:
    """Return the first thing that is wrong, in one line."""
    first = error.errors()[0]
    name = str(first['loc'][0]) if first['loc'] else ''
    if name not in kind.model_fields:
        return (f'parameter {name}: unknown; the nearest are '
                f'{", ".join(nearest(name, kind.model_fields))}')
    field = kind.model_fields[name]
    option, got = _option(field), first['input']
    if option.choices:
        return f'parameter {name}: got {got!r}; choose one of {", ".join(option.choice_names)}'
    if first['type'] in ('greater_than_equal', 'less_than_equal', 'finite_number'):
        return (f'parameter {name}: got {got!r}; it must lie between {option.minimum} and '
                f'{option.maximum}')
    needed = getattr(field.annotation, '__name__', str(field.annotation))
    if needed == 'tuple':
        needed = (f'a list, such as [{got}],' if len(first['loc']) == 1
                  else get_args(field.annotation)[0].__name__)
    return (f'parameter {name}: got {got!r} of type {type(got).__name__}; {needed} is needed')
