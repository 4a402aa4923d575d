"""What ImageNet-1k calls its classes: the words of their WordNet synsets."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
import re

COUNT = 1000


@cache
def class_words() -> tuple[tuple[str, ...], ...]:
    """
    Return the words for each of the 1000 classes, the usual one first.

    They are read from a file of timm, which is not imported: that would need torchvision. Raises
    ModuleNotFoundError where it is not installed.
    """
    spec = find_spec('timm')
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'timm'", name='timm')
    folder = Path(spec.submodule_search_locations[0]) / 'data' / '_info'
    lines = (folder / 'imagenet_synset_to_lemma.txt').read_text(encoding='utf-8').splitlines()
    words = dict(line.split('\t') for line in lines)
    synsets = (folder / 'imagenet_synsets.txt').read_text(encoding='utf-8').split()
    return tuple(tuple(words[synset].split(', ')) for synset in synsets)


@cache
def classes_called(words: tuple[str | int, ...]) -> list[int]:
    """
    Return the numbers of the classes that the words mean, sorted.

    A word is a number, a range of numbers such as '151-268', or a word for a class. Where it is
    none, it is all that end in it: 'chair' is every kind of chair.
    """
    return sorted({number for word in words for number in _called(str(word))})


def _called(word: str) -> Iterable[int]:
    span = re.fullmatch(r'(\d+)(?:-(\d+))?', word)
    if span:
        return range(int(span[1]), min(int(span[2] or span[1]), COUNT - 1) + 1)
    whole, ends = _index()
    return whole.get(word.casefold()) or ends.get(word.casefold(), [])


@cache
def _index() -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Return the classes by their words, and by the ends of their words."""
    whole: dict[str, list[int]] = {}
    ends: dict[str, list[int]] = {}
    for number, names in enumerate(class_words()):
        for name in names:
            _, *after = parts = name.casefold().split(' ')
            whole.setdefault(' '.join(parts), []).append(number)
            for start in range(len(after)):
                ends.setdefault(' '.join(after[start:]), []).append(number)
    return whole, ends
