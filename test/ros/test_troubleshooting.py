"""Every sentence that the node can say about itself is explained in the documentation."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
import re

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPEAKING = {
    'ros/status': {'_lifecycle_message', '_input_message', '_output_message'},
    'ros/subscriptions': {'why_no_images', '_other_image_topics'},
    'ros/camera_motion': {'_why_no_pose'},
    'ros/frame_converter': {'_depth', '_why_no_depth', '_intrinsics'},
    'error_text': {'describe_error'}}
"""Modules, and their functions that word what is wrong."""


def fragments(module: str) -> Iterator[str]:
    """Yield the fixed parts of the sentences in a module."""
    tree = ast.parse((ROOT / 'diffseg_ros' / f'{module}.py').read_text())
    chosen = SPEAKING[module]
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef) or function.name not in chosen:
            continue
        for node in ast.walk(ast.Module(function.body, [])):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and (
                    len(node.value.split()) > 2 and node.value != ast.get_docstring(function,
                                                                                    clean=False)):
                yield ' '.join(node.value.split())


@pytest.mark.parametrize('module', SPEAKING)
def test_every_sentence_is_in_the_troubleshooting_guide(module):
    guide = ' '.join((ROOT / 'docs' / 'troubleshooting.md').read_text().split())
    parts = list(fragments(module))
    assert parts
    assert [part for part in parts if part not in guide] == []


def test_every_test_that_the_list_of_faults_names_exists():
    named = re.findall(r'`([\w./]+\.py)::(\w+)`', (ROOT / 'docs' / 'faults.md').read_text())
    assert len(named) > 30
    for file, test in named:
        source = (ROOT / 'test' / 'ros' / file).read_text()
        assert f'\ndef {test}(' in source, f'{file}::{test}'
