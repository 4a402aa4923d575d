import cv2
from diffseg_ros.depth.triangulation import Triangulator
from diffseg_ros.geometry.camera import ray_table
from diffseg_ros.types import Intrinsics
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

LENSES = [((), 'plumb_bob'), ((-0.35, 0.15, 0.001, -0.001, -0.03), 'plumb_bob'),
          ((-0.0091, 0.0065, -0.0077, 0.0022), 'equidistant')]
CAMERA = Intrinsics(320, 240, 260.0, 260.0, 160.0, 120.0)
TEXTURE = np.clip(128 + 40 * sum(
    cv2.GaussianBlur(np.random.default_rng(size).standard_normal((1024, 1024)), (0, 0), size)
    * size * 2 for size in (2, 4, 8)), 0, 255).astype(np.uint8)


def place(x=0.0, y=0.0, z=0.0, turn=(0, 0, 0)):
    """Return a camera-to-world pose; the turn is a rotation vector in degrees."""
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec(np.deg2rad(turn)).as_matrix()
    pose[:3, 3] = x, y, z
    return pose


def see(pose, camera=CAMERA):
    """Return an image of a wall at z = 3 with a board at z = 1.5 before it, and the depth."""
    rays = np.stack([*np.broadcast_arrays(*ray_table(camera)),
                     np.ones((camera.height, camera.width), np.float32)], axis=-1)
    world = rays @ pose[:3, :3].T
    depth, grey = np.zeros(rays.shape[:2]), np.zeros(rays.shape[:2], np.uint8)
    for distance, offset in ((3.0, 0), (1.5, 500)):
        metres = (distance - pose[2, 3]) / world[..., 2]
        x, y = (metres * world[..., axis] + pose[axis, 3] for axis in (0, 1))
        seen = (np.abs(x + 0.3) < 0.4) & (np.abs(y) < 0.5) if offset else np.isfinite(metres)
        colour = cv2.remap(TEXTURE, *((250 * part + 512 + offset).astype(np.float32)
                                      for part in (x, y)), cv2.INTER_LINEAR,
                           borderMode=cv2.BORDER_WRAP)
        depth[seen], grey[seen] = metres[seen], colour[seen]
    return np.repeat(grey[..., None], 3, axis=2), depth


def follow(poses, camera=CAMERA, told=None):
    """Return what is known at each pose, and the true depth at the last one."""
    triangulator = Triangulator()
    known = [triangulator.update(see(pose, camera)[0], given, camera)
             for pose, given in zip(poses, told or poses)]
    return known, see(poses[-1], camera)[1]


@pytest.mark.parametrize(('distortion', 'model'), LENSES)
def test_a_moving_camera_knows_the_depth_of_corners(distortion, model):
    camera = Intrinsics(320, 240, 260.0, 260.0, 160.0, 120.0, distortion, model)
    known, depth = follow([place(0.06 * step, 0.02 * step, 0.02 * step, (0, step, 2 * step))
                           for step in range(5)], camera)
    assert known[0] is None
    error = np.abs(known[-1].metres / depth[known[-1].rows, known[-1].columns] - 1)
    assert len(error) > 60 and np.median(error) < 0.02 and np.quantile(error, 0.9) < 0.06
    assert {part.dtype for part in known[-1][:2]} == {np.dtype(np.intp)}
    assert known[-1].metres.dtype == np.float32
    assert known[-1].metres.min() < 1.7 and known[-1].metres.max() > 2.6


def test_what_a_lens_does_not_tell_costs_its_corners_only():
    camera = Intrinsics(320, 240, 220.0, 220.0, 160.0, 120.0, (-0.35, 0.0, 0.0, 0.0, 0.0))
    known, depth = follow([place(0.06 * step, 0.02 * step, 0.02 * step, (0, step, 2 * step))
                           for step in range(5)], camera)
    assert known[2] is not None
    error = np.abs(known[-1].metres / depth[known[-1].rows, known[-1].columns] - 1)
    assert len(error) > 40 and np.median(error) < 0.02


def test_depth_is_given_at_pixels_of_a_large_image():
    camera = CAMERA.resized(960, 720)
    known, depth = follow([place(0.08 * step) for step in range(4)], camera)
    error = np.abs(known[-1].metres / depth[known[-1].rows, known[-1].columns] - 1)
    assert known[-1].columns.max() > 640 and np.median(error) < 0.02


@pytest.mark.parametrize('poses', [[place()] * 4,
                                   [place(turn=(0, 3 * step, step)) for step in range(5)],
                                   [place(0.002 * step, turn=(0, 3 * step, 0))
                                    for step in range(5)]])
def test_a_standing_or_turning_camera_knows_nothing(poses):
    assert follow(poses)[0] == [None] * len(poses)


def test_turns_of_poses_may_be_off_a_little():
    poses = [place(0.06 * step) for step in range(6)]
    rng = np.random.default_rng(0)
    told = [pose @ place(turn=0.15 * rng.standard_normal(3)) for pose in poses]
    known, depth = follow(poses, told=told)
    error = np.abs(known[-1].metres / depth[known[-1].rows, known[-1].columns] - 1)
    assert len(error) > 60 and np.median(error) < 0.08


def test_poses_that_jump_give_nothing_until_they_are_right_again():
    poses = [place(0.08 * step) for step in range(8)]
    told = [place(5, 2, 1, (0, 30, 0)) @ pose if step > 3 else pose
            for step, pose in enumerate(poses)]
    known, depth = follow(poses, told=told)
    assert known[3] is not None and known[4] is None and known[-1] is not None
    error = np.abs(known[-1].metres / depth[known[-1].rows, known[-1].columns] - 1)
    assert np.median(error) < 0.02
    # The pose moves, the image does not, or the other way round.
    for way in ((0.1, 0, 0), (0, 0.1, 0), (0, 0, 0.1)):
        assert follow([place()] * 3, told=[place(*(step * np.array(way))) for step in range(3)]
                      )[0] == [None] * 3
    assert follow(poses[:4], told=[place(0, 0.08 * step) for step in range(4)])[0][-1] is None


def test_far_scenes_wait_for_a_long_baseline():
    triangulator, known, camera = Triangulator(), [], CAMERA.resized(160, 120)
    for step in range(40):
        pose = place(0.06 * step)
        rgb, depth = see(place(0.003 * step), camera)
        known.append(triangulator.update(rgb, pose, camera))
    # All is 20 times as large as the wall and the board are.
    error = np.abs(known[-1].metres / (20 * depth[known[-1].rows, known[-1].columns]) - 1)
    assert known[20] is None and np.median(error) < 0.03


def test_a_change_of_size_begins_anew():
    triangulator, small = Triangulator(), CAMERA.resized(160, 120)
    for step, camera in enumerate((CAMERA, CAMERA, CAMERA, small, small, small)):
        pose = place(0.1 * step)
        known = triangulator.update(see(pose, camera)[0], pose, camera)
        if camera is small and step == 3:
            assert known is None
    assert known is not None and known.columns.max() < 160


@pytest.mark.filterwarnings('error')
def test_images_without_corners_and_bad_poses_give_nothing():
    triangulator = Triangulator()
    grey = np.full((240, 320, 3), 90, np.uint8)
    bad = place()
    bad[0, 3] = np.nan
    for rgb, pose in ((grey, place()), (grey, place(0.2)), (see(place())[0], bad),
                      (see(place(0.4))[0], place(0.4)), (grey[:2, :2], place(0.6))):
        assert triangulator.update(rgb, pose, CAMERA) is None
    triangulator.update(see(place())[0], place(), CAMERA)
    triangulator.reset()
    assert triangulator.update(see(place(0.3))[0], place(0.3), CAMERA) is None
