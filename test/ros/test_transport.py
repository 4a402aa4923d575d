"""The transport profile is found, valid, and switched on unless the user chose another."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import platform
import re
import shutil
import subprocess
import sys
from xml.etree import ElementTree

from diffseg_ros import config_files
from diffseg_ros.errors import DiffsegError
from diffseg_ros.ros import startup
import pytest

ROOT = Path(__file__).resolve().parents[2]
DEFAULTS = '<?xml version="1.0"?><dds xmlns="http://www.eprosima.com"><profiles/></dds>'
LOOKUP_THREADS = {'dds.tls.replies', 'dds.tls.request'}
SHIPPED = str(ROOT / 'config' / 'fastdds.xml')


@pytest.mark.parametrize(('distribution', 'own', 'old', 'after', 'old_after'), [
    ('', '', '', SHIPPED, ''),
    ('kilted', '/my.xml', '', '/my.xml', ''),
    ('kilted', '', '/old.xml', '', '/old.xml'),
    ('jazzy', '', '', SHIPPED, SHIPPED),
    ('jazzy', '/my.xml', '', '/my.xml', '/my.xml'),
    ('jazzy', '', '/old.xml', '', '/old.xml')])
def test_profile_is_set_under_the_name_that_fast_dds_reads_unless_the_user_has_one(
        monkeypatch, distribution, own, old, after, old_after):
    names = ('ROS_DISTRO', startup.PROFILE_VARIABLE, startup.OLD_PROFILE_VARIABLE)
    for name, value in zip(names, (distribution, own, old), strict=True):
        monkeypatch.setenv(name, value)
    profile = startup.use_large_message_profile()
    assert profile == (None if own or old else Path(SHIPPED))
    assert [os.environ[name] for name in names[1:]] == [after, old_after]


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
    code = ('from diffseg_ros.ros.startup import use_large_message_profile as use;'
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


@pytest.fixture(scope='module')
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    pytest.importorskip('rclpy', reason='rclpy is not installed')
    from node_rig import own_domain, Rig

    with own_domain() as domain, pytest.MonkeyPatch.context() as patch:
        patch.setenv(startup.PROFILE_VARIABLE, SHIPPED)
        patch.delenv(startup.OLD_PROFILE_VARIABLE, raising=False)
        rig = Rig(domain, tmp_path_factory.mktemp('transport'))
        try:
            rig.start()
            rig.client.until(lambda: 'no image yet' in rig.client.sentence)
            yield rig
        finally:
            rig.close()


def test_running_node_has_the_transports_of_the_profile_and_looks_no_types_up(rig):
    from stock_client import thread_names

    names = thread_names(rig.process.pid)
    assert not {name for name in names if name.startswith('dds.tls')}
    assert {name.split('.')[1] for name in names if name.startswith('dds')} >= {'shm', 'udp', 'ev'}
    maps = Path(f'/proc/{rig.process.pid}/maps').read_text()
    sizes = [int(end, 16) - int(start, 16) for start, end in re.findall(
        r'(?m)^(\w+)-(\w+) .*/dev/shm/fastdds_[0-9a-f]+$', maps)]
    assert max(sizes) >= 64 * 2**20


def test_client_with_the_defaults_of_fast_dds_and_the_node_hear_each_other(rig, tmp_path):
    defaults = tmp_path / 'defaults.xml'
    defaults.write_text(DEFAULTS)
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, str(here / 'stock_client.py')], text=True, capture_output=True,
        timeout=90, env={**os.environ, startup.PROFILE_VARIABLE: str(defaults),
                         startup.OLD_PROFILE_VARIABLE: '', 'ROS_DOMAIN_ID': str(rig.domain),
                         'PYTHONPATH': os.pathsep.join((str(ROOT), str(here)))})
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == ['0', '1', '2']
    if os.environ.get('ROS_DISTRO') not in startup.FAST_DDS_2:
        assert LOOKUP_THREADS <= set(lines), 'the client was to run without the profile'


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='of glibc only')
def test_memory_that_images_leave_is_used_again():
    code = """
import resource, threading
import numpy as np
from diffseg_ros.ros.startup import keep_freed_memory
keep_freed_memory()
def frame():
    return [np.ones((480, 640), np.float32) for _ in range(10)]
def run():
    frame()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        frame()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
for target in (run, threading.Thread(target=run).start):
    target()
"""
    faults = subprocess.run([sys.executable, '-c', code], text=True, check=True, cwd=ROOT,
                            capture_output=True).stdout.split()
    # A frame has 3000 pages.
    assert len(faults) == 2 and max(map(int, faults)) < 3000
