"""Depth arrays: metres as float32, NaN where there is no measurement."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def metres_from_units(units: npt.NDArray[np.uint16],
                      per_metre: float) -> npt.NDArray[np.float32]:
    """
    Return depth in metres from integer units, NaN where a unit is 0.

    Parameters
    ----------
    units
        (H, W) uint16.
    per_metre
        Units in one metre: 1000 for millimetres.

    """
    metres = units.astype(np.float32)
    metres /= np.float32(per_metre)
    metres[units == 0] = np.nan
    return metres


def valid_metres(metres: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """
    Return `metres` with 0, negative and infinite values set to NaN.

    The array itself comes back, not a copy, when there is nothing to change.
    """
    # NaN compares false, so depth that already marks holes by NaN costs no copy.
    invalid = (metres <= 0) | (metres == np.inf)
    if not invalid.any():
        return metres
    return np.where(invalid, np.float32(np.nan), metres)
