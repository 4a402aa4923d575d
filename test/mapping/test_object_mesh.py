"""Objects of known shapes, seen from one side: what is fused, completed and refused."""

from dataclasses import replace

from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.camera import ray_table
from diffseg_ros.io.ply import write_mesh
from diffseg_ros.mapping import object_files
from diffseg_ros.mapping.object_mesh import object_mesh
from diffseg_ros.mapping.object_surface import fuse
from diffseg_ros.mapping.object_views import MOST_VIEWS, ObjectViews
from diffseg_ros.mapping.support_plane import support_normal
from diffseg_ros.mapping.symmetry import MOST_FREE
from diffseg_ros.synthetic.camera_path import look_at
from diffseg_ros.synthetic.mesh import ball, box, merged
from diffseg_ros.types import Frame, Intrinsics, Track, TrackState
import numpy as np
import open3d
import pytest
from scipy.spatial import cKDTree

CAMERA = Intrinsics(160, 120, 300.0, 300.0, 79.5, 59.5)
ORIGIN = np.float32([40.0, -20.0, 3.0])
THING, TABLE = 7, 3
ANGLES = range(-40, 41, 16)
SIZE = 0.24, 0.14, 0.18
BOX = box(*SIZE)
CUT = 75
"""Columns of images whose right border cuts the box."""
RADIUS = 0.1
BALL = ball(RADIUS).translated(0, 0, RADIUS)
# Three steps of different widths, shifted against each other: no plane maps it to itself.
STAIRS = merged([box(0.26, 0.2, 0.05), box(0.13, 0.15, 0.06).translated(-0.06, 0.02, 0.05),
                 box(0.05, 0.07, 0.09).translated(-0.1, -0.04, 0.11)])


def seen(shape, angles, noise=0.0):
    """Return frames and labels of a thing on a table, seen from directions in degrees."""
    world = open3d.t.geometry.RaycastingScene()
    for mesh in (shape, box(2, 2, 0.1).translated(0, 0, -0.1)):
        world.add_triangles(open3d.core.Tensor.from_numpy(mesh.vertices + ORIGIN),
                            open3d.core.Tensor.from_numpy(np.ascontiguousarray(mesh.triangles)))
    turn = np.deg2rad(angles)
    offsets = np.stack([np.sin(turn), -np.cos(turn), np.full(len(turn), 0.65)], axis=1)
    poses = look_at(ORIGIN + offsets, np.tile(ORIGIN + [0, 0, 0.08], (len(turn), 1)))
    rng = np.random.default_rng(0)
    for pose in poses:
        ray_x, ray_y = np.broadcast_arrays(*ray_table(CAMERA))
        local = np.stack([ray_x, ray_y, np.ones_like(ray_x)], axis=-1)
        rays = np.concatenate([np.broadcast_to(pose[:3, 3], local.shape),
                               local @ pose[:3, :3].T], axis=-1).astype(np.float32)
        answer = world.cast_rays(open3d.core.Tensor.from_numpy(rays))
        depth = answer['t_hit'].numpy()
        depth[~np.isfinite(depth)] = np.nan
        depth += rng.normal(0, noise, depth.shape).astype(np.float32) if noise else 0
        labels = np.where(answer['geometry_ids'].numpy() == 0, THING, TABLE).astype(np.int32)
        rgb = np.where((labels == THING)[..., None], np.uint8([200, 60, 40]), np.uint8(90))
        yield Frame(rgb, depth=depth, intrinsics=CAMERA, pose=pose), labels


def views_of(shape, angles, noise=0.0):
    views = ObjectViews([THING])
    for frame, labels in seen(shape, angles, noise):
        views.add(frame, labels, frame.pose)
    return views.views(THING)


def back_of_box():
    """Return points on the far side of the box."""
    x, z = np.meshgrid(np.linspace(-0.1, 0.1, 15), np.linspace(0.02, 0.16, 12))
    return np.stack([x.ravel(), np.full(x.size, SIZE[1] / 2), z.ravel()], axis=1) + ORIGIN


@pytest.fixture(scope='module')
def box_mesh():
    return object_mesh(views_of(BOX, ANGLES, 0.004))


def test_box_gets_the_side_that_no_camera_saw(box_mesh):
    mesh = box_mesh
    vertices, measured = mesh.surface.vertices, mesh.measured
    far = cKDTree(vertices[measured]).query(back_of_box())[0]
    assert (far > 0.02).mean() > 0.9
    near = cKDTree(vertices[~measured]).query(back_of_box())[0]
    assert (near < 0.015).mean() > 0.9
    np.testing.assert_allclose(mesh.extents, SIZE, atol=0.03)
    assert 0.2 < mesh.completed_share < 0.6 and 'completed by' in mesh.outcome
    # All planes stand upright, and one lies in the middle of the depth.
    assert max(abs(plane.normal[2]) for plane in mesh.planes) < 0.05
    across = [plane for plane in mesh.planes if abs(plane.normal[1]) > 0.98]
    assert abs(across[0].offset - ORIGIN @ across[0].normal) < 0.01
    # What was measured has its colour, what was added a blue one.
    assert (mesh.surface.rgb[measured, 0] > 150).mean() > 0.9
    assert (mesh.surface.rgb[~measured, 2] > 120).mean() > 0.9


def test_ball_is_completed_round_about():
    mesh = object_mesh(views_of(BALL, ANGLES, 0.003))
    away = mesh.surface.vertices - ORIGIN - [0, 0, RADIUS]
    radii = np.linalg.norm(away, axis=1)
    assert np.abs(radii - RADIUS).mean() < 0.005
    equator = np.abs(away[:, 2]) < 0.05
    behind = away[equator & ~mesh.measured]
    angles = np.rad2deg(np.arctan2(behind[:, 0], -behind[:, 1]))
    assert np.abs(angles).max() > 140


def test_shape_without_symmetry_is_refused():
    mesh = object_mesh(views_of(STAIRS, ANGLES, 0.003))
    assert mesh.planes == () and mesh.measured.all() and mesh.completed_share == 0
    assert mesh.outcome.startswith('nothing completed') and 'mm (allowed' in mesh.outcome
    assert not mesh.best.fits
    assert (mesh.best.free > MOST_FREE or mesh.best.residual > mesh.best.tolerance
            or mesh.best.support < 0.2)
    report = mesh.report()
    assert report['planes'] == [] and report['residual'] == mesh.best.residual
    assert report['views'] == 6 and report['vertices'] == report['measured_vertices']


def test_what_no_camera_looked_at_is_not_completed():
    views = ObjectViews([THING])
    camera = replace(CAMERA, width=CUT)
    for frame, labels in seen(BOX, ANGLES):
        views.add(Frame(frame.rgb[:, :CUT], depth=frame.depth[:, :CUT], intrinsics=camera),
                  labels[:, :CUT], frame.pose)
    mesh = object_mesh(views.views(THING))
    assert mesh.planes
    added = mesh.surface.vertices[~mesh.measured]
    covered = np.zeros(len(added), bool)
    for view in views.views(THING):
        covered[view.seen(added)[2]] = True
    assert covered.mean() > 0.99


def test_one_view_gives_what_it_shows():
    mesh = object_mesh(views_of(BALL, [10]))
    assert mesh.views == 1
    away = np.linalg.norm(mesh.surface.vertices[mesh.measured] - ORIGIN - [0, 0, RADIUS], axis=1)
    assert np.abs(away - RADIUS).max() < 0.02


def test_surface_ends_at_the_table_and_knows_what_carries_it():
    views = views_of(BOX, ANGLES)
    measured, again = fuse(views), fuse(views)
    np.testing.assert_array_equal(measured.surface.vertices, again.surface.vertices)
    np.testing.assert_array_equal(measured.surface.triangles, again.surface.triangles)
    heights = measured.surface.vertices[:, 2] + measured.origin[2] - ORIGIN[2]
    assert -0.01 < heights.min() < 0.02 and heights.max() == pytest.approx(SIZE[2], abs=0.01)
    assert abs(support_normal(measured)[2]) > 0.999
    # Outwards: normals look to the cameras.
    away = measured.surface.vertices - measured.surface.vertices.mean(axis=0)
    assert ((measured.surface.normals * away).sum(axis=1) > 0).mean() > 0.9


def test_without_views_or_depth_there_is_one_line():
    with pytest.raises(DiffsegError, match='no view of it has measured depth'):
        object_mesh([])
    views = ObjectViews([THING, 99])
    for frame, labels in seen(BOX, [0]):
        views.add(Frame(frame.rgb, depth=np.full_like(frame.depth, np.nan), intrinsics=CAMERA),
                  labels, frame.pose)
        views.add(Frame(frame.rgb, depth=frame.depth, intrinsics=CAMERA,
                        depth_confidence=np.full_like(frame.depth, 0.7)), labels, frame.pose)
        views.add(Frame(frame.rgb, intrinsics=CAMERA), labels, frame.pose)
    assert views.views(THING) == [] and views.frames(THING) == 2
    assert views.views(99) == [] and views.frames(99) == 0


def test_pose_that_jumps_and_masks_that_spill_over_are_no_surface():
    frames = list(seen(BOX, [-30, 30]))
    views = ObjectViews([THING])
    for (frame, labels), shift in zip(frames, (0, 5.0)):
        pose = frame.pose.copy()
        pose[0, 3] += shift
        views.add(frame, labels, pose)
    with pytest.raises(DiffsegError, match='in different places'):
        object_mesh(views.views(THING))
    # A mask that also has a part of what lies behind the rim of the object.
    frame, labels = frames[0]
    depth = np.where(labels == THING, frame.depth, 3).astype(np.float32)
    spilled = labels.copy()
    spilled[:6] = THING
    views = ObjectViews([THING])
    views.add(Frame(frame.rgb, depth=depth, intrinsics=CAMERA), spilled, frame.pose)
    view, = views.views(THING)
    assert view.measured.max() < 2


def test_view_that_is_elsewhere_does_not_count(monkeypatch):
    monkeypatch.setattr('diffseg_ros.mapping.object_mesh.symmetry_planes', lambda _: [])
    views = views_of(BALL, [-30, 0, 30])
    away = views[0].pose.copy()
    away[0, 3] += 5
    views.append(replace(views[0], pose=away))
    assert object_mesh(views).views == 3


def test_of_many_views_few_from_all_sides_are_kept():
    views = views_of(BALL, [*[0] * 4, *range(0, 78, 3)])
    assert len(views) == MOST_VIEWS
    directions = np.array([view.direction for view in views])
    assert np.rad2deg(np.arctan2(directions[:, 0], -directions[:, 1])).max() > 70
    assert np.sort((directions @ directions.T), axis=1)[:, -2].max() < 1 - 1e-4


def test_views_from_before_a_thing_moved_are_not_mixed_with_those_after():
    frames = list(seen(BALL, range(0, 60, 6)))
    views = ObjectViews([THING])
    for number, (frame, labels) in enumerate(frames):
        moves = number == 3
        views.add(frame, labels, frame.pose,
                  [Track(THING, TrackState.CONFIRMED, 9, 0, 50, moves, 0.0)])
    assert [view.pose.tolist() for view in views.views(THING)] == [
        frame.pose.tolist() for frame, _ in frames[4:]]


def test_crops_are_small_and_leave_out_what_is_uncertain():
    frame, labels = next(seen(BALL, [0]))
    half = labels[::2, ::2]
    views = ObjectViews([THING])
    views.add(frame, half, frame.pose)
    view, = views.views(THING)
    assert view.depth.size < 0.8 * frame.depth.size and view.whole
    assert view.mask.sum() > view.pixels > 0.7 * view.mask.sum()
    # Its outline is a step in depth: nothing at it is measured.
    assert np.abs(np.linalg.norm(view.points - ORIGIN - [0, 0, RADIUS], axis=1)
                  - RADIUS).max() < 0.002


def test_files_of_objects_and_what_is_told_of_those_without_a_mesh(box_mesh, tmp_path,
                                                                   monkeypatch):
    views = ObjectViews([2, THING, 99])
    for frame, labels in seen(BOX, [0]):
        views.add(frame, labels, frame.pose)
        views.add(frame, np.where(labels == THING, 2, -1), frame.pose,
                  [Track(2, TrackState.CONFIRMED, 9, 0, 50, True, 0.0)])
    monkeypatch.setattr(object_files, 'object_mesh', lambda _: box_mesh)
    files = {number: tmp_path / f'{number}.ply' for number in (99, THING, 2)}
    files[99].write_text('of an earlier map')
    known = {2: '', THING: 'box'}
    rows, lines = object_files.write_objects(files, views, known)
    assert [(row['id'], row['name'], 'error' in row) for row in rows] == [
        (2, '', True), (THING, 'box', False), (99, '', True)]
    assert list(tmp_path.iterdir()) == [files[THING]] and rows[1]['file'] == '7.ply'
    assert len(lines) == 1 and lines[0].startswith('object 7 (box): 6 views, ')
    told = object_files.missing_objects(rows, known)
    assert told.startswith('--complete 2: none of the 1 frames with depth and pose that show it ')
    assert told.endswith('; 99: no such id in the map; its ids are 2, 7 (box)')
    assert object_files.missing_objects(rows[1:2], known) == ''


def test_mesh_file_is_read_by_others(box_mesh, tmp_path):
    mesh, surface = box_mesh, box_mesh.surface
    write_mesh(tmp_path / 'box.ply', surface.vertices, surface.triangles, surface.rgb,
               mesh.measured)
    read = open3d.t.io.read_triangle_mesh(str(tmp_path / 'box.ply'))
    np.testing.assert_allclose(read.vertex.positions.numpy(), surface.vertices, atol=1e-5)
    np.testing.assert_array_equal(read.triangle.indices.numpy(), surface.triangles)
    cloud = open3d.t.io.read_point_cloud(str(tmp_path / 'box.ply'))
    np.testing.assert_array_equal(cloud.point['measured'].numpy()[:, 0], mesh.measured)
