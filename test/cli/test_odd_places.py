"""Commands in a C locale and without a home folder, on paths of any language."""

from __future__ import annotations

import os
from pathlib import Path
import subprocess
import sys

from diffseg_ros.cli import convert
import pytest

NOWHERE = {'LANG': 'C', 'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0',
           'HOME': '/proc/nowhere', 'ROS_LOG_DIR': '/proc/nowhere',
           'XDG_CACHE_HOME': '/proc/nowhere'}


@pytest.mark.parametrize('command', ['replay', 'segment'])
def test_bag_and_photo_in_a_locale_without_unicode_and_without_a_home(sequence, tmp_path, weights,
                                                                      command):
    folder = tmp_path / 'Größe – 日本 🤖'
    folder.mkdir()
    photo = (sequence / 'rgb/000000.png').rename(folder / 'фото.png')
    if command == 'replay':
        (folder / 'rgb').mkdir()
        photo.rename(folder / 'rgb/0.png')
        assert convert.main([str(folder / 'rgb'), str(folder / 'bag')]) == 0
    source: Path = photo if command == 'segment' else folder / 'bag'
    done = subprocess.run(
        [sys.executable, '-m', f'diffseg_ros.cli.{command}', str(source), '--output',
         str(folder / 'aus gabe'), '--set', f'backbone.model={weights}'],
        capture_output=True, env=os.environ | NOWHERE, check=False)
    assert done.returncode == 0, done.stderr
    assert b'Traceback' not in done.stderr
    name = 'фото' if command == 'segment' else '000000'
    assert (folder / f'aus gabe/labels/{name}.png').is_file()
