"""From what a model predicts to metres, by the pixels whose depth is known."""

from __future__ import annotations

from typing import NamedTuple

from diffseg_ros.depth.base import DepthKind, KnownDepth
from diffseg_ros.errors import DiffsegError
from diffseg_ros.types import DepthImage
import numpy as np
import numpy.typing as npt

FARTHEST = 1000.0
"""Metres from which on predicted depth counts as infinite."""

_LEAST_POINTS, _LEAST_SHARE, _LEAST_SPREAD, _LARGEST_RESIDUAL = 20, 0.4, 0.02, 0.3
_STANDARD_ERRORS = 10
_MOST_POINTS, _SCORED, _HYPOTHESES = 5000, 512, 512
_EXACT = 0.001
_ROUNDS = 12
_ROUNDING = 1e-6
_GAUSSIAN = 1.4826
"""Standard deviation of normal errors over the median of their sizes."""
_INLIER, _BIWEIGHT = 2.5, 3.5

Array = npt.NDArray[np.float64]


class Alignment(NamedTuple):
    """
    How the values of a prediction become metres.

    Attributes
    ----------
    scale, shift
        scale * value + shift are metres, or 1 / metres of an INVERSE model.
    residual
        Standard deviation of the relative error of the metres of inliers, found from its median;
        NaN where nothing is known, which only a METRIC model can do without.
    inliers
        Share of the known points whose error is at most 2.5 residuals, 0 to 1.
    points
        How many known points were used.

    """

    scale: float
    shift: float
    residual: float
    inliers: float
    points: int = 0


class _Line(NamedTuple):
    """A line value = slope * target + offset, and the (N,) relative errors of the depth."""

    slope: float
    offset: float
    errors: Array


def align(values: npt.NDArray[np.float32], kind: DepthKind, known: KnownDepth) -> Alignment | None:
    """
    Return the scale and shift that fit (H, W) predicted values to the depth that is known.

    Errors count relative to the depth. Known points that do not agree with the others are left
    out, if they are fewer than 60 % or agree on nothing else. Values that are not finite count as
    unknown; METRIC values are only compared. None where no scale can be told:

    - fewer than 20 points are known, less than 40 % of them agree, or to no better than 30 %;
    - the depth of those that agree varies by less than 2 %;
    - the scale is not above 0 by ten times its standard error.

    The lines through 512 pairs of points are scored by the function of Geman and McClure, two
    thirds as wide as the least median error among them. The best one is refined by reweighted
    least squares with Tukey's biweight, with the size of errors found anew each time. Values are
    regressed on the known depth and not the other way round: errors of the model are the larger
    ones, and errors of the regressor would flatten the scale. Of more than 5000 points so many are
    used, the same each time.

    Sources: Rousseeuw, "Least median of squares regression", JASA 1984; Geman and McClure,
    "Statistical methods for tomographic image reconstruction", 1987; Huber and Ronchetti, "Robust
    statistics", 2009, chapter 7, for the refinement; MiDaS (Ranftl et al., TPAMI 2022) for
    scale and shift of a whole image.
    """
    rng = np.random.default_rng(0)
    predicted, metres = _usable(values, _some(known, rng))
    count = len(metres)
    if kind is DepthKind.METRIC:
        errors = np.abs(predicted / metres - 1)
        residual = _deviation(errors, _GAUSSIAN * float(np.median(errors))) if count else np.nan
        return Alignment(1.0, 0.0, residual, _share(errors, residual), count)
    if count < _LEAST_POINTS:
        return None
    low, middle, high = np.quantile(predicted, (0.1, 0.5, 0.9)).tolist()
    spread = high - low
    if not spread > _ROUNDING * abs(middle):
        return None
    target = metres if kind is DepthKind.AFFINE else 1 / metres
    line = _robust_line((predicted - middle) / spread, target, rng)
    if line is None:
        return None
    residual = _deviation(line.errors, _GAUSSIAN * float(np.median(line.errors)))
    inliers = _share(line.errors, residual)
    if not _certain(1 / target[line.errors <= _INLIER * residual], residual, inliers):
        return None
    scale = 1 / (line.slope * spread)
    return Alignment(scale, -(middle + line.offset * spread) * scale, residual, inliers, count)


def to_metres(values: npt.NDArray[np.float32], kind: DepthKind,
              alignment: Alignment) -> DepthImage:
    """
    Return the depth of (H, W) values, NaN where it is not above 0 or not below 1000 m.

    Far things that an INVERSE model puts at or behind infinity are among these.
    """
    metres = values * np.float32(alignment.scale)
    metres += np.float32(alignment.shift)
    with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
        if kind is DepthKind.INVERSE:
            np.divide(np.float32(1), metres, out=metres)
        metres[~((metres > 0) & (metres < FARTHEST))] = np.nan
    return metres


def _some(known: KnownDepth, rng: np.random.Generator) -> KnownDepth:
    """Return at most 5000 of the points, one of each run, so that all of the image counts."""
    count = len(known.metres)
    if count <= _MOST_POINTS:
        return known
    rows, columns, metres = known
    chosen = ((np.arange(_MOST_POINTS) + rng.random(_MOST_POINTS))
              * (count / _MOST_POINTS)).astype(np.intp)
    return KnownDepth(rows[chosen], columns[chosen], metres[chosen])


def _usable(values: npt.NDArray[np.float32], known: KnownDepth) -> tuple[Array, Array]:
    """Return (N,) values and metres where both can be used."""
    rows, columns, metres = known
    if not len(rows) == len(columns) == len(metres):
        raise DiffsegError(f'known depth: {len(rows)} rows, {len(columns)} columns, '
                           f'{len(metres)} metres; one of each is needed per pixel')
    height, width = values.shape
    if len(rows) and not (0 <= rows.min() and rows.max() < height
                          and 0 <= columns.min() and columns.max() < width):
        raise DiffsegError(f'known depth: pixels from ({rows.min()}, {columns.min()}) to '
                           f'({rows.max()}, {columns.max()}) in an image of {height} rows and '
                           f'{width} columns; give the pixels of the predicted image')
    predicted = values[rows, columns]
    usable = np.isfinite(predicted) & (metres > 0) & (metres < np.inf)
    return predicted[usable].astype(np.float64), metres[usable].astype(np.float64)


def _robust_line(values: Array, target: Array, rng: np.random.Generator) -> _Line | None:
    """Return the line that most points agree with, None where it does not rise."""
    # Divided by the target, errors are relative, and the slope becomes the constant term.
    ratio, inverse = values / target, 1 / target
    start = _best_pair(ratio, inverse, rng)
    if start is None:
        return None
    slope, offset, deviation = start[0], start[1], _GAUSSIAN * start[2]
    errors = np.abs(ratio - slope - offset * inverse) / slope
    for _ in range(_ROUNDS):
        # It never grows: what agrees to a little would be smeared over what does not.
        deviation = min(deviation, _deviation(errors, deviation, 1))
        weight = np.square(1 - np.minimum(np.square(errors / (_BIWEIGHT * deviation)), 1))
        total = weight.sum()
        if not total > 0:
            return None
        centred = inverse - weight @ inverse / total
        variance = weight @ np.square(centred)
        if not variance > 0:
            return None
        offset = (weight * centred) @ ratio / variance
        slope = weight @ (ratio - offset * inverse) / total
        if not slope > 0:
            return None
        errors = np.abs(ratio - slope - offset * inverse) / slope
    return _Line(float(slope), float(offset), errors)


def _best_pair(ratio: Array, inverse: Array,
               rng: np.random.Generator) -> tuple[float, float, float] | None:
    """Return slope, offset and median error of the line through two points that fits best."""
    if len(ratio) > _SCORED:
        chosen = rng.choice(len(ratio), _SCORED, replace=False)
        ratio, inverse = ratio[chosen], inverse[chosen]
    one, other = rng.integers(0, len(ratio), (2, _HYPOTHESES))
    with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
        offsets = (ratio[one] - ratio[other]) / (inverse[one] - inverse[other])
        slopes = ratio[one] - offsets * inverse[one]
        rising = np.isfinite(offsets) & (slopes > 0)
    slopes, offsets = slopes[rising], offsets[rising]
    if not len(slopes):
        return None
    # Errors of values, not of depth: else one depth for all of a wall were the best line.
    errors = np.abs(ratio - slopes[:, None] - offsets[:, None] * inverse)
    medians = np.partition(errors, len(ratio) // 2, axis=1)[:, len(ratio) // 2]
    errors *= 1.5 / max(medians.min(), _ROUNDING)
    best = (1 / (1 + np.square(errors, out=errors))).sum(axis=1).argmax()
    return float(slopes[best]), float(offsets[best]), float(medians[best] / slopes[best])


def _deviation(errors: Array, start: float, rounds: int = _ROUNDS) -> float:
    """
    Return the standard deviation of (N,) sizes of errors, most of which are normal.

    Only errors up to 2.5 times what was found before count. It is at least 0.001: no camera
    measures better.
    """
    deviation = max(start, _EXACT)
    for _ in range(rounds):
        inside = errors[errors <= _INLIER * deviation]
        if len(inside):
            deviation = max(float(_GAUSSIAN * np.median(inside)), _EXACT)
    return deviation


def _share(errors: Array, residual: float) -> float:
    return float(np.mean(errors <= _INLIER * residual)) if len(errors) else 0.0


def _certain(inverse: Array, residual: float, share: float) -> bool:
    """Return whether points that agree tell the scale; `inverse` is 1 / target of these."""
    size = np.sqrt(np.square(inverse).mean()) if len(inverse) else 0.0
    if share < _LEAST_SHARE or residual > _LARGEST_RESIDUAL or not size > 0:
        return False
    spread = inverse.std() / size
    return bool(spread >= _LEAST_SPREAD and
                _STANDARD_ERRORS * residual <= spread * np.sqrt(len(inverse)))
