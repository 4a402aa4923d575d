"""When Lanczos' method has the leading eigenvector: its tridiagonal matrix and the residual."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg import lapack

_ANGLE = 0.00005
_CERTAIN = 0.25
_LEAST_RESIDUAL = 1e-6

FloatVector = npt.NDArray[np.float64]


def largest(diagonal: FloatVector, beside: FloatVector,
            count: int) -> tuple[FloatVector, FloatVector]:
    """Return a tridiagonal matrix's largest eigenvalues, ascending, and vectors in columns."""
    size = len(diagonal)
    count = min(count, size)
    _, values, vectors, _ = lapack.dstemr(diagonal, beside.copy(), 2, 0.0, 0.0, size - count + 1,
                                          size)
    return values[:count], vectors[:, :count]


class Convergence:
    """Watches the residual of the leading eigenvector."""

    def __init__(self, tau: float, third: float) -> None:
        self._tau = tau
        self._third = third
        self._step = 0
        self._residual = 0.0

    def steps_left(self, diagonal: FloatVector, beside: FloatVector, rest: float) -> int:
        """
        Return after how many steps to look again; 0 if the vector is good enough.

        It is once its angle to the true one is small, or its eigenvalue certain to be over tau.
        """
        step = len(diagonal)
        values, vectors = largest(diagonal, beside, 2)
        gap = float(values[-1] - max(values[-2], self._third))
        residual = rest * abs(float(vectors[-1, -1]))
        enough = max(_ANGLE * gap, _LEAST_RESIDUAL)
        if residual < enough or (1 - values[-1] - residual > self._tau
                                  and residual < _CERTAIN * gap):
            return 0
        least, longest = 2 + step // 8, 5 + step // 4
        wait = least
        if self._step and residual < self._residual:
            rate = np.log(self._residual / residual) / (step - self._step)
            wait = int(np.clip(np.log(residual / enough) / rate, least, longest))
        self._step, self._residual = step, residual
        return wait
