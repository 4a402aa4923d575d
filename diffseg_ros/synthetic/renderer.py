"""Pictures of a scene by ray casting: colour, depth and instance ids, no display needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from diffseg_ros.synthetic import shading
from diffseg_ros.synthetic.atlas import TextureAtlas
from diffseg_ros.synthetic.mesh import merged
from diffseg_ros.synthetic.scene import Scene
from diffseg_ros.synthetic.textures import SIZE
from diffseg_ros.types import Intrinsics
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

NOTHING = 65535
"""Instance id of pixels that show nothing."""

CAMERA = Intrinsics(640, 480, 525.0, 525.0, 319.5, 239.5)
"""A VGA camera with a horizontal field of view of 63 degrees."""


@dataclass(frozen=True)
class Rendering:
    """
    What the camera would see.

    Attributes
    ----------
    rgb
        (H, W, 3) uint8.
    depth
        (H, W) float32 exact metres along the optical axis, NaN where there is nothing.
    instances
        (H, W) uint16 ids, NOTHING where there is nothing.
    incidence
        (H, W) float32 cosine between the surface and the line of sight.
    reflectance
        (H, W) float32 diffuse reflectance, 0 to 1.

    """

    rgb: npt.NDArray[np.uint8]
    depth: FloatArray
    instances: npt.NDArray[np.uint16]
    incidence: FloatArray
    reflectance: FloatArray


@dataclass
class Hits:
    """
    Where rays meet surfaces, one row a ray that hit something.

    Attributes
    ----------
    pixel
        (N,) index of the pixel.
    depth, position, normal, view, incidence
        Metres along the optical axis, world point, unit normal towards the camera, unit vector
        to the camera, cosine between the two.
    material, part
        (N,) numbers of material and instance.

    """

    pixel: npt.NDArray[np.int64]
    depth: FloatArray
    position: FloatArray
    normal: FloatArray
    view: FloatArray
    incidence: FloatArray
    material: npt.NDArray[np.int32]
    part: npt.NDArray[np.int32]
    albedo: FloatArray


class Renderer:
    """Renders one scene; `render` may be called from several threads."""

    def __init__(self, scene: Scene, camera: Intrinsics = CAMERA) -> None:
        """Collect meshes and textures of the scene."""
        import open3d

        self._open3d = open3d
        self.scene = scene
        self.camera = camera
        materials = list({id(material): material for instance in scene.instances
                          for _, material in instance.shape}.values())
        number = {id(material): index for index, material in enumerate(materials)}
        self._atlas = TextureAtlas([material.tile for material in materials])
        self._span = np.float32([material.span for material in materials])
        self.surface = np.float32([[material.specular, material.shininess, material.emission]
                                   for material in materials])
        self._meshes = [merged([mesh for mesh, _ in instance.shape])
                        for instance in scene.instances]
        counts = [len(mesh.triangles) for mesh in self._meshes]
        self._offsets = np.r_[0, np.cumsum(counts)[:-1]].astype(np.int64)
        self._uv = np.concatenate([mesh.uv for mesh in self._meshes])
        self._normals = np.concatenate([mesh.normals for mesh in self._meshes])
        self._materials = np.concatenate(
            [np.full(len(mesh.triangles), number[id(material)], np.int32)
             for instance in scene.instances for mesh, material in instance.shape])
        self._numbers = np.array([instance.number for instance in scene.instances], np.uint16)
        rows, columns = np.mgrid[:camera.height, :camera.width].astype(np.float32)
        self._pixels = np.stack([columns.ravel(), rows.ravel()], axis=-1)

    def render(self, time: float, pose: npt.NDArray[np.floating], seed: int = 0) -> Rendering:
        """
        Return what a camera at `pose` sees `time` seconds after the start.

        Parameters
        ----------
        time
            Seconds, where moving things are.
        pose
            (4, 4) camera-to-world.
        seed
            Of the sensor's noise.

        """
        places = [instance.motion(time) if instance.motion else None
                  for instance in self.scene.instances]
        world = self._world(places)
        hits = self._cast(world, self._pixels, pose, places)
        shape = (self.camera.height, self.camera.width)
        light = shading.illuminate(self, world, hits, shape)
        image = np.zeros((shape[0] * shape[1], 3), np.float32)
        image[hits.pixel] = shading.tone_map(light)
        self._smooth_edges(world, hits, image, pose, places)
        photo = shading.expose(image.reshape(*shape, 3), np.random.default_rng([seed, 2]))
        reflectance = hits.albedo.mean(axis=-1)
        return Rendering(photo, _spread(hits, hits.depth, shape, np.nan),
                         _spread(hits, self._numbers[hits.part], shape, NOTHING),
                         _spread(hits, hits.incidence, shape, 0.0),
                         _spread(hits, reflectance, shape, 0.0))

    def occluded(self, world: Any, origins: FloatArray, directions: FloatArray,
                 far: float) -> npt.NDArray[np.bool_]:
        """Return (N,) whether something lies on each ray between 0 and `far` times its length."""
        rays = np.concatenate([origins, directions], axis=-1)
        answer = world.test_occlusions(self._open3d.core.Tensor.from_numpy(rays), 1e-3, far)
        return answer.numpy()

    def _world(self, places: list[npt.NDArray[np.float64] | None]) -> Any:
        world = self._open3d.t.geometry.RaycastingScene()
        to_tensor = self._open3d.core.Tensor.from_numpy
        for mesh, place in zip(self._meshes, places):
            vertices = mesh.vertices if place is None else mesh.transformed(place).vertices
            world.add_triangles(to_tensor(np.ascontiguousarray(vertices)),
                                to_tensor(np.ascontiguousarray(mesh.triangles)))
        return world

    def _cast(self, world: Any, pixels: FloatArray, pose: npt.NDArray[np.floating],
              places: list[npt.NDArray[np.float64] | None]) -> Hits:
        """Return the nearest surface of every (N, 2) pixel position that sees one."""
        camera = self.camera
        local = np.ones((len(pixels), 3), np.float32)
        local[:, :2] = (pixels - [camera.cx, camera.cy]) / [camera.fx, camera.fy]
        rays = np.empty((len(pixels), 6), np.float32)
        rays[:, :3] = pose[:3, 3]
        rays[:, 3:] = local @ pose[:3, :3].T.astype(np.float32)
        answer = world.cast_rays(self._open3d.core.Tensor.from_numpy(rays))
        reached = answer['t_hit'].numpy()
        pixel = np.flatnonzero(np.isfinite(reached))
        depth, direction = reached[pixel], rays[pixel, 3:]
        part = answer['geometry_ids'].numpy()[pixel].astype(np.int32)
        triangle = self._offsets[part] + answer['primitive_ids'].numpy()[pixel]
        second, third = answer['primitive_uvs'].numpy()[pixel].T
        weights = np.stack([1 - second - third, second, third], axis=-1)
        normal = np.einsum('ij,ijk->ik', weights, self._normals[triangle])
        for number, place in enumerate(places):
            if place is not None:
                mine = part == number
                normal[mine] = normal[mine] @ place[:3, :3].T.astype(np.float32)
        normal /= shading.length(normal)[:, None]
        stretch = shading.length(direction)
        view = -direction / stretch[:, None]
        cosine = np.einsum('ij,ij->i', normal, view)
        normal *= np.sign(cosine)[:, None]
        incidence = np.maximum(np.abs(cosine), 0.02)
        material = self._materials[triangle]
        uv = np.einsum('ij,ijk->ik', weights, self._uv[triangle]) / self._span[material]
        footprint = depth * stretch / camera.fx / np.sqrt(incidence)
        texel = self._span[material].mean(axis=-1) / SIZE
        albedo = self._atlas.sample(material, uv, np.log2(footprint / texel) + 0.3)
        position = rays[pixel, :3] + direction * depth[:, None]
        return Hits(pixel, depth, position, normal, view, incidence, material, part, albedo)

    def _smooth_edges(self, world: Any, hits: Hits, image: FloatArray,
                      pose: npt.NDArray[np.floating],
                      places: list[npt.NDArray[np.float64] | None]) -> None:
        """Replace pixels on outlines by the mean of four subpixels' nearest like neighbours."""
        height, width = self.camera.height, self.camera.width
        key = np.full(height * width, -1, np.int32)
        key[hits.pixel] = hits.part * 4096 + hits.material
        grid, edge = key.reshape(height, width), np.zeros((height, width), bool)
        different = grid[:, 1:] != grid[:, :-1]
        edge[:, 1:] |= different
        edge[:, :-1] |= different
        different = grid[1:] != grid[:-1]
        edge[1:] |= different
        edge[:-1] |= different
        pixel = np.flatnonzero(edge)
        if not len(pixel):
            return
        total = np.zeros((len(pixel), 3), np.float32)
        for shift in np.float32([[-0.125, -0.375], [0.375, -0.125], [0.125, 0.375],
                                 [-0.375, 0.125]]):
            total += self._subpixels(world, key, image, pixel, shift, pose)
        image[pixel] = total / 4

    def _subpixels(self, world: Any, key: npt.NDArray[np.int32], image: FloatArray,
                   pixel: npt.NDArray[np.int64], shift: FloatArray,
                   pose: npt.NDArray[np.floating]) -> FloatArray:
        """Return (N, 3) colours: of the neighbour that shows what the shifted ray meets."""
        camera = self.camera
        local = np.ones((len(pixel), 3), np.float32)
        local[:, :2] = ((self._pixels[pixel] + shift - [camera.cx, camera.cy])
                        / [camera.fx, camera.fy])
        rays = np.empty((len(pixel), 6), np.float32)
        rays[:, :3] = pose[:3, 3]
        rays[:, 3:] = local @ pose[:3, :3].T.astype(np.float32)
        answer = world.cast_rays(self._open3d.core.Tensor.from_numpy(rays))
        hit = np.isfinite(answer['t_hit'].numpy())
        part = np.where(hit, answer['geometry_ids'].numpy(), 0).astype(np.int32)
        triangle = np.where(hit, self._offsets[part] + answer['primitive_ids'].numpy(), 0)
        wanted = np.where(hit, part * 4096 + self._materials[triangle.astype(np.int64)], -1)
        chosen = pixel.copy()
        found = key[pixel] == wanted
        columns, rows = pixel % camera.width, pixel // camera.width
        for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)):
            other = (np.clip(rows + dy, 0, camera.height - 1) * camera.width
                     + np.clip(columns + dx, 0, camera.width - 1))
            take = ~found & (key[other] == wanted)
            chosen[take] = other[take]
            found |= take
        return image[chosen]


def _spread(hits: Hits, values: npt.NDArray, shape: tuple[int, int], empty: float) -> npt.NDArray:
    image = np.full(shape[0] * shape[1], empty, values.dtype)
    image[hits.pixel] = values
    return image.reshape(shape)
