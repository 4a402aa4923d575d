"""The page in a real browser: opened from the disk, sorted, filtered, moved through."""

from dataclasses import replace
import json

from diffseg_ros.comparison.comparison import compare_folders
from diffseg_ros.comparison.page import write_page
import pytest
from replay_files import strips, write_replay

NAMES = {1: '<img src=x onerror=alert(1)>', 2: 'table', 3: 'cup', 4: 'chair'}
COLUMN = ('[...document.querySelectorAll("table[aria-label={}] tbody tr")]'
          '.map(row => row.cells[{}].textContent)')


@pytest.fixture(scope='module')
def comparison(tmp_path_factory):
    """Return a comparison of 20 frames: the worst is 12, then 5."""
    folder = tmp_path_factory.mktemp('replays')
    same = strips(40, 30, 20, 10, ids=(1, 2, 3, 4))
    frames = dict.fromkeys(range(20), same)
    changed = {**frames, 5: strips(40, 30, 20, 10, ids=(1, 2, 3, -1)),
               12: strips(40, 30, 20, 10, ids=(1, 3, 2, 8))}
    old = write_replay(folder / 'old', frames, names=NAMES, total_ms=40.0)
    new = write_replay(folder / 'new', changed, names={**NAMES, 3: 'mug'}, total_ms=50.0)
    return compare_folders(new, old)


def column(browser, table, place):
    return browser.evaluate(COLUMN.format(table, place))


def text(browser, selector):
    return browser.evaluate(f'document.querySelector({json.dumps(selector)}).textContent')


def opened(browser, path):
    """Open a page and check that it needed nothing but itself."""
    browser.open(path)
    assert [url for url in browser.requests if not url.startswith('data:')] == [
        path.resolve().as_uri()[:100]]


def test_one_recording(browser, comparison, tmp_path):
    page = tmp_path / 'compare & co.html'
    write_page(page, [comparison], title='drive: what changed',
               tolerances={'moved_share_worst': 0.1, 'tracks_lost': 1})
    opened(browser, page)
    assert text(browser, 'h1') == 'drive: what changed'
    assert text(browser, 'p.bad') == 'Beyond tolerance: Moved, worst frame'
    assert browser.evaluate('document.querySelectorAll("dd.bad").length') == 1
    assert browser.evaluate('document.querySelectorAll("table img").length') == 0
    # The worst frame is shown first; arrow keys move on, and the nearest picture is shown.
    assert text(browser, '#said').startswith('Frame 12: 60.0 % of the pixels moved')
    pictures = '[...document.querySelectorAll("#pictures img")].map(image => image.alt)'
    assert browser.evaluate(pictures) == ['Old, frame 12', 'New, frame 12',
                                          'Moved pixels, red, frame 12']
    browser.wait_for('[...document.images].every(image => image.naturalWidth == 100)')
    browser.evaluate('document.getElementById("slider").focus()')
    for _ in range(5):
        browser.press('ArrowLeft', 37)
    assert text(browser, '#said').startswith('Frame 7: 0.00 % of the pixels moved')
    assert browser.evaluate(pictures)[0] == 'Old, frame 5'
    browser.click('.strip')
    assert text(browser, '#said').split(':')[0] in ('Frame 9', 'Frame 10')
    assert browser.evaluate('document.querySelectorAll("#timeline rect.old").length') == 4
    assert browser.complaints == []


def test_tables_sort_and_filter(browser, comparison, tmp_path):
    write_page(tmp_path / 'compare.html', [comparison], title='drive')
    opened(browser, tmp_path / 'compare.html')
    moved = [int(cell.replace(',', '')) for cell in column(browser, 'tracks', 6)]
    assert moved == sorted(moved, reverse=True)
    assert '<img src=x onerror=alert(1)>' in column(browser, 'tracks', 1)
    heads = 'table[aria-label=tracks] th:nth-child({}) button'
    browser.click(heads.format(1))
    assert column(browser, 'tracks', 0) == ['4', '3', '2', '1', '']
    assert browser.evaluate('document.querySelector("th").getAttribute("aria-sort")') == (
        'descending')
    browser.press('Enter', 13)
    assert column(browser, 'tracks', 0) == ['1', '2', '3', '4', '']
    browser.click(heads.format(2))
    assert column(browser, 'tracks', 1) == [NAMES[1], 'chair', 'cup', 'table', '']
    browser.type('input[type=search]', 'REN mug')
    assert column(browser, 'tracks', 3) == ['mug']
    assert text(browser, '.tools [role=status]') == '1 of 5'
    browser.type('input[type=search]', 'nothing')
    assert column(browser, 'tracks', 0) == []
    assert browser.complaints == []


def test_many_recordings(browser, comparison, tmp_path):
    comparisons = [replace(comparison, name=f'drive {number}',
                           moved=[number / 200] * 20) for number in range(1, 101)]
    write_page(tmp_path / 'compare.html', comparisons, title='all',
               tolerances={'moved_share_mean': 0.401}, notes=['2 recordings are only in old.'])
    opened(browser, tmp_path / 'compare.html')
    assert text(browser, 'p.bad') == 'Beyond tolerance: 20 of 100 recordings'
    assert '2 recordings are only in old.' in text(browser, '#head')
    assert column(browser, 'recordings', 0)[:2] == ['drive 100', 'drive 99']
    assert text(browser, '#name') == 'drive 100'
    browser.click('table[aria-label=recordings] th:nth-child(1) button')
    assert column(browser, 'recordings', 0)[:3] == ['drive 1', 'drive 2', 'drive 3']
    browser.type('input[aria-label="Filter recordings"]', 'drive 42')
    browser.click('table[aria-label=recordings] tbody button')
    assert text(browser, '#name') == 'drive 42'
    assert text(browser, '#said').startswith('Frame 0: 21.0 % of the pixels moved')
    assert 'Pictures are of the worst recordings only' in text(browser, '#recording')
    assert browser.evaluate('document.querySelectorAll("tr[aria-current=true]").length') == 1
    assert browser.complaints == []


def test_a_replay_by_itself(browser, comparison, tmp_path):
    alone = compare_folders(comparison.new.path, None)
    write_page(tmp_path / 'page.html', [alone], title='drive')
    opened(browser, tmp_path / 'page.html')
    assert text(browser, '#said') == 'Frame 0: 4 tracks in view'
    assert browser.evaluate('document.querySelectorAll("#pictures img").length') == 1
    assert column(browser, 'tracks', 0)[0] == '1'
    assert text(browser, '.figures') == 'Frames20Tracks5'
    assert browser.complaints == []


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_it_is_readable_in_light_and_dark(browser, comparison, tmp_path, scheme):
    browser.call('Emulation.setEmulatedMedia',
                 features=[{'name': 'prefers-color-scheme', 'value': scheme}])
    write_page(tmp_path / 'compare.html', [comparison], title='drive')
    opened(browser, tmp_path / 'compare.html')
    colours = [browser.evaluate(f'getComputedStyle(document.querySelector("{selector}")).{part}')
               for selector, part in (('body', 'backgroundColor'), ('body', 'color'),
                                      ('.quiet', 'color'))]
    paper, ink, quiet = (_luminance(colour) for colour in colours)
    assert (paper > ink) == (scheme == 'light')
    # The contrast that the Web Content Accessibility Guidelines 2.2 ask for, 1.4.3.
    for shade in (ink, quiet):
        assert (max(paper, shade) + 0.05) / (min(paper, shade) + 0.05) >= 4.5


def test_one_frame_without_any_label(browser, tmp_path):
    nothing = {7: strips(100, ids=(-1,))}
    old, new = (write_replay(tmp_path / name, nothing) for name in ('old', 'new'))
    write_page(tmp_path / 'compare.html', [compare_folders(new, old)], title='empty')
    opened(browser, tmp_path / 'compare.html')
    assert text(browser, '#said') == 'Frame 7: 0.00 % of the pixels moved, 0 tracks in view'
    assert column(browser, 'tracks', 0) == []
    assert browser.complaints == []


def _luminance(colour: str) -> float:
    """Return the relative luminance of 'rgb(R, G, B)' as WCAG defines it."""
    parts = [int(part) / 255 for part in colour[4:-1].split(',')]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
              for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
