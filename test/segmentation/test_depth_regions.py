"""What depth's objects and surfaces do to the segments of the method `regions`."""

from dataclasses import replace

import cv2
from depth_rooms import box, plane, view
from diffseg_ros.types import Intrinsics, SegmentKind
import numpy as np
import pytest
from scenes import noise, segment
import torch

FEATURES = torch.ones(2, 24, 32)


def found(frame, **values):
    """Return the segments, of features that all are alike."""
    return segment(frame, FEATURES, centre=False,
                   **{f'regions__{name}': value for name, value in values.items()})


def coloured(frame, truth, *greys, spread=2):
    """Return the frame with each thing in its grey, and a little noise."""
    grey = np.array(greys)[truth] + np.random.default_rng(0).normal(0, spread, truth.shape)
    return replace(frame, rgb=np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2))


def table_and_box(box_grey=120):
    frame, truth = view([plane(1, 0.6), box((0, 0.55, 0.9), (0.14, 0.1, 0.1))], pitch=40)
    return coloured(frame, truth, 120, box_grey), truth


def best_overlap(labels, mask):
    """Return the largest intersection over union of a segment and a mask."""
    inside = np.bincount(labels[mask], minlength=labels.max() + 1)
    return (inside / (np.bincount(labels.ravel()) + mask.sum() - inside)).max()


def test_a_box_of_the_tables_colour_is_a_segment_by_depth():
    frame, truth = table_and_box()
    segments = found(frame)
    assert best_overlap(segments.labels, truth == 1) > 0.8
    assert segments.kinds[np.bincount(segments.labels[truth == 1]).argmax()] is SegmentKind.OBJECT
    for other in (found(frame, objects=0.0), found(replace(frame, depth=None))):
        assert best_overlap(other.labels, truth == 1) < 0.3


def test_objects_count_without_other_cues_of_depth():
    frame, truth = table_and_box(130)
    off = {'geometry': 0.0, 'depth_steps': 0.0, 'threshold': 0.2}
    assert best_overlap(found(frame, **off).labels, truth == 1) > 0.8
    assert best_overlap(found(frame, objects=0.0, **off).labels, truth == 1) < 0.3


def test_a_patterned_wall_comes_in_fewer_segments():
    frame, _ = view([plane(2, 2.0)])
    pattern = cv2.resize(noise(6, 8), (320, 240), interpolation=cv2.INTER_NEAREST)
    frame = replace(frame, rgb=(100 + pattern // 2).astype(np.uint8))
    counts = [len(found(frame, surfaces=share).embeddings) for share in (0.0, 0.5, 1.0)]
    assert counts[0] > counts[1] >= counts[2]
    assert {*found(frame).kinds} == {SegmentKind.WALL}


@pytest.mark.parametrize('seed', range(3))
def test_off_they_change_no_label(seed):
    frame, _ = view([plane(1, 0.6), plane(2, 2.0), box((0, 0.5, 0.9), (0.2, 0.2, 0.2))], pitch=25)
    rgb = cv2.GaussianBlur(noise(240, 320, seed), (0, 0), 6)
    rgb = cv2.normalize(rgb, None, 0, 255, cv2.NORM_MINMAX)
    # Without intrinsics a field of view of 60 degrees is assumed, so this camera's are the same.
    focal = 160 / np.tan(np.radians(30))
    frame = replace(frame, rgb=rgb, intrinsics=Intrinsics(320, 240, focal, focal, 159.5, 119.5))
    off = found(frame, objects=0.0, surfaces=0.0)
    without = found(replace(frame, intrinsics=None))
    np.testing.assert_array_equal(off.labels, without.labels)
    np.testing.assert_array_equal(off.confidence, without.confidence)
    assert off.kinds and not without.kinds
    assert not np.array_equal(found(frame).labels, off.labels)
