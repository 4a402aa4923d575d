"""What ended a worker is told from the note that it left."""

import subprocess
import sys

from diffseg_ros.fleet.attempt import node_of_attempt, noted_attempt, reason_of_end
import pytest

BODY = """
import ctypes, os, time
from pathlib import Path
from diffseg_ros.fleet.attempt import noted_attempt
def label(watch):
    {what}
with noted_attempt(Path({note!r}), 'node 1') as watch:
    label(watch)
"""


@pytest.mark.parametrize(('what', 'reason'), [
    ('ctypes.string_at(0)', 'made its worker crash: Segmentation fault in string_at'),
    ('os._exit(3)', 'ended its worker without a word'),
    ('os.kill(os.getpid(), 9)', 'ended its worker without a word'),
    ('watch(0.2), time.sleep(60)', 'took longer than --timeout 0.2 seconds; it was in label')])
def test_the_reason(tmp_path, what, reason):
    note = tmp_path / 'note'
    ended = subprocess.run([sys.executable, '-c', BODY.format(what=what, note=str(note))],
                           timeout=60)
    assert ended.returncode != 0
    assert node_of_attempt(note) == 'node 1'
    assert reason_of_end(note, 0.2).startswith(reason)


def test_an_attempt_that_ends_leaves_no_note(tmp_path):
    with pytest.raises(ValueError), noted_attempt(tmp_path / 'note', 'node'):
        raise ValueError
    assert node_of_attempt(tmp_path / 'note') is None and not list(tmp_path.iterdir())
