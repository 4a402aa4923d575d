"""
Write the parts of the documentation that come from the code; with --check, only compare.

`docs/parameters.md` is written as a whole. In the other pages the tables between
`<!-- generated: NAME -->` and `<!-- end -->` are replaced.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
import importlib
from inspect import getdoc
from itertools import groupby
from pathlib import Path
import pkgutil
import re
import sys
from typing import Any

from diffseg_ros.config import NodeConfig, PipelineConfig, RENAMED
from diffseg_ros.io.base import BAG_SUFFIXES
from diffseg_ros.io.images import IMAGE_SUFFIXES
from diffseg_ros.io.messages import (
    COMPRESSED_IMAGE,
    supported_encodings,
    video_codecs,
    VIDEO_TYPES,
)
from diffseg_ros.io.source import VIDEO_SUFFIXES
from diffseg_ros.model_defaults import KINDS, model_defaults
from diffseg_ros.registry import Entry, measures, outputs, segmentation_methods
from diffseg_ros.settings import flatten, Option, Settings

ROOT = Path(__file__).resolve().parents[1]
_OF_ALL_METHODS = ('backbone.tokens', 'backbone.timestep', 'backbone.noise',
                   'segmentation.centre')
_BLOCK = re.compile(r'(<!-- generated: (\w+) -->\n).*?(<!-- end -->)', re.S)


def main() -> int:
    """Write or compare all pages; return 1 if one differs under --check."""
    parser = argparse.ArgumentParser(description='write the generated parts of docs/')
    parser.add_argument('--check', action='store_true', help='write nothing; fail if one differs')
    check = parser.parse_args().check
    outdated = [(path, text) for path, text in generated_pages()
                if not path.exists() or path.read_text() != text]
    for path, text in outdated:
        if not check:
            path.write_text(text)
        advice = 'is outdated; run tools/generate_docs.py' if check else 'written'
        print(f'{path.relative_to(ROOT)} {advice}', file=sys.stderr)
    return int(check and bool(outdated))


def generated_pages() -> Iterator[tuple[Path, str]]:
    """Yield (path, text as it should be) of every page with generated parts."""
    yield ROOT / 'docs' / 'parameters.md', parameters_page()
    tables = {'methods': methods_table, 'outputs': outputs_table, 'measures': measures_table,
              'models': models_table, 'encodings': encodings_table, 'suffixes': suffixes_table,
              'videos': videos_table}
    for path in sorted((ROOT / 'docs').glob('*.md')):
        text = path.read_text()
        if _BLOCK.search(text):
            yield path, _BLOCK.sub(
                lambda block: f'{block[1]}\n{tables[block[2]]()}\n{block[3]}', text)


def parameters_page() -> str:
    """Return docs/parameters.md."""
    parts = [_PARAMETERS_INTRODUCTION]
    for settings in NodeConfig(), PipelineConfig():
        for section, items in groupby(flatten(settings), lambda item: item[0].rpartition('.')[0]):
            parts.append(_parameters_section(settings, section, list(items)))
    parts.append(_RENAMED_INTRODUCTION)
    parts.append(_table('old name | new name', ((f'`{old}`', f'`{new}`')
                                                for old, new in RENAMED.items())))
    return '\n'.join(parts)


def _parameters_section(settings: Settings, section: str,
                        items: list[tuple[str, Any, Option]]) -> str:
    for name in filter(None, section.split('.')):
        settings = getattr(settings, name)
    heading = f'## `{section}`' if section else '## Node'
    rows = ((f'`{name}`', f'`{_value(value)}`', _range(option), option.description,
             _changes(option)) for name, value, option in items)
    table = _table('parameter | default | values | meaning | can change', rows)
    return f'{heading}\n\n{_first_line(type(settings))}\n\n{table}'


def methods_table() -> str:
    """Return the table of segmentation methods."""
    return _table('`segmentation.method` | what it does | its parameters', (
        (f'`{entry.name}`', _first_line(entry.create), _section_link(entry, 'segmentation'))
        for entry in segmentation_methods
        if entry.create.__module__.startswith('diffseg_ros.')))


def models_table() -> str:
    """Return the table of what suits each kind of model, a line a method."""
    rows = []
    for kind in KINDS:
        default = model_defaults(kind)['segmentation.method']
        for entry in segmentation_methods:
            values = model_defaults(kind, entry.name)
            own = ', '.join(f'{name.rpartition(".")[2]} {_value(value)}'
                            for name, value in values.items()
                            if name.startswith(f'segmentation.{entry.section}.'))
            rows.append((f'`{kind}`', f'`{entry.name}`' + ' (default)' * (entry.name == default),
                         *(f'{_value(values[name])}' for name in _OF_ALL_METHODS), own))
    heads = (f'`{name.rpartition(".")[2]}`' for name in _OF_ALL_METHODS)
    return _table(' | '.join(('kind', 'method', *heads, "the method's own")), rows)


def outputs_table() -> str:
    """Return the table of output topics."""
    return _table('topic | type | content | its parameters', (
        (f'`~/{entry.name}`', _message(entry), _first_line(entry.create),
         _section_link(entry, 'outputs')) for entry in _built_in(outputs, 'ros.outputs')))


def measures_table() -> str:
    """Return the table of measures."""
    return _table('measure | of `diffseg_evaluate` | values | what it is about', (
        (f'`{entry.name}`', ', '.join(entry.facts.get('commands', ('masks', 'tracks'))),
         ', '.join(f'`{name}`' for name in entry.create().compute() or [entry.name]),
         _first_line(entry.create))
        for entry in _built_in(measures, 'evaluation')))


def encodings_table() -> str:
    """Return the table of image encodings."""
    return _table('encoding | read as | also called', (
        (f'`{name}`', use, ', '.join(f'`{alias}`' for alias in aliases))
        for name, (use, aliases) in supported_encodings().items()))


def videos_table() -> str:
    """Return the table of messages that hold video."""
    codecs = ', '.join(f'`{codec}`' for codec in video_codecs())
    return _table('message | codecs', (
        (f'`{name}`', codecs) for name in (*VIDEO_TYPES, COMPRESSED_IMAGE)))


def suffixes_table() -> str:
    """Return the table of file names."""
    return _table('file | names that end in', (
        (kind, ', '.join(f'`{suffix}`' for suffix in suffixes)) for kind, suffixes in (
            ('bag', BAG_SUFFIXES), ('image', IMAGE_SUFFIXES), ('video', VIDEO_SUFFIXES))))


def _built_in(registry: Any, folder: str) -> list[Entry[Any]]:
    """Return what the files in a folder of the package register, by name."""
    package = f'diffseg_ros.{folder}'
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f'{package}.{module.name}')
    return sorted((entry for entry in registry if entry.create.__module__.startswith(package)),
                  key=lambda entry: entry.name)


def _first_line(thing: Any) -> str:
    line = (getdoc(thing) or '').strip().partition('\n')[0].removeprefix('Return ')
    return f'{line[:1].upper()}{line[1:]}'


def _section_link(entry: Entry[Any], group: str) -> str:
    if entry.settings is None:
        return ''
    section = f'{group}.{entry.section}'
    return f'[`{section}`](parameters.md#{section.replace(".", "")})'


def _message(entry: Entry[Any]) -> str:
    message = entry.facts.get('message')
    if isinstance(message, type):
        return f'{message.__module__.partition(".")[0]}/{message.__name__}'
    return str(message or '').replace('/msg/', '/')


def _range(option: Option) -> str:
    if option.choices:
        return ', '.join(f'`{choice}`' for choice in option.choice_names)
    if option.minimum is None:
        return ''
    return f'{_value(option.minimum)} to {_value(option.maximum)}'


def _changes(option: Option) -> str:
    if option.read_only:
        return 'at start'
    return 'while running' if option.live else 'while unconfigured'


def _value(value: Any) -> str:
    """Return a value as a parameter file writes it."""
    if isinstance(value, tuple):
        return f'[{", ".join(map(_value, value))}]'
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value)


def _table(header: str, rows: Iterable[tuple[str, ...]]) -> str:
    """Return a Markdown table without the columns that are empty in every row."""
    columns = [[title, '---', *cells] for title, cells in zip(header.split(' | '), zip(*rows))
               if any(cells)]
    escaped = ([cell.replace('|', r'\|') for cell in row] for row in zip(*columns))
    return ''.join(f'| {" | ".join(row)} |\n' for row in escaped)


_PARAMETERS_INTRODUCTION = """\
<!-- This page is written by tools/generate_docs.py. -->
# Parameters

This page lists every parameter of the node, the commands and the library.
[config/default.yaml](../config/default.yaml) holds the same list as a parameter file.

Set them in an ordinary ROS parameter file (`params_file:=` of the launch files, `--params` of the
commands, `ds.Pipeline('params.yaml')` in Python) or one by one (`ros2 param set`, or
`--set NAME=VALUE` of the commands). The commands and the library ignore the node's own parameters,
those of the first table, but for `depth_scale` and `sync_slop`, by which commands read bags.

The last column says when the node accepts a new value: *while running* at any time, from the next
frame on; *while unconfigured* only before the node is configured, because the model or the
publishers depend on it; *at start* only on the command line or in a parameter file.
"""

_RENAMED_INTRODUCTION = """\
## Renamed parameters

Release 0.2 renamed some parameters. The old names are accepted until release 0.3, with a warning
that gives the new name. The method `ncut` is now called `kway`.
"""

if __name__ == '__main__':
    sys.exit(main())
