"""How much a replay may differ from an older one, as a file says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
import math
from pathlib import Path

from diffseg_ros.comparison.comparison import FIGURES
from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.images import read_bytes
import yaml


@dataclass(frozen=True)
class Excess:
    """A figure beyond its tolerance; `value` is None where it could not be measured."""

    figure: str
    value: float | None
    tolerance: float

    def __str__(self) -> str:
        """Return the excess in words."""
        value = 'not known' if self.value is None else f'{self.value:.4g}'
        return f'{self.figure} {value}, tolerance {self.tolerance:g}'


def read_tolerances(path: Path) -> dict[str, float]:
    """
    Return the largest allowed value by figure, of a YAML or JSON file.

    Raises
    ------
    DiffsegError
        The file cannot be read, a figure is not known, or a value is no number from 0 on.

    """
    try:
        content = yaml.safe_load(read_bytes(path))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DiffsegError(f'{path}: cannot be read: {" ".join(str(error).split())}') from error
    if not isinstance(content, dict):
        raise DiffsegError(f'{path}: got {type(content).__name__}; lines such as '
                           '"moved_share_mean: 0.05" are needed')
    for key, value in content.items():
        if key not in FIGURES:
            raise DiffsegError(f'{path}: {key!r} is no figure of a comparison; {_advice(key)}')
        if isinstance(value, bool) or not isinstance(value, int | float) or not (
                0 <= value < math.inf):
            raise DiffsegError(f'{path}: {key}: got {value!r}; a number from 0 on is needed')
    return {key: float(value) for key, value in content.items()}


def excesses(figures: Mapping[str, float | None], tolerances: Mapping[str, float]) -> list[Excess]:
    """Return what is beyond its tolerance, in the order of FIGURES; unknown values are."""
    found = []
    for figure in FIGURES:
        if figure in tolerances:
            value = figures.get(figure)
            if value is None or value > tolerances[figure]:
                found.append(Excess(figure, value, tolerances[figure]))
    return found


def _advice(key: object) -> str:
    near = get_close_matches(str(key), FIGURES, 1)
    return f'did you mean {near[0]}?' if near else f'choose from {", ".join(FIGURES)}'
