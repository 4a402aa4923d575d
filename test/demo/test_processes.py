"""Children end with the demo, and say why when they end before."""

from __future__ import annotations

import os
from pathlib import Path
import socket
import subprocess
import sys
import time

from diffseg_ros.demo import processes
from diffseg_ros.demo.processes import Child, child_environment, free_domain_id
from diffseg_ros.errors import DiffsegError
import pytest

MODULES = {
    'sleeper': 'import time\nprint("up", flush=True)\ntime.sleep(60)\n',
    'stubborn': 'import signal, time\n'
                'signal.signal(signal.SIGINT, signal.SIG_IGN)\n'
                'signal.signal(signal.SIGTERM, signal.SIG_IGN)\n'
                'print("up", flush=True)\ntime.sleep(60)\n',
    'failing': 'import sys\nprint("first")\nprint("the reason")\nsys.exit(3)\n',
}


@pytest.fixture
def start(tmp_path):
    for name, source in MODULES.items():
        (tmp_path / f'{name}.py').write_text(source)
    environment = child_environment(7)
    environment['PYTHONPATH'] += f'{os.pathsep}{tmp_path}'
    return lambda name: Child(name, name, [], tmp_path / f'{name}.log', environment)


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize('name', ['sleeper', 'stubborn'])
def test_a_child_is_gone_after_the_block_even_on_an_error(start, name):
    with pytest.raises(KeyboardInterrupt), start(name) as child:
        wait_for(lambda: 'up' in child.log_tail())
        raise KeyboardInterrupt
    assert child.process.poll() is not None
    assert not Path(f'/proc/{child.process.pid}').exists()


def test_a_child_ends_when_its_parent_is_killed(start, tmp_path):
    parent = tmp_path / 'parent.py'
    parent.write_text('from pathlib import Path\nimport time\n'
                      'from diffseg_ros.demo.processes import Child, child_environment\n'
                      'environment = child_environment(7)\n'
                      f'environment["PYTHONPATH"] += ":{tmp_path}"\n'
                      'child = Child("sleeper", "sleeper", [], '
                      f'Path("{tmp_path}/sleeper.log"), environment)\n'
                      'while "up" not in child.log_tail():\n    time.sleep(0.02)\n'
                      'print(child.process.pid, flush=True)\ntime.sleep(60)\n')
    process = subprocess.Popen([sys.executable, str(parent)], stdout=subprocess.PIPE,
                               env=child_environment(7), text=True)
    child = Path('/proc', process.stdout.readline().strip(), 'cmdline')
    assert b'sleeper' in child.read_bytes()
    process.kill()
    process.wait(60)
    # What is left of it until some ancestor reaps it has no command line.
    wait_for(lambda: not child.exists() or not child.read_bytes())


def test_a_child_that_fails_is_reported_with_its_last_words(start):
    with start('failing') as child:
        wait_for(lambda: child.process.poll() is not None)
        with pytest.raises(DiffsegError, match=r'(?s)failing ended with exit code 3.*the reason'):
            child.check()


def test_environment_drops_the_wheels_mark_with_their_path(monkeypatch):
    monkeypatch.setenv('LD_LIBRARY_PATH', '/opt/ros/lib')
    monkeypatch.setenv('_ROS_WHEELS_BOOTSTRAP_COMPLETE', '1')
    environment = child_environment(42)
    assert environment['ROS_DOMAIN_ID'] == '42'
    assert '_ROS_WHEELS_BOOTSTRAP_COMPLETE' not in environment
    assert 'LD_LIBRARY_PATH' not in environment
    monkeypatch.delenv('_ROS_WHEELS_BOOTSTRAP_COMPLETE')
    assert child_environment(42)['LD_LIBRARY_PATH'] == '/opt/ros/lib'


def test_a_domain_in_use_is_not_chosen(monkeypatch):
    # Other tests use domains below 102 meanwhile.
    monkeypatch.setattr(processes, '_DOMAINS', range(220, 222))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as participant:
        participant.bind(('', 7400 + 250 * 220 + 10))
        assert {free_domain_id() for _ in range(6)} == {221}
        monkeypatch.setattr(processes, '_DOMAINS', range(220, 221))
        with pytest.raises(DiffsegError, match='no free ROS domain'):
            free_domain_id()
