"""Which depth measurements give points."""

from __future__ import annotations

from diffseg_ros.config import CloudConfig
import numpy as np
import numpy.typing as npt

_NAN = np.float32(np.nan)


def usable_depth(depth: npt.NDArray[np.float32],
                 config: CloudConfig) -> npt.NDArray[np.float32]:
    """
    Return a copy of the depth with NaN at every pixel that gives no point.

    Parameters
    ----------
    depth
        (H, W) metres; NaN, infinite values and values not above 0 are no measurements.
    config
        Range, and the removal of flying pixels.

    """
    farthest = config.max_depth or float(np.finfo(np.float32).max)
    keep = depth <= farthest
    keep &= depth >= config.min_depth if config.min_depth else depth > 0
    if config.flying_pixels:
        keep &= ~flying_pixels(depth, keep, config.flying_pixels)
    return np.where(keep, depth, _NAN)


def flying_pixels(depth: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_],
                  step: float) -> npt.NDArray[np.bool_]:
    """
    Return which pixels hang in the air between a foreground and its background.

    Such a pixel mixes both depths: along its row or its column one neighbour lies nearer and
    the other farther, both by more than `step` of its depth. A clean edge, where each pixel
    agrees with one side, loses nothing, nor does what is one pixel thin; a slanted surface
    does only where it falls by `step` from pixel to pixel.

    Parameters
    ----------
    depth, valid
        (H, W) metres, and which of them are measurements.
    step
        Relative difference in depth from which on a neighbour lies on another surface.

    """
    known = np.where(valid, depth, _NAN)
    flying = np.zeros(depth.shape, bool)
    # Both axes are views of the same arrays; NaN compares false, so holes are no neighbours.
    for metres, found in ((known, flying), (known.T, flying.T)):
        rise = metres[:, 1:] - metres[:, :-1]
        limit = metres[:, 1:-1] * np.float32(step)
        before, after = rise[:, :-1], rise[:, 1:]
        found[:, 1:-1] |= ((np.minimum(before, after) > limit)
                           | (np.maximum(before, after) < -limit))
    return flying
