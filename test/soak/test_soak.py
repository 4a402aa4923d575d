"""The short form of the soak: twelve seconds with a pipeline that needs no model."""

from __future__ import annotations

from pathlib import Path
import sys

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
sys.path.append(str(Path(__file__).parent))
from soak import judge, Record, ROOT, soak  # noqa: E402

STUB = (str(ROOT / 'test' / 'ros' / 'stub_node.py'),)
COUNTS = {'received': '90', 'processed': '60', 'failed': '0', 'idle': '0', 'dropped': '30'}


@pytest.mark.slow
def test_busy_node_neither_grows_nor_loses_count():
    report = soak(1 / 5, program=STUB, delay=0.06)
    # How fast it is, and what it still loads after some seconds, depends on who shares the cores.
    assert [problem for problem in report['problems'] if 'memory' not in problem] == []
    assert report['memory_growth'] < 0.1
    assert report['processed'] > 5 and report['dropped'] > 0


def record(*, growth: float = 0.0, delay: float = 0.0) -> Record:
    return Record(90, [(second, 100 + growth * second) for second in range(60)],
                  [(second, 50 + delay * second) for second in range(60)])


@pytest.mark.parametrize(('seen', 'counts', 'problem'), [
    (record(), COUNTS, ''),
    (record(growth=1), COUNTS, 'memory grew'),
    (record(delay=100), COUNTS, 'age rose'),
    (record(), COUNTS | {'dropped': '29'}, '90 received, 89 accounted for'),
    (record(), COUNTS | {'failed': '1', 'dropped': '29'}, '1 failed')])
def test_problems_are_seen(seen, counts, problem):
    problems = judge(seen, counts, 60.0)['problems']
    assert len(problems) == bool(problem)
    assert problem in ''.join(problems)
