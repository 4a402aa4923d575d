"""diffseg_replay compares with an older replay and writes pages."""

from __future__ import annotations

import json
import os
import signal

from box_recording import FRAMES
import pytest

NO_EXTRAS = ('--no-bag', '--clouds', '0')


def test_the_same_replay_has_not_changed(run, sequence, capsys, tmp_path):
    limits = tmp_path / 'limits.yaml'
    limits.write_text('moved_share_worst: 0\ntracks_lost: 0\ntracks_gained: 0\nframes_lost: 0\n')
    _, old = run(sequence, 'old', *NO_EXTRAS)
    code, new = run(sequence, 'new', '--compare', str(old), '--tolerances', str(limits),
                    *NO_EXTRAS)
    assert code == 0
    report, = json.loads((new / 'compare.json').read_text())['recordings']
    assert report['name'] == 'box' and report['moved'] == [0.0] * FRAMES
    assert not any(track['changes'] for track in report['tracks'])
    assert 0 < report['figures']['seconds_ratio']
    assert '0.00% of the pixels moved' in capsys.readouterr().out
    assert 'Everything' in (new / 'compare.html').read_text()
    # The next replay takes them away as its own, but not what somebody changed.
    code, new = run(sequence, 'new', *NO_EXTRAS)
    assert code == 0 and not (new / 'compare.json').exists()
    (new / 'compare.html').write_text('my notes')
    code, new = run(sequence, 'new', *NO_EXTRAS)
    assert code == 2 and (new / 'compare.html').read_text() == 'my notes'


def test_beyond_a_tolerance_the_exit_code_is_1(run, sequence, capsys, tmp_path):
    limits = tmp_path / 'limits.json'
    limits.write_text('{"frames_lost": 1, "moved_share_mean": 1}')
    _, old = run(sequence, 'old', *NO_EXTRAS)
    capsys.readouterr()
    code, new = run(sequence, 'new', '--compare', str(old), '--tolerances', str(limits), '--limit',
                    str(FRAMES - 2), *NO_EXTRAS)
    assert code == 1
    assert capsys.readouterr().err == 'box: frames_lost 2, tolerance 1\n'
    assert json.loads((new / 'compare.json').read_text())['recordings'][0]['beyond'] == [
        'frames_lost']
    # Without tolerances differences are told, and that is all.
    code, _ = run(sequence, 'other', '--compare', str(old), '--limit', '1', *NO_EXTRAS)
    assert code == 0


def test_a_page_of_the_replay_by_itself(run, sequence):
    code, output = run(sequence, 'out', '--page', *NO_EXTRAS)
    assert code == 0 and '"name":"box"' in (output / 'page.html').read_text()
    assert not (output / 'compare.json').exists()


@pytest.mark.parametrize(('options', 'words'), [
    (('--compare', '{here}/nowhere'), 'nowhere: has no labels/NNNNNN.png'),
    (('--compare', '{here}/old', '--tolerances', '{here}/limits'), "'track_lost' is no figure"),
    (('--tolerances', '{here}/limits'), 'belongs to --compare OLD_DIR'),
    (('--compare', '{here}/new'), 'would write where its input')])
def test_what_cannot_be_compared_is_refused_before_the_work(
        run, sequence, capsys, tmp_path, options, words):
    (tmp_path / 'limits').write_text('track_lost: 0')
    for name in ('old', 'new'):
        run(sequence, name, '--limit', '1', *NO_EXTRAS)
    before = sorted((tmp_path / 'new').rglob('*'))
    capsys.readouterr()
    code, _ = run(sequence, 'new', *(option.format(here=tmp_path) for option in options))
    line, = capsys.readouterr().err.splitlines()
    assert code == 2 and words in line
    assert sorted((tmp_path / 'new').rglob('*')) == before


def test_a_replay_that_was_stopped_is_not_compared(run, sequence, monkeypatch):
    from diffseg_ros.cli.replay_output import ReplayOutput

    _, old = run(sequence, 'old', *NO_EXTRAS)
    write = ReplayOutput.write

    def write_and_stop(self, number, result):
        write(self, number, result)
        if number == 1:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(ReplayOutput, 'write', write_and_stop)
    code, new = run(sequence, 'new', '--compare', str(old), '--page', *NO_EXTRAS)
    assert code == 130 and json.loads((new / 'report.json').read_text())['frames'] == 2
    assert not list(new.glob('*.html'))
