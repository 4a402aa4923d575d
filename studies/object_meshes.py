"""
How well objects are meshed: against the truth of generated rooms, without and with symmetry.

`python -m studies.object_meshes SEED... [--frames N] [--picture FILE]` renders a room for each
seed and takes the five things on its tables that show most pixels, once with their true masks and
once with those of the track that overlaps them most. Lengths are in millimetres. Printed are, for
the fused views alone and with what symmetry adds,

- chamfer: half of the mean distance from mesh to truth and of that from truth to mesh,
- complete: the share of the truth's surface that lies within 1 cm of the mesh,
- under: the same for the underside on which a thing stands, which no view shows, and which the
  other figures leave out;

then the share of the mesh that symmetry added, its mean distance from the truth, and what the
command would say. The truth's surface is what can be seen from outside of the thing itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
import tempfile

import cv2
from diffseg_ros.io.images import write_image
from diffseg_ros.io.sequence_folder import SequenceFolder
from diffseg_ros.mapping.object_mesh import object_mesh, ObjectMesh
from diffseg_ros.mapping.object_surface import Surface
from diffseg_ros.mapping.object_views import ObjectView, ObjectViews, Points
from diffseg_ros.pipeline import Pipeline
from diffseg_ros.synthetic.mesh import merged
from diffseg_ros.synthetic.objects import TABLE_OBJECTS
from diffseg_ros.synthetic.scene import create_scene, Instance
from diffseg_ros.synthetic.sequence_writer import render_sequence
from diffseg_ros.types import Frame, LabelImage, Mask, RgbImage, Track
from diffseg_ros.viz.cloud_picture import render_cloud, View
import numpy as np
import numpy.typing as npt
import open3d
from scipy.spatial import cKDTree

OBJECTS = 5
POINTS, RAYS = 20_000, 64
NEAR = 0.01
UNDERSIDE, FLAT = 0.01, 0.7
"""The underside is within a centimetre of the lowest point, and as level as this cosine."""
TILE = 160
SIDES = (-30, 150)
"""Degrees from which a picture shows an object: from the cameras' side and from behind."""


@dataclass(frozen=True)
class Truth:
    """Points of a true surface, (N, 3) metres in the world, and which are of the underside."""

    points: Points
    under: Mask


@dataclass(frozen=True)
class Seen:
    """A frame, its true instances, what the tracker made of it, and its tracks."""

    frame: Frame
    truth: LabelImage
    labels: LabelImage
    tracks: tuple[Track, ...]


def samples(vertices: Points, triangles: npt.NDArray[np.integer]
            ) -> tuple[Points, npt.NDArray[np.intp]]:
    """Return points evenly on a mesh, and the triangle of each."""
    rng = np.random.default_rng(0)
    corners = vertices[triangles]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]),
                          axis=1)
    owner = rng.choice(len(area), POINTS, p=area / area.sum())
    first, second = np.sort(rng.random((2, POINTS)), axis=0)[..., None]
    a, b, c = corners[owner].transpose(1, 0, 2)
    return a * first + b * (second - first) + c * (1 - second), owner


def truth_of(instance: Instance) -> Truth:
    """Return the surface of a thing that can be seen from outside."""
    mesh = merged([part for part, _ in instance.shape])
    points, owner = samples(mesh.vertices.astype(np.float64), mesh.triangles)
    a, b, c = mesh.vertices[mesh.triangles[owner]].astype(np.float64).transpose(1, 0, 2)
    normals = np.cross(b - a, c - a)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    world = open3d.t.geometry.RaycastingScene()
    world.add_triangles(*(open3d.core.Tensor.from_numpy(np.ascontiguousarray(part))
                          for part in (mesh.vertices, mesh.triangles)))
    directions = np.random.default_rng(1).standard_normal((RAYS, 3))
    visible = np.zeros(len(points), bool)
    for ray in directions:
        # Panels and shells are seen from both sides.
        start = points + normals * (1e-3 * np.sign(normals @ ray)[:, None])
        rays = np.concatenate([start, np.broadcast_to(ray, start.shape)], axis=1)
        visible |= ~world.test_occlusions(
            open3d.core.Tensor.from_numpy(rays.astype(np.float32))).numpy()
    low = points[:, 2] < points[:, 2].min() + UNDERSIDE
    under = low & (np.abs(normals[:, 2]) > FLAT)
    return Truth(points[visible], under[visible])


def part_of(mesh: ObjectMesh, *, measured_only: bool) -> Surface:
    """Return the mesh, or what of it was measured."""
    if not measured_only:
        return mesh.surface
    return mesh.surface.with_triangles(mesh.measured[mesh.surface.triangles[:, 0]])


def scores(surface: Surface, truth: Truth) -> tuple[float, float, float]:
    """Return chamfer distance in millimetres, completeness, and that of the underside."""
    points = samples(surface.vertices, surface.triangles)[0]
    to_truth = cKDTree(truth.points).query(points)[0]
    to_mesh = cKDTree(points).query(truth.points)[0]
    near, under = to_mesh < NEAR, truth.under
    return (500 * float(to_truth.mean() + to_mesh[~under].mean()), float(near[~under].mean()),
            float(near[under].mean()) if under.any() else float('nan'))


def added_error(mesh: ObjectMesh, truth: Truth) -> float:
    """Return the mean distance in millimetres from what symmetry added to the truth."""
    points, owner = samples(mesh.surface.vertices, mesh.surface.triangles)
    added = ~mesh.measured[mesh.surface.triangles[owner, 0]]
    if not added.any():
        return float('nan')
    return 1e3 * float(cKDTree(truth.points).query(points[added])[0].mean())


def recorded(folder: Path, pipeline: Pipeline) -> list[Seen]:
    """Return all frames of a sequence as the pipeline sees them."""
    pipeline.reset()
    source = SequenceFolder(folder)
    seen = []
    for number, frame in enumerate(source):
        result = pipeline.process(frame)
        seen.append(Seen(frame, source.instances(number).astype(np.int32), result.labels,
                         result.tracks))
    return seen


def track_of(instance: int, frames: Sequence[Seen]) -> tuple[int, float]:
    """Return the id of the track that overlaps an instance most, and their IoU over all."""
    ids = np.concatenate([seen.labels[seen.truth == instance] for seen in frames])
    values, counts = np.unique(ids[ids >= 0], return_counts=True)
    sizes = {int(number): 0 for number in values}
    for seen in frames:
        for number, size in zip(*np.unique(seen.labels, return_counts=True)):
            if int(number) in sizes:
                sizes[int(number)] += int(size)
    ious = {int(number): count / (len(ids) + sizes[int(number)] - count)
            for number, count in zip(values, counts)}
    best = max(ious, key=lambda number: ious[number])
    return best, float(ious[best])


def largest(instances: Sequence[Instance], frames: Sequence[Seen]) -> list[Instance]:
    """Return the things on tables that show most pixels in all frames together."""
    kinds = {make.__name__ for make in TABLE_OBJECTS}
    pixels = np.sum([np.bincount(seen.truth[seen.truth < 65535], minlength=len(instances) + 1)
                     for seen in frames], axis=0)
    things = [thing for thing in instances if thing.name in kinds]
    return sorted(things, key=lambda thing: -pixels[thing.number])[:OBJECTS]


def collected(frames: Sequence[Seen], ids: Sequence[int], *, true: bool) -> ObjectViews:
    """Return the views of instances by their true masks, or of tracks."""
    views = ObjectViews(ids)
    for seen in frames:
        if seen.frame.pose is not None:
            views.add(seen.frame, seen.truth if true else seen.labels, seen.frame.pose,
                      () if true else seen.tracks)
    return views


def row(mesh: ObjectMesh, truth: Truth) -> str:
    """Return the figures of a mesh as cells of a table."""
    fused, whole = (scores(part_of(mesh, measured_only=only), truth) for only in (True, False))
    return (f'{mesh.views} | {fused[0]:.1f} | {whole[0]:.1f} | {fused[1]:.2f} | {whole[1]:.2f} | '
            f'{fused[2]:.2f} | {whole[2]:.2f} | {mesh.completed_share:.0%} | '
            f'{added_error(mesh, truth):.1f} | {len(mesh.planes)} | {mesh.outcome}')


def tiles(mesh: ObjectMesh, truth: Truth, views: Sequence[ObjectView]) -> Iterator[RgbImage]:
    """Yield pictures of an object: its photo, and the mesh and its truth from two sides."""
    view = max(views, key=lambda one: one.pixels)
    height, width = view.mask.shape
    scale = TILE / max(height, width)
    photo = cv2.resize(view.rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    tile = np.full((TILE, TILE, 3), 225, np.uint8)
    tile[:photo.shape[0], :photo.shape[1]] = photo[:TILE, :TILE]
    yield tile
    away = np.mean([one.direction for one in views], axis=0)
    forward = -away / np.linalg.norm(away)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    turn = np.stack([right, [0, 0, -1], np.cross([0, 0, -1], right) * -1])
    middle = (truth.points.min(axis=0) + truth.points.max(axis=0)) / 2
    size = float(np.linalg.norm(np.ptp(truth.points, axis=0)))
    for yaw in SIDES:
        for surface in (part_of(mesh, measured_only=True), mesh.surface):
            points, owner = samples(surface.vertices, surface.triangles)
            seen = ((points - middle) @ turn.T).astype(np.float32)
            colours = surface.rgb[surface.triangles[owner, 0]]
            yield render_cloud(seen, colours, TILE, TILE,
                               view=View((0.0, 0.0, 0.0), 1.25 * size, yaw, 25.0),
                               point_size=mesh.voxel / 2)


def study(seed: int, frames: Sequence[Seen]) -> list[list[RgbImage]]:
    """Print the figures of a room and return a row of pictures for each object."""
    pictures = []
    things = largest(create_scene(seed).instances, frames)
    tracks = [track_of(thing.number, frames) for thing in things]
    by_truth = collected(frames, [thing.number for thing in things], true=True)
    by_track = collected(frames, [number for number, _ in tracks], true=False)
    for thing, (number, iou) in zip(things, tracks):
        truth = truth_of(thing)
        for views, masks in ((by_truth.views(thing.number), 'true'),
                             (by_track.views(number), f'track, IoU {iou:.2f}')):
            if not views:
                print(f'| {seed} | {thing.name} | {masks} | no view |', flush=True)
                continue
            mesh = object_mesh(views)
            print(f'| {seed} | {thing.name} | {masks} | {row(mesh, truth)} |', flush=True)
            if masks != 'true':
                pictures.append(list(tiles(mesh, truth, views)))
    return pictures


def main() -> None:
    """Print the table of all rooms, and write a picture of their objects."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('seeds', nargs='+', type=int)
    parser.add_argument('--frames', type=int, default=60)
    parser.add_argument('--picture', type=Path)
    arguments = parser.parse_args()
    pipeline, pictures = Pipeline(), []
    print('| room | object | masks | views | chamfer | with symmetry | complete | with symmetry | '
          'under | with symmetry | added | its error | planes | outcome |')
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory() as folder:
            room = Path(folder) / f'room_{seed}'
            for _ in render_sequence(room, arguments.frames, seed):
                pass
            pictures += study(seed, recorded(room, pipeline))
    if arguments.picture is not None:
        write_image(arguments.picture, np.vstack([np.hstack(tile) for tile in pictures]))


if __name__ == '__main__':
    main()
