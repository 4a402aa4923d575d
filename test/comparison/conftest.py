"""A browser for pages."""

from __future__ import annotations

from collections.abc import Iterator

from browser import Browser, CHROMIUM
import pytest


@pytest.fixture(scope='session')
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Return a browser; skip where Debian's chromium is not installed."""
    if CHROMIUM is None:
        pytest.skip('no chromium to open pages in; apt-get install chromium')
    with Browser(tmp_path_factory.mktemp('chromium')) as browser:
        yield browser
