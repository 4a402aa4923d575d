"""The example of docs/testing_recordings.md runs, and finds what changed."""

from __future__ import annotations

import json
import os
from pathlib import Path
import re
import runpy
import subprocess
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_example_accepts_the_golden_report_and_refuses_another(tmp_path: Path):
    guide = (ROOT / 'docs' / 'testing_recordings.md').read_text()
    example = tmp_path / 'test_recordings.py'
    example.write_text(re.search(r'```python\n(.*?)```', guide, re.S)[1])
    (tmp_path / 'room' / 'rgb').mkdir(parents=True)
    blocks = np.kron(np.random.default_rng(0).integers(0, 255, (3, 4, 3), np.uint8),
                     np.ones((40, 40, 1), np.uint8))
    for number in range(3):
        path = tmp_path / 'room' / 'rgb' / f'{number:06d}.png'
        cv2.imwrite(str(path), np.roll(blocks, number, 1))
    commands = tmp_path / 'bin'
    commands.mkdir()
    script = commands / 'diffseg_replay'
    script.write_text(f'#!{sys.executable}\nimport sys\nfrom diffseg_ros.cli.replay import main\n'
                      'sys.exit(main())\n')
    script.chmod(0o755)
    environment = {**os.environ, 'PATH': f'{commands}:{os.environ["PATH"]}',
                   'PYTHONPATH': str(ROOT)}
    (tmp_path / 'room.yaml').write_text('/**: {ros__parameters: {backbone: {tokens: 192}}}\n')

    def run(*arguments: str) -> int:
        return subprocess.run([sys.executable, *arguments], cwd=tmp_path, env=environment,
                              capture_output=True, check=False).returncode

    assert run(str(example), str(tmp_path / 'out')) == 0
    golden = tmp_path / 'room.golden.json'
    assert json.loads(golden.read_text())['frames'] == 3
    assert run('-m', 'pytest', '-q', '-p', 'no:cacheprovider', str(example)) == 0
    module = SimpleNamespace(**runpy.run_path(str(example)))
    measured = json.loads(golden.read_text())
    refused = module.test_recording
    for name, (relative, absolute) in module.TOLERANCES.items():
        wrong = measured[name] + 1.01 * max(relative * measured[name], absolute) + 0.01
        refused.__globals__['measure'] = lambda *_, name=name, wrong=wrong: {
            **measured, name: wrong}
        with pytest.raises(AssertionError, match=name):
            refused(tmp_path / 'room', tmp_path)
