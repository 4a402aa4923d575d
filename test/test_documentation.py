"""What the documentation links to, names and shows exists and works."""

from __future__ import annotations

from itertools import chain
import os
from pathlib import Path
import re
import subprocess
import sys

import cv2
from diffseg_ros.config import NodeConfig, PipelineConfig
from diffseg_ros.parameter_file import pipeline_config_from_file
from diffseg_ros.settings import flatten
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
GUIDES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
PAGES = [*GUIDES, ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'studies').glob('*.md')),
         ROOT / 'diffseg_ros' / 'weights' / 'README.md']
PARAMETERS = {name for name, _, _ in chain(flatten(NodeConfig()), flatten(PipelineConfig()))}


def links(page: Path) -> list[str]:
    """Return the targets of links and pictures that are files or headings."""
    targets = re.findall(r'\]\(([^)\s]+)\)', page.read_text())
    return [target for target in targets if not target.startswith('http')]


def headings(page: Path) -> set[str]:
    """Return the anchors of the headings of a page."""
    return {re.sub(r'[^\w -]', '', line.lstrip('# ').lower()).replace(' ', '-')
            for line in page.read_text().splitlines() if line.startswith('#')}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in links(page):
        path, _, anchor = target.partition('#')
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in headings(file), target


def test_every_page_can_be_reached_from_the_readme():
    reached, waiting = set(), [ROOT / 'README.md']
    while waiting:
        page = waiting.pop()
        if page not in reached:
            reached.add(page)
            waiting += [(page.parent / target.partition('#')[0]).resolve()
                        for target in links(page) if target.partition('#')[0].endswith('.md')]
    assert set(PAGES) <= reached


def test_every_page_is_in_the_navigation_of_the_site():
    navigation = (ROOT / 'mkdocs.yml').read_text()
    assert [page.name for page in GUIDES[1:] if f': {page.name}\n' not in navigation] == []


def test_launch_arguments_that_the_pages_name_exist():
    from_files = ' '.join(path.read_text() for path in (ROOT / 'launch').glob('*.py'))
    for page in GUIDES:
        for line in re.findall(r'ros2 launch.*', page.read_text()):
            for name in re.findall(r'\b(\w+):=', line):
                assert f"'{name}'" in from_files, f'{page.name}: {name}'


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_parameters_that_the_pages_name_exist(page):
    text = page.read_text().partition('## Renamed parameters')[0]
    sections = '|'.join(sorted({name.partition('.')[0] for name in PARAMETERS if '.' in name}))
    known = PARAMETERS | {name.rpartition('.')[0] for name in PARAMETERS}
    named = re.findall(rf'`((?:{sections})\.[\w.]+)(?:: [^`]*)?`|--set ([a-z][\w.]+)=', text)
    names = {first or second for first, second in named}
    of_examples = {name for name in names if name.startswith('segmentation.grid')
                   or name.endswith(('.launch.py', '.txt'))}
    assert names - of_examples <= known


def test_generated_parts_are_those_of_the_code():
    done = subprocess.run([sys.executable, ROOT / 'tools' / 'generate_docs.py', '--check'],
                          capture_output=True, text=True, timeout=120,
                          env={**os.environ, 'PYTHONPATH': str(ROOT)})
    assert done.returncode == 0, done.stderr


def test_the_reference_has_every_public_name_once():
    import diffseg_ros

    page = (ROOT / 'docs' / 'reference.md').read_text()
    named = re.findall(r'^::: diffseg_ros\.(\w+)$', page, re.M)
    for heading in re.findall(r'^### (.*)$', page, re.M):
        named += heading.split(', ')
    assert sorted(named) == sorted(diffseg_ros.__all__)


@pytest.mark.parametrize('path', sorted((ROOT / 'config').glob('*.yaml')),
                         ids=lambda path: path.stem)
def test_shipped_parameter_file_is_accepted(path):
    config = pipeline_config_from_file(path)
    assert (config == PipelineConfig()) == (path.stem == 'default')


@pytest.mark.parametrize('page', ['README.md', 'docs/reference.md'])
def test_program_of_the_page_runs_as_it_stands(page, tmp_path):
    program = re.search(r'```python\n(.*?)```', (ROOT / page).read_text(), re.S)[1]
    blocks = np.kron(np.random.default_rng(0).integers(0, 255, (3, 4, 3), np.uint8),
                     np.ones((40, 40, 1), np.uint8))
    cv2.imwrite(str(tmp_path / 'image.jpg'), blocks)
    video = cv2.VideoWriter(str(tmp_path / 'video.mp4'), cv2.VideoWriter_fourcc(*'mp4v'), 30,
                            (160, 120))
    for number in range(3):
        video.write(np.roll(blocks, number, 1))
    video.release()
    done = subprocess.run([sys.executable, '-c', program], cwd=tmp_path, capture_output=True,
                          text=True, timeout=120, env={**os.environ, 'PYTHONPATH': str(ROOT)})
    assert done.returncode == 0, done.stderr
    written = [path for path in tmp_path.rglob('*')
               if path.suffix in ('.jpg', '.png') and path.name != 'image.jpg']
    assert len(written) == (3 if page == 'README.md' else 1)
