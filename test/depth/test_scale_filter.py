from diffseg_ros.depth.alignment import align, to_metres
from diffseg_ros.depth.base import DepthKind
from diffseg_ros.depth.scale_filter import ScaleFilter
import numpy as np
import pytest
from spoiled_depth import know, predict, scene

RELATIVE = [DepthKind.AFFINE, DepthKind.INVERSE]
SECOND = 10**9
DEPTH = scene(4)


def predictions(kind, count, noise=0.02, depth=DEPTH):
    """Yield values whose scale and shift are others each time."""
    rng = np.random.default_rng(3)
    for seed in range(count):
        yield predict(depth, kind, rng.uniform(0.3, 4), rng.uniform(-1, 1), noise, seed)


def run(kind, values, sources, scale_filter=None, *, start=0, carried=None):
    """Return the metres of each prediction; the camera stands, so that depth stays in place."""
    scale_filter, found = scale_filter or ScaleFilter(), []
    for step, (prediction, known) in enumerate(zip(values, sources)):
        measured = known and align(prediction, kind, known)
        alignment = scale_filter.update(prediction, kind, measured, carried,
                                        start + step * SECOND // 5)
        metres = alignment and to_metres(prediction, kind, alignment)
        carried = None if metres is None else know(metres)
        found.append(metres)
    return found


@pytest.mark.parametrize('kind', RELATIVE)
def test_what_was_known_before_makes_depth_steadier(kind):
    values = list(predictions(kind, 20))
    sources = [know(DEPTH, 0.2, 30, seed) for seed in range(20)]
    alone = [to_metres(prediction, kind, align(prediction, kind, known))
             for prediction, known in zip(values, sources)]
    wrong, steadier = (np.mean([abs(np.quantile(metres / DEPTH, (0.2, 0.8)) - 1).max()
                                for metres in part[5:]])
                       for part in (alone, run(kind, values, sources)))
    assert steadier < wrong
    shifts, smooth = (np.std([np.median(metres) for metres in part[5:]])
                      for part in (alone, run(kind, values, sources)))
    assert smooth < 0.9 * shifts


@pytest.mark.parametrize('kind', RELATIVE)
def test_a_jump_is_followed_and_a_cut_at_once(kind):
    values = list(predictions(kind, 8))
    # The scale itself: from the fifth image on the source says 1.5 times as far.
    sources = [know(DEPTH * np.float32(1.5 if step > 3 else 1), 0.1, 200, step)
               for step in range(8)]
    found = [np.median(metres / DEPTH) for metres in run(kind, values, sources)]
    np.testing.assert_allclose(found, [1] * 5 + [1.5] * 3, rtol=0.02)
    # A cut: the depth of before fits nothing.
    other = DEPTH[::-1, ::-1] * np.float32(0.6)
    values[4:] = predictions(kind, 4, depth=other)
    sources = [know(other if step > 3 else DEPTH, 0.1, 200, step) for step in range(8)]
    after = run(kind, values, sources)[4:]
    np.testing.assert_allclose([np.median(metres / other) for metres in after], 1, rtol=0.03)


@pytest.mark.parametrize('kind', RELATIVE)
def test_a_single_wrong_image_does_not_count(kind):
    sources = [know(DEPTH * np.float32(2 if step == 3 else 1), 0.1, 200, step)
               for step in range(6)]
    found = run(kind, predictions(kind, 6), sources)
    np.testing.assert_allclose([np.median(metres / DEPTH) for metres in found], 1, rtol=0.02)


@pytest.mark.parametrize('kind', RELATIVE)
def test_depth_lasts_a_while_without_a_source(kind):
    values = list(predictions(kind, 40))
    found = run(kind, values, [know(DEPTH, 0.1, 200)] + [None] * 39)
    for metres in found[1:25]:
        assert np.median(metres / DEPTH) == pytest.approx(1, abs=0.03)
    assert all(metres is None for metres in found[27:])


@pytest.mark.parametrize('kind', RELATIVE)
def test_without_carried_depth_or_after_a_reset_the_measured_one_counts(kind):
    prediction, later = predictions(kind, 2)
    measured, again = (align(part, kind, know(DEPTH, 0.1, 100)) for part in (prediction, later))
    scale_filter = ScaleFilter()
    assert scale_filter.update(prediction, kind, None, know(DEPTH), 0) is None
    assert scale_filter.update(prediction, kind, measured, know(DEPTH), 0) == measured
    assert scale_filter.update(later, kind, again, None, SECOND) == again
    assert scale_filter.update(later, kind, again, know(DEPTH), 2 * SECOND) != again
    # Time runs backwards, or much of it is gone.
    assert scale_filter.update(later, kind, again, know(DEPTH), SECOND) == again
    assert scale_filter.update(later, kind, again, know(DEPTH), 60 * SECOND) == again
    scale_filter.reset()
    assert scale_filter.update(later, kind, again, know(DEPTH), 60 * SECOND) == again
    assert scale_filter.update(later, kind, None, None, 61 * SECOND) is None


def test_metric_depth_is_not_smoothed():
    scale_filter = ScaleFilter()
    measured = align(DEPTH, DepthKind.METRIC, know(DEPTH))
    for stamp in (0, SECOND):
        assert scale_filter.update(DEPTH, DepthKind.METRIC, measured, know(2 * DEPTH),
                                   stamp) is measured
