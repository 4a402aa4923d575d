"""Triangle meshes of simple solids, with texture coordinates and shading normals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from diffseg_ros.types import Matrix
import numpy as np
import numpy.typing as npt
from scipy import sparse

FloatArray = npt.NDArray[np.float32]

_CREASE = 0.75
"""Cosine between neighbouring faces below which the edge between them is sharp."""


@dataclass(frozen=True)
class Mesh:
    """
    Triangles in metres.

    Attributes
    ----------
    vertices
        (V, 3) float32.
    triangles
        (T, 3) uint32 indices into `vertices`.
    uv
        (T, 3, 2) float32 texture coordinates of every corner, in metres along the surface.
    normals
        (T, 3, 3) float32 unit shading normals of every corner.

    """

    vertices: FloatArray
    triangles: npt.NDArray[np.uint32]
    uv: FloatArray
    normals: FloatArray

    def transformed(self, matrix: Matrix) -> Mesh:
        """Return the mesh moved by a (4, 4) rigid transform."""
        rotation = matrix[:3, :3]
        return replace(
            self, vertices=(self.vertices @ rotation.T + matrix[:3, 3]).astype(np.float32),
            normals=(self.normals @ rotation.T).astype(np.float32))

    def translated(self, x: float, y: float, z: float) -> Mesh:
        """Return the mesh moved by (x, y, z) metres."""
        return replace(self, vertices=self.vertices + np.float32([x, y, z]))

    def turned(self, x: float, y: float, z: float, **angles: float) -> Mesh:
        """Return the mesh rotated by yaw, pitch or roll (see `rigid`), then moved by (x, y, z)."""
        return self.transformed(rigid((x, y, z), **angles))


def rigid(position: Sequence[float], yaw: float = 0.0, pitch: float = 0.0,
          roll: float = 0.0) -> Matrix:
    """Return the (4, 4) transform of a rotation (radians; roll, pitch, then yaw) and a shift."""
    (sy, sp, sr), (cy, cp, cr) = np.sin([yaw, pitch, roll]), np.cos([yaw, pitch, roll])
    matrix = np.eye(4)
    matrix[:3, :3] = (np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
                      @ np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
                      @ np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]]))
    matrix[:3, 3] = position
    return matrix


def merged(meshes: Sequence[Mesh]) -> Mesh:
    offsets = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]),
                np.concatenate([mesh.triangles + np.uint32(offset)
                                for mesh, offset in zip(meshes, offsets)]),
                np.concatenate([mesh.uv for mesh in meshes]),
                np.concatenate([mesh.normals for mesh in meshes]))


def box(width: float, depth: float, height: float) -> Mesh:
    """Return a box standing on the origin: x width, y depth, z height."""
    corners = np.array([[x, y, z] for z in (0, 1) for y in (-0.5, 0.5) for x in (-0.5, 0.5)])
    corners *= [width, depth, height]
    faces = np.array([[0, 1, 5, 4], [3, 2, 6, 7], [1, 3, 7, 5], [2, 0, 4, 6], [4, 5, 7, 6],
                      [1, 0, 2, 3]])
    sizes = np.array([[width, height], [width, height], [depth, height], [depth, height],
                      [width, depth], [width, depth]])
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    quad_uv = square[None] * sizes[:, None]
    split = [[0, 1, 2], [0, 2, 3]]
    return _finish(corners, faces[:, split].reshape(-1, 3), quad_uv[:, split].reshape(-1, 3, 2))


def panel(width: float, height: float) -> Mesh:
    """Return a rectangle in the x-z plane that faces -y, centred on x, standing on z = 0."""
    x, z = np.meshgrid([0.0, width], [0.0, height])
    return grid_surface(np.stack([x - width / 2, 0 * x, z], axis=-1), np.stack([x, z], axis=-1))


def lathe(profile: Sequence[tuple[float, float]], segments: int = 40) -> Mesh:
    """Return the surface that a profile of (radius, z) points sweeps round the z axis."""
    points = np.asarray(profile, float)
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    grid = np.concatenate([points[:, None, :1] * ring,
                           np.broadcast_to(points[:, None, 1:], (len(points), segments + 1, 1))],
                          axis=-1)
    length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
    around = angle * max(points[:, 0].max(), 1e-3)
    uv = np.stack(np.broadcast_arrays(around, length[:, None]), axis=-1)
    return grid_surface(grid, uv)


def ball(radius: float) -> Mesh:
    tilt = np.linspace(-np.pi / 2, np.pi / 2, 28)
    return lathe([(radius * np.cos(t), radius * np.sin(t)) for t in tilt], 48)


def tube(path: npt.ArrayLike, radius: float | npt.NDArray[np.floating],
         segments: int = 16) -> Mesh:
    """Return a round tube along a (N, 3) path; a path that ends where it began is closed."""
    path = np.asarray(path, float)
    tangent = np.gradient(path, axis=0)
    closed = np.allclose(path[0], path[-1])
    if closed:
        tangent[0] = tangent[-1] = path[1] - path[-2]
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    spread = np.linalg.eigh(np.cov(path.T) + np.eye(3) * 1e-9)[1][:, 0]
    side = np.cross(tangent, spread)
    side /= np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-9)
    up = np.cross(side, tangent)
    angle = np.linspace(0, 2 * np.pi, segments + 1)[:, None]
    width = np.broadcast_to(np.asarray(radius, float), len(path))[:, None, None]
    grid = path[:, None] + width * (side[:, None] * np.cos(angle) + up[:, None] * np.sin(angle))
    along = np.r_[0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))]
    uv = np.stack(np.broadcast_arrays(angle.T * float(width.max()), along[:, None]), axis=-1)
    return grid_surface(grid, uv)


def torus(major: float, minor: float) -> Mesh:
    """Return a ring lying in the x-y plane about the origin."""
    angle = np.linspace(0, 2 * np.pi, 49)
    path = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=-1) * major
    return tube(path, minor, 20)


def cushion(width: float, depth: float, height: float, roundness: float = 0.35) -> Mesh:
    """Return a box with soft edges (superellipsoid) standing on the origin."""
    tilt, turn = np.linspace(-np.pi / 2, np.pi / 2, 25), np.linspace(-np.pi, np.pi, 49)

    def soft(value: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        return np.sign(value) * np.abs(value) ** roundness

    grid = np.stack(np.broadcast_arrays(
        soft(np.cos(tilt))[:, None] * soft(np.cos(turn)) * width / 2,
        soft(np.cos(tilt))[:, None] * soft(np.sin(turn)) * depth / 2,
        (soft(np.sin(tilt))[:, None] + 1) * height / 2), axis=-1)
    return _with_box_uv(grid_surface(grid, grid[..., :2]))


def grid_surface(grid: npt.NDArray[np.floating], uv: npt.NDArray[np.floating]) -> Mesh:
    """Return the surface of an (M, N, 3) grid of points with (M, N, 2) coordinates."""
    rows, columns = grid.shape[:2]
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    quad = np.stack([corner, corner + 1, corner + columns + 1, corner + columns], axis=-1)
    triangles = quad[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3)
    return _finish(grid.reshape(-1, 3), triangles, uv.reshape(-1, 2)[triangles])


def _with_box_uv(mesh: Mesh) -> Mesh:
    """Map the texture along the axis that each triangle faces most."""
    corners = mesh.vertices[mesh.triangles]
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    axes = np.array([[1, 2], [0, 2], [0, 1]])[np.abs(face).argmax(axis=1)]
    uv = np.take_along_axis(corners, axes[:, None, :].repeat(3, axis=1), axis=2)
    return replace(mesh, uv=uv.astype(np.float32))


def _finish(vertices: npt.NDArray[np.floating], triangles: npt.NDArray[np.integer],
            uv: npt.NDArray[np.floating]) -> Mesh:
    """Drop triangles without area and add normals."""
    corners = vertices[triangles]
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    keep = np.linalg.norm(face, axis=1) > 1e-10
    triangles, uv, face = triangles[keep], uv[keep], face[keep]
    return Mesh(vertices.astype(np.float32), triangles.astype(np.uint32), uv.astype(np.float32),
                _corner_normals(vertices, triangles, face).astype(np.float32))


def _corner_normals(vertices: npt.NDArray[np.floating], triangles: npt.NDArray[np.integer],
                    face: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Return (T, 3, 3): at each corner the mean of the faces there that differ little."""
    count = len(triangles)
    flat = face / np.linalg.norm(face, axis=1, keepdims=True)
    _, weld = np.unique(np.round(vertices, 5), axis=0, return_inverse=True)
    point = weld.ravel()[triangles].ravel()
    owner = np.repeat(np.arange(count), 3)
    incidence = sparse.csr_array((np.ones(3 * count), (point, owner)))[point]
    row = np.repeat(owner, np.diff(incidence.indptr))
    like = np.einsum('ij,ij->i', flat[row], flat[incidence.indices]) > _CREASE
    smooth = sparse.csr_array((like.astype(float), incidence.indices, incidence.indptr),
                              shape=(3 * count, count)) @ face
    return (smooth / np.linalg.norm(smooth, axis=1, keepdims=True)).reshape(count, 3, 3)
