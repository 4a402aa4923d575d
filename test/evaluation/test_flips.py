"""flip_rate on planes that are moved by a known amount."""

from __future__ import annotations

from dataclasses import replace

from diffseg_ros.errors import DiffsegError
from diffseg_ros.evaluation.flips import FlipAccumulator, landing_pixels
from diffseg_ros.geometry.point_cloud import labelled_cloud
from diffseg_ros.types import Frame, Intrinsics
import numpy as np
import pytest

CAMERA = Intrinsics(20, 20, 100.0, 100.0, 9.5, 9.5)
HALVES = np.repeat(np.array([[1, 2]], np.int32), 10, axis=1).repeat(20, axis=0)


def pose(x: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """Return the pose of a camera at (x, 0, 0), turned about its optical axis by degrees."""
    cosine, sine = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    matrix = np.eye(4)
    matrix[:2, :2] = (cosine, -sine), (sine, cosine)
    matrix[0, 3] = x
    return matrix


def flips(*frames: tuple[np.ndarray, np.ndarray | float, np.ndarray],
          camera: Intrinsics = CAMERA) -> FlipAccumulator:
    """Return the accumulator after frames of (labels, depth, pose)."""
    accumulator = FlipAccumulator()
    for labels, depth, camera_pose in frames:
        metres = np.broadcast_to(np.float32(depth), (20, 20)).copy()
        frame = Frame(np.zeros((20, 20, 3), np.uint8), depth=metres, intrinsics=camera)
        accumulator.add(labelled_cloud(frame, labels), camera, camera_pose)
    return accumulator


def moved(labels: np.ndarray) -> np.ndarray:
    """Return the plane's labels as a camera sees them that moved 5 pixels to the right."""
    return np.concatenate([labels[:, 5:], np.full((20, 5), 9, np.int32)], axis=1)


def test_a_plane_five_pixels_on() -> None:
    # 100 * 0.1 / 2 = 5 columns leave the view on the left.
    found = flips((HALVES, 2.0, pose()), (moved(HALVES), 2.0, pose(0.1)))
    assert found.flip_rate() == 0
    assert found.compared_share() == pytest.approx(15 / 20)


def test_labels_that_stick_to_the_image_flip() -> None:
    # Of 15 columns that are compared 5 to 9 stay 1, 10 to 14 turn from 2 to 1, 15 to 19 stay 2.
    found = flips((HALVES, 2.0, pose()), (HALVES, 2.0, pose(0.1)))
    assert found.flip_rate() == pytest.approx(5 / 15)


def test_hidden_and_missing_depth_is_not_compared() -> None:
    depth = np.full((20, 20), 2.0)
    depth[:, :3] = 1.0
    depth[:, 3:5] = np.nan
    labels = moved(HALVES)
    labels[:, :5] = 7
    found = flips((HALVES, 2.0, pose()), (labels, depth, pose(0.1)))
    assert found.flip_rate() == 0
    assert found.compared_share() == pytest.approx(10 / 20)
    holes = np.full((20, 20), 2.0)
    holes[:5] = np.nan
    found = flips((HALVES, holes, pose()), (moved(HALVES), 2.0, pose(0.1)))
    assert found.compared_share() == pytest.approx(15 / 20 * 15 / 20)


@pytest.mark.parametrize(('depth', 'share'), [(2.049, 1), (1.951, 1), (2.051, 0), (1.949, 0)])
def test_five_centimetres(depth: float, share: float) -> None:
    found = flips((HALVES, 2.0, pose()), (HALVES, depth, pose()))
    assert found.compared_share() == share
    assert found.flip_rate() == (0 if share else None)


def test_unlabelled_is_a_flip() -> None:
    before, after = HALVES.copy(), HALVES.copy()
    before[:4] = after[2:6] = -1
    # Rows 0, 1 had none, 2, 3 never, 4, 5 have none now.
    assert flips((before, 2.0, pose()), (after, 2.0, pose())).flip_rate() == pytest.approx(6 / 20)


@pytest.mark.parametrize('distortion', [(), (0.5, -0.2, 0.0, 0.0, 0.1)])
def test_a_quarter_turn(distortion: tuple[float, ...]) -> None:
    camera = replace(CAMERA, distortion=distortion)
    labels = np.arange(400, dtype=np.int32).reshape(20, 20)
    found = flips((labels, 2.0, pose()), (np.rot90(labels).copy(), 2.0, pose(roll=90)),
                  camera=camera)
    assert (found.flip_rate(), found.compared_share()) == (0, 1)
    wrong = flips((labels, 2.0, pose()), (np.rot90(labels, -1).copy(), 2.0, pose(roll=90)),
                  camera=camera)
    assert wrong.flip_rate() == 1


def test_lens_distortion_bends_the_path() -> None:
    camera = replace(CAMERA, fx=10.0, fy=10.0, distortion=(0.3, 0.0, 0.0, 0.0))
    points = np.array([[0.5, 0, 1], [0, -0.5, 1], [0, 0, 1], [0, 0, -1]], np.float32)
    row, column, which = landing_pixels(points, camera)
    # 10 * 0.5 * (1 + 0.3 * 0.25) = 5.375 from the centre, and no point behind the camera.
    assert column.tolist() == [15, 10, 10] and row.tolist() == [10, 4, 10]
    assert which.tolist() == [0, 1, 2]
    straight = landing_pixels(points, replace(camera, distortion=()))
    assert straight[1].tolist() == [14, 10, 10]


def test_rays_beyond_the_lens_are_not_folded_into_the_image() -> None:
    camera = replace(CAMERA, distortion=(-0.3, 0.0, 0.0, 0.0))
    # The polynomial sends a ray of slope 1.8 to 1.8 * (1 - 0.3 * 3.24) = 0.05, in the image.
    points = np.array([[1.8, 0, 1], [0.05, 0, 1]], np.float32)
    assert landing_pixels(points, camera)[2].tolist() == [1]
    assert landing_pixels(points[:0], camera)[2].size == 0


def test_only_neighbours_are_compared() -> None:
    found = flips((HALVES, 2.0, pose()))
    assert (found.flip_rate(), found.compared_share()) == (None, None)
    found.skip()
    other = flips((HALVES, 2.0, pose()), (HALVES, 2.0, pose()), (HALVES + 5, 2.0, pose()))
    assert other.flip_rate() == pytest.approx(1 / 2)


def test_unknown_lens() -> None:
    camera = replace(CAMERA, distortion=(0.1,) * 4, distortion_model='fisheye')
    with pytest.raises(DiffsegError, match='fisheye'):
        landing_pixels(np.ones((1, 3), np.float32), camera)
