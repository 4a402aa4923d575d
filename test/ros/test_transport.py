"""The transport profile is found, valid, and switched on unless the user chose another."""

from __future__ import annotations

from pathlib import Path
import shutil
import subprocess
import sys
from xml.etree import ElementTree

from diffseg_ros import config_files
from diffseg_ros.errors import DiffsegError
from diffseg_ros.ros import transport
import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_profile_is_set_when_unset(monkeypatch):
    monkeypatch.setenv(transport.PROFILE_VARIABLE, '')
    assert transport.use_large_message_profile() == ROOT / 'config' / 'fastdds.xml'


def test_profile_of_the_user_stays(monkeypatch):
    monkeypatch.setenv(transport.PROFILE_VARIABLE, '/my/own.xml')
    assert transport.use_large_message_profile() is None


def test_unknown_file_is_named_with_the_places_searched():
    with pytest.raises(DiffsegError, match='nothing.xml: not found in .*config'):
        config_files.config_file('nothing.xml')


@pytest.mark.parametrize('package_folder', ['lib/python3.11/site-packages',
                                            'local/lib/python3.11/dist-packages'])
def test_profile_is_found_in_an_installation(tmp_path, package_folder):
    site = tmp_path / package_folder
    prefix = site.parents[2]
    shutil.copytree(ROOT / 'diffseg_ros', site / 'diffseg_ros',
                    ignore=shutil.ignore_patterns('__pycache__', 'weights'))
    shutil.copytree(ROOT / 'config', prefix / 'share' / 'diffseg_ros' / 'config')
    code = ('from diffseg_ros.ros.transport import use_large_message_profile as use;'
            'print(use())')
    found = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, text=True, check=True,
                           capture_output=True, env={'PYTHONPATH': str(site)})
    assert Path(found.stdout.strip()) == prefix / 'share' / 'diffseg_ros' / 'config/fastdds.xml'


def test_segment_holds_several_clouds_and_buffers_stay_within_the_kernel_s_limit():
    tree = ElementTree.parse(ROOT / 'config' / 'fastdds.xml')
    numbers = {element.tag.split('}')[1]: int(element.text) for element in tree.iter()
               if (element.text or '').strip().isdigit()}
    assert numbers['segment_size'] == 64 * 2**20
    assert max(numbers['sendBufferSize'], numbers['receiveBufferSize']) <= 4 * 2**20
