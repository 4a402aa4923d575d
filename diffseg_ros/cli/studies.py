"""Access to the folder `studies/`, which only the source repository has."""

from __future__ import annotations

import importlib
from pathlib import Path
import sys
from types import ModuleType

import diffseg_ros
from diffseg_ros.errors import DiffsegError

CHECKOUT = Path(diffseg_ros.__file__).resolve().parents[1]


def has_studies() -> bool:
    """Return whether this package lies in a checkout of its repository."""
    return (CHECKOUT / 'studies' / '__init__.py').is_file()


def load_study(name: str) -> ModuleType:
    """Import the module `studies.NAME`; raise DiffsegError outside a checkout."""
    if not has_studies():
        raise DiffsegError(f'studies/{name}.py: not found beside {CHECKOUT / "diffseg_ros"}; '
                           'baselines and side-by-side comparisons come with the source '
                           'repository: clone it and run pip install -e .')
    if str(CHECKOUT) not in sys.path:
        sys.path.insert(0, str(CHECKOUT))
    return importlib.import_module(f'studies.{name}')
