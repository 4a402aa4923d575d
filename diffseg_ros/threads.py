"""How many threads small linear algebra uses, and which thread goes first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
import os
import sys
import threading

from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_entered: list[AbstractContextManager[object]] = []
_count = 0


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """
    Use one thread for NumPy's and SciPy's matrix products.

    Products of a few hundred rows gain nothing from more, and where other processes keep the
    cores busy, as on a robot, waiting for the slower thread makes them ten times slower. The
    limit is the process's: it holds until the last of the threads that asked for it is done.
    """
    global _count
    with _lock:
        _count += 1
        if _count == 1:
            _entered.append(_controller().limit(limits=1, user_api='blas'))
            _entered[0].__enter__()
    try:
        yield
    finally:
        with _lock:
            _count -= 1
            if not _count:
                _entered.pop().__exit__(None, None, None)


def yield_to_others() -> None:
    """Give this thread a third of the weight of others where cores are short; Linux only."""
    if sys.platform == 'linux':
        here = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, here, min(19, os.getpriority(os.PRIO_PROCESS, here) + 5))


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
