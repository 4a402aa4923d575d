"""
Any choice of test folders, in any order, finds its own helpers.

pytest imports test modules and what they share by their bare names: two files of one name would
be taken for each other, and of the conftest modules only one has that name at a time.
"""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).resolve().parent


def imported(path: Path) -> set[str]:
    """Return the names of the modules that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def test_names_of_test_modules_and_helpers_are_unique():
    names = Counter(path.name for path in TESTS.rglob('*.py') if path.name != 'conftest.py')
    assert len(names) > 100
    assert [name for name, count in names.items() if count > 1] == []


def test_nothing_is_imported_from_a_conftest():
    assert [path.name for path in TESTS.rglob('*.py') if 'conftest' in imported(path)] == []
