"""The scale of predicted depth, smoothed over time."""

from __future__ import annotations

from diffseg_ros.depth.alignment import align, Alignment
from diffseg_ros.depth.base import DepthKind, KnownDepth
import numpy as np
import numpy.typing as npt

_WANDER = 0.02
"""Relative error that depth carried by motion gains in a second."""
_INDEPENDENT = 100
"""Points that count at most: neighbours err alike."""
_LEAST_DEVIATION = 0.003
_DEVIATIONS, _LEAST_JUMP = 3.0, 0.05
_LONGEST = 5_000_000_000
_QUANTILES = 0.05, 0.25, 0.5, 0.75, 0.95
_EVERY = 64


class ScaleFilter:
    """
    Joins what is known of the scale in this image with what was known before.

    Scale and shift of a relative model are others in every image, and the depth of the scene
    changes as the camera moves: neither can be smoothed by itself. What lasts are the metres of
    things. So the metres of the image before, carried here by motion, are a second set of known
    points, which gives a second scale and shift of the same prediction. The two are averaged by
    their variances, as a Kalman filter does: that of this image from its residual and number of
    points, that from before grows with time. They contradict each other where they differ by three
    standard deviations and 5 % of the depth: once, this image is left out as a mistake; twice in a
    row, the scale jumped, and this image alone counts. At a cut carried depth fits nothing, and
    this image counts at once. `contradicted` says whether the last one was left out.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget what was known before, as at a cut or where time begins anew."""
        self._variance = 0.0
        self._stamp: int | None = None
        self._measured = 0
        self.contradicted = False

    def update(self, values: npt.NDArray[np.float32], kind: DepthKind, measured: Alignment | None,
               carried: KnownDepth | None, stamp: int) -> Alignment | None:
        """
        Return the alignment to use for (H, W) values, None if none is known.

        `measured` is what the sources of scale of this image gave, `carried` the depth given to
        the image before where motion has brought it, `stamp` the time in nanoseconds. Without a
        measured one the carried depth does for 5 s; without carried depth, or where it does not
        fit the prediction, the measured one counts alone. METRIC values have nothing to smooth.
        """
        if kind is DepthKind.METRIC:
            return measured
        elapsed = 0 if self._stamp is None else stamp - self._stamp
        expected = None
        if self._stamp is not None and 0 <= elapsed <= _LONGEST and carried is not None:
            expected = align(values, kind, carried)
        if measured is not None:
            self._measured = stamp
        elif expected is None or stamp - self._measured > _LONGEST:
            self.reset()
            return None
        self._stamp = stamp
        if expected is None:
            assert measured is not None
            return self._restarted(measured)
        self._variance += _variance(expected) + _WANDER**2 * elapsed / 1e9
        if measured is None:
            return expected
        return self._joined(values, expected, measured)

    def _restarted(self, measured: Alignment) -> Alignment:
        self._variance, self.contradicted = _variance(measured), False
        return measured

    def _joined(self, values: npt.NDArray[np.float32], expected: Alignment,
                measured: Alignment) -> Alignment:
        variance = _variance(measured)
        apart = _difference(values, expected, measured)
        if apart > max(_DEVIATIONS * np.sqrt(self._variance + variance), _LEAST_JUMP):
            if self.contradicted:
                return self._restarted(measured)
            self.contradicted = True
            return expected
        self.contradicted = False
        gain = self._variance / (self._variance + variance)
        self._variance *= 1 - gain
        # Both are of this prediction: between them metres, or 1 / metres, are linear.
        scale, shift = (before + gain * (now - before)
                        for before, now in zip(expected[:2], measured[:2], strict=True))
        return measured._replace(scale=scale, shift=shift)


def _variance(alignment: Alignment) -> float:
    """Return the variance of the relative error of the metres as a whole."""
    agreeing = min(max(alignment.inliers * alignment.points, 1), _INDEPENDENT)
    # Two unknowns share the evidence.
    return max(2 * alignment.residual**2 / agreeing, _LEAST_DEVIATION**2)


def _difference(values: npt.NDArray[np.float32], one: Alignment, other: Alignment) -> float:
    """Return by how much of the depth two alignments differ over an image, root mean square."""
    near_to_far = np.quantile(values[np.isfinite(values)][::_EVERY], _QUANTILES)
    first, second = (near_to_far * alignment.scale + alignment.shift for alignment in (one, other))
    valid = (first > 0) & (second > 0)
    if not valid.any():
        return np.inf
    return float(np.sqrt(np.square(np.log(first[valid] / second[valid])).mean()))
