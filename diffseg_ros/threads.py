"""How many threads small linear algebra uses."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

from threadpoolctl import ThreadpoolController


def one_blas_thread() -> AbstractContextManager[object]:
    """
    Return a context in which NumPy's and SciPy's matrix products use one thread.

    Products of a few hundred rows gain nothing from more, and where other processes keep the
    cores busy, as on a robot, waiting for the slower thread makes them ten times slower.
    """
    return _controller().limit(limits=1, user_api='blas')


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
