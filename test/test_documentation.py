"""What the documentation links to and names exists."""

from __future__ import annotations

from pathlib import Path
import re

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r'\]\(([^)\s]+)\)', page.read_text()):
        if target.startswith(('http', '#')):
            continue
        path, _, anchor = target.partition('#')
        file = (page.parent / path).resolve()
        assert file.exists(), f'{page.name}: {target}'
        if anchor:
            headings = {re.sub(r'[^\w -]', '', line.lstrip('# ').lower()).replace(' ', '-')
                        for line in file.read_text().splitlines() if line.startswith('#')}
            assert anchor in headings, f'{page.name}: {target}'


def test_every_page_can_be_reached_from_the_readme():
    reached = {target.partition('#')[0] for page in PAGES
               for target in re.findall(r'\]\(([^)\s]+)\)', page.read_text())}
    for page in PAGES[1:]:
        assert f'docs/{page.name}' in reached or page.name in reached, page.name


def test_launch_arguments_that_the_pages_name_exist():
    from_files = ' '.join(path.read_text() for path in (ROOT / 'launch').glob('*.py'))
    for page in PAGES:
        for line in re.findall(r'ros2 launch.*', page.read_text()):
            for name in re.findall(r'\b(\w+):=', line):
                assert f"'{name}'" in from_files, f'{page.name}: {name}'
