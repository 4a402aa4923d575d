"""The page says what the comparison found, and stays small for many recordings."""

from dataclasses import replace
import json
import re

from diffseg_ros.comparison.comparison import compare_folders
from diffseg_ros.comparison.page import write_page, write_report
from diffseg_ros.comparison.pictures import draw_pictures, MAX_PICTURES, worst_frames
import numpy as np
import pytest
from replay_files import strips, write_replay

RECORDINGS, FRAMES = 1000, 2000


def embedded(page):
    """Return the data of a page."""
    text = page.read_text()
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text,
                                re.S)[1])


@pytest.fixture
def one(tmp_path):
    """Return a comparison in which frame 3 of 6 is worst."""
    frames = {number: strips(40, 40, 20, ids=(1, 2, 3)) for number in range(6)}
    old = write_replay(tmp_path / 'old', frames, total_ms=40.0, overlays=True)
    new = write_replay(tmp_path / 'new', {**frames, 3: strips(40, 40, 20, ids=(1, 3, 2))},
                       total_ms=50.0)
    return compare_folders(new, old)


def many(one):
    """Return comparisons of long recordings with many tracks."""
    generator = np.random.default_rng(0)
    frames = list(range(FRAMES))
    new = replace(one.new, labels=dict.fromkeys(frames, one.new.labels[3]))
    old = replace(one.old, labels=dict.fromkeys(frames, one.old.labels[3]))
    for number in range(RECORDINGS):
        moved = (generator.random(FRAMES) * number / RECORDINGS).tolist()
        yield replace(one, name=f'drive_{number:04d}', new=new, old=old, frames=frames,
                      moved=moved, in_view=[30] * FRAMES, tracks=one.tracks * 70)


def test_a_thousand_recordings_are_a_few_megabytes(tmp_path, one):
    comparisons = list(many(one))
    page = tmp_path / 'compare.html'
    write_page(page, comparisons, title='all', tolerances={'moved_share_mean': 0.4})
    assert page.stat().st_size < 4e6
    recordings = embedded(page)['recordings']
    assert len(recordings) == RECORDINGS
    means = [recording['values'][0] for recording in recordings]
    assert means == sorted(means, reverse=True)
    assert [len(recording['pictures']) for recording in recordings[:MAX_PICTURES + 1]] == [
        1] * MAX_PICTURES + [0]
    moved = {comparison.name: comparison.moved for comparison in comparisons}
    for recording in recordings[:3]:
        worst = max(recording['strip'], key=lambda point: point[1])
        assert worst[1] == pytest.approx(max(moved[recording['name']]), abs=1e-4)
        assert recording['beyond'] == ['moved_share_mean'] and recording['count'] == 210


def test_the_report_has_everything(tmp_path, one):
    write_report(tmp_path / 'compare.json', [one], {'tracks_fragmented': 5, 'seconds_ratio': 1.1})
    report = json.loads((tmp_path / 'compare.json').read_text())
    assert report['tolerances'] == {'tracks_fragmented': 5, 'seconds_ratio': 1.1}
    recording, = report['recordings']
    assert recording['beyond'] == ['seconds_ratio']
    assert recording['figures'] == pytest.approx(one.figures, abs=1e-5)
    assert recording['moved'] == [0, 0, 0, 0.6, 0, 0] and recording['frames'] == list(range(6))
    assert recording['stages_ms'] == {'tracking': {'old': 10.0, 'new': 12.5},
                                      'total': {'old': 40.0, 'new': 50.0}}
    track = next(track for track in recording['tracks'] if track['old']['id'] == 2)
    assert track['old'] == {'id': 2, 'pixels': 4800, 'frames': 6, 'first': 0, 'last': 5,
                            'name': ''}


def test_pictures_are_of_the_worst_frames_apart_from_each_other(one):
    assert worst_frames([one]) == [[3]]
    frames = list(range(1000))
    moved = np.zeros(1000)
    moved[[100, 101, 500, 900]] = 0.5, 0.6, 0.3, 0.7
    long = replace(one, frames=frames, moved=moved.tolist())
    assert worst_frames([long]) == [[101, 500, 900]]
    found = worst_frames([long] * 5)
    assert found == [[101, 500, 900]] * 2 + [[101, 900]] * 3
    assert sum(map(len, found)) == MAX_PICTURES
    unchanged = replace(one, moved=[0.0] * 6)
    assert worst_frames([unchanged]) == [[0]]
    assert worst_frames([replace(one, old=None)]) == [list(range(6))]


def test_pictures_show_the_same_thing_in_the_same_colour(one):
    import base64

    import cv2

    pictures = {}
    for key, url in draw_pictures(one, 3).items():
        data = np.frombuffer(base64.b64decode(url.removeprefix('data:image/jpeg;base64,')),
                             np.uint8)
        pictures[key] = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB).astype(int)
    assert set(pictures) == {'old', 'new', 'moved'}
    first, second, third = ((10, column) for column in (20, 60, 90))
    # The old picture has an overlay behind its colours and the new one has none.
    assert np.abs(pictures['old'][first] - pictures['new'][first]).max() < 30
    assert np.abs(pictures['old'][second] - pictures['new'][second]).max() > 60
    red = pictures['moved'][..., 0] - pictures['moved'][..., 1] > 80
    assert red[second] and red[third] and not red[first]


def test_titles_and_names_cannot_become_markup(tmp_path, one):
    bad = '</script><b>{{data}} & "x" {{title}}'
    write_page(tmp_path / 'page.html', [replace(one, name=bad)], title=bad, notes=[bad])
    text = (tmp_path / 'page.html').read_text()
    assert text.count('</script>') == 2 and '<b>' not in text
    escaped = '&lt;/script&gt;&lt;b&gt;{{data}} &amp; &quot;x&quot; {{title}}'
    assert f'<title>{escaped}</title>' in text
    data = embedded(tmp_path / 'page.html')
    assert data['title'] == bad == data['recordings'][0]['name'] == data['notes'][0]
