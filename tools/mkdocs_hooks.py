"""
Hooks of mkdocs.yml: files outside docs/ that the pages link to become part of the site.

Links are written as they work in the repository, such as `../CONTRIBUTING.md`. The files that they
lead to are copied into the folder `repository` of the site; links to folders become plain text.
"""

from pathlib import Path
import posixpath
import re

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / 'docs'
FOLDER = 'repository'
LINK = re.compile(r'\[([^\]]*)\]\((?!\w+:|#)([^)\s#]+)([^)\s]*)\)')


def on_files(files, config):
    """Add the files outside docs/ that pages link to, directly or through each other."""
    waiting = [DOCS / file.src_uri for file in files.documentation_pages()]
    seen = set()
    while waiting:
        page = waiting.pop()
        for _, link, _ in LINK.findall(page.read_text()):
            target = (page.parent / link).resolve()
            if target in seen or target.is_relative_to(DOCS) or not target.is_file():
                continue
            seen.add(target)
            files.append(File.generated(config, _site_path(target), abs_src_path=str(target)))
            if target.suffix == '.md':
                waiting.append(target)
    return files


def on_page_markdown(markdown, page, config, files):
    """Turn links that work in the repository into links that work in the site."""
    here = page.file.src_uri
    source = ROOT / here[len(FOLDER) + 1:] if here.startswith(f'{FOLDER}/') else DOCS / here

    def replace(match):
        text, link, anchor = match.groups()
        target = (source.parent / link).resolve()
        if target.is_dir():
            return text
        path = posixpath.relpath(_site_path(target), posixpath.dirname(here) or '.')
        return f'[{text}]({path}{anchor})'

    return LINK.sub(replace, markdown)


def _site_path(target):
    if target.is_relative_to(DOCS):
        return target.relative_to(DOCS).as_posix()
    return f'{FOLDER}/{target.relative_to(ROOT).as_posix()}'
