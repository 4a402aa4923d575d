"""Images of a scene by ray casting: colour, depth and instance ids, no display needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
from diffseg_ros.geometry.label_images import label_borders
from diffseg_ros.synthetic.mesh import merged
from diffseg_ros.synthetic.scene import Scene
from diffseg_ros.synthetic.textures import SIZE, TextureAtlas
from diffseg_ros.types import DepthImage, Intrinsics, Mask, Matrix, RgbImage
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

NOTHING = 65535
"""Instance id of pixels that show nothing."""

CAMERA = Intrinsics(640, 480, 525.0, 525.0, 319.5, 239.5)
"""A VGA camera with a horizontal field of view of 63 degrees."""

_CELL = 4
"""Pixels of a cell of this side sample the lights at 16 different points."""
_OCCLUSION_REACH = 0.55
_RAY_OFFSET = np.float32(2e-3)
_SUBPIXELS = np.float32([[-0.125, -0.375], [0.375, -0.125], [0.125, 0.375], [-0.375, 0.125]])
_NEIGHBOURS = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
_MATERIALS_PER_PART = 4096


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

    rgb: RgbImage
    depth: DepthImage
    instances: npt.NDArray[np.uint16]
    incidence: FloatArray
    reflectance: FloatArray


@dataclass(frozen=True)
class _Hits:
    """Where rays meet surfaces, one row for each ray that hit something."""

    pixel: npt.NDArray[np.int64]  # flat index
    depth: FloatArray  # metres along the optical axis
    position: FloatArray  # in the world
    normal: FloatArray  # unit vector on the side of the camera
    view: FloatArray  # unit vector to the camera
    incidence: FloatArray  # cosine between normal and view
    material: npt.NDArray[np.int32]
    part: npt.NDArray[np.int32]  # place in the scene's instances
    albedo: FloatArray  # linear RGB reflectance


class Renderer:
    """Renders one scene; `render` may be called from several threads."""

    def __init__(self, scene: Scene, camera: Intrinsics = CAMERA) -> None:
        import open3d

        self._open3d = open3d
        self.scene = scene
        self.camera = camera
        self._shape = camera.height, camera.width
        materials = list({id(material): material for instance in scene.instances
                          for _, material in instance.shape}.values())
        number = {id(material): index for index, material in enumerate(materials)}
        self._atlas = TextureAtlas([material.tile for material in materials])
        self._span = np.float32([material.span for material in materials])
        self._surface = np.float32([[material.specular, material.shininess, material.emission]
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

    def render(self, time: float, pose: Matrix, seed: int = 0) -> Rendering:
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
        hits = self._hits(world, pose, places)
        image = np.zeros((len(self._pixels), 3), np.float32)
        image[hits.pixel] = _tone_map(self._illuminate(world, hits))
        self._smooth_edges(world, hits, image, pose)
        rgb = _expose(image.reshape(*self._shape, 3), np.random.default_rng([seed, 2]))

        def spread(values: npt.NDArray, empty: float) -> npt.NDArray:
            filled = np.full(len(self._pixels), empty, values.dtype)
            filled[hits.pixel] = values
            return filled.reshape(self._shape)

        return Rendering(rgb, spread(hits.depth, np.nan),
                         spread(self._numbers[hits.part], NOTHING), spread(hits.incidence, 0.0),
                         spread(hits.albedo.mean(axis=-1), 0.0))

    def _world(self, places: Sequence[Matrix | None]) -> Any:
        world = self._open3d.t.geometry.RaycastingScene()
        to_tensor = self._open3d.core.Tensor.from_numpy
        for mesh, place in zip(self._meshes, places):
            vertices = mesh.vertices if place is None else mesh.transformed(place).vertices
            world.add_triangles(to_tensor(np.ascontiguousarray(vertices)),
                                to_tensor(np.ascontiguousarray(mesh.triangles)))
        return world

    def _rays(self, pixels: FloatArray, pose: Matrix) -> FloatArray:
        """Return (N, 6) origins and directions, of length 1 along the optical axis."""
        camera = self.camera
        local = np.ones((len(pixels), 3), np.float32)
        local[:, :2] = (pixels - [camera.cx, camera.cy]) / [camera.fx, camera.fy]
        rays = np.empty((len(pixels), 6), np.float32)
        rays[:, :3] = pose[:3, 3]
        rays[:, 3:] = local @ pose[:3, :3].T.astype(np.float32)
        return rays

    def _cast(self, world: Any, rays: FloatArray) -> dict[str, npt.NDArray]:
        answer = world.cast_rays(self._open3d.core.Tensor.from_numpy(rays))
        return {name: answer[name].numpy()
                for name in ('t_hit', 'geometry_ids', 'primitive_ids', 'primitive_uvs')}

    def _is_occluded(self, world: Any, origins: FloatArray, directions: FloatArray,
                     far: float) -> Mask:
        """Return (N,) whether something lies on each ray between 0 and `far` times its length."""
        rays = np.concatenate([origins, directions], axis=-1)
        answer = world.test_occlusions(self._open3d.core.Tensor.from_numpy(rays), 1e-3, far)
        return answer.numpy()

    def _hits(self, world: Any, pose: Matrix, places: Sequence[Matrix | None]) -> _Hits:
        """Return the nearest surface of every pixel that sees one."""
        rays = self._rays(self._pixels, pose)
        answer = self._cast(world, rays)
        pixel = np.flatnonzero(np.isfinite(answer['t_hit']))
        depth, direction = answer['t_hit'][pixel], rays[pixel, 3:]
        part = answer['geometry_ids'][pixel].astype(np.int32)
        triangle = self._offsets[part] + answer['primitive_ids'][pixel]
        second, third = answer['primitive_uvs'][pixel].T
        weights = np.stack([1 - second - third, second, third], axis=-1)
        normal = np.einsum('ij,ijk->ik', weights, self._normals[triangle])
        for number, place in enumerate(places):
            if place is not None:
                mine = part == number
                normal[mine] = normal[mine] @ place[:3, :3].T.astype(np.float32)
        normal /= _length(normal)
        stretch = _length(direction)
        view = -direction / stretch
        cosine = np.einsum('ij,ij->i', normal, view)
        normal *= np.sign(cosine)[:, None]
        incidence = np.maximum(np.abs(cosine), 0.02)
        material = self._materials[triangle]
        uv = np.einsum('ij,ijk->ik', weights, self._uv[triangle]) / self._span[material]
        footprint = depth * stretch[:, 0] / self.camera.fx / np.sqrt(incidence)
        texel = self._span[material].mean(axis=-1) / SIZE
        albedo = self._atlas.sample(material, uv, np.log2(footprint / texel) + 0.3)
        position = rays[pixel, :3] + direction * depth[:, None]
        return _Hits(pixel, depth, position, normal, view, incidence, material, part, albedo)

    def _illuminate(self, world: Any, hits: _Hits) -> FloatArray:
        """
        Return the (N, 3) linear light that comes from every hit.

        Shadows and ambient occlusion use one ray per pixel and light. The sample differs
        between the pixels of 4x4 cells, and averaging over a cell's worth of neighbours on the
        same surface gives the mean of all 16.
        """
        scene = self.scene
        rows, columns = np.divmod(hits.pixel, self.camera.width)
        sample = _SHUFFLE[(rows % _CELL * _CELL + columns % _CELL).astype(np.int64)]
        origin = hits.position + hits.normal * _RAY_OFFSET
        seen: FloatArray = np.empty((len(hits.pixel), 1 + len(scene.lights)), np.float32)
        reach = _hemisphere(hits.normal, sample) * np.float32(_OCCLUSION_REACH)
        seen[:, 0] = ~self._is_occluded(world, origin, reach, 1.0)
        to_light = [np.float32(light.position) - origin for light in scene.lights]
        for number, light in enumerate(scene.lights, 1):
            ray = to_light[number - 1] + light.radius * _BALL[sample]
            seen[:, number] = ~self._is_occluded(world, origin, ray, 0.999)
        seen = self._average(seen, hits)
        ambient = np.float32(scene.ambient) * (0.8 + 0.2 * hits.normal[:, 2:])
        diffuse = ambient * (0.35 + 0.65 * seen[:, :1])
        specular = np.zeros_like(diffuse)
        strength, shininess, emission = self._surface[hits.material].T
        for number, light in enumerate(scene.lights):
            distance = _length(to_light[number])
            direction = to_light[number] / distance
            cosine = np.maximum(np.einsum('ij,ij->i', hits.normal, direction), 0)[:, None]
            power = np.float32(light.colour) * seen[:, 1 + number:2 + number] / (distance**2 + 1.0)
            diffuse += power * cosine
            half = direction + hits.view
            half /= _length(half)
            gloss = np.maximum(np.einsum('ij,ij->i', hits.normal, half), 0) ** shininess
            specular += power * (gloss * (cosine[:, 0] > 0))[:, None]
        rim = (strength * (0.15 + 0.85 * (1 - hits.incidence) ** 5))[:, None]
        return (hits.albedo * (diffuse + emission[:, None]) + specular * 2 * strength[:, None]
                + rim * np.float32(scene.ambient) * seen[:, :1] * 0.6)

    def _average(self, values: FloatArray, hits: _Hits) -> FloatArray:
        """Return the mean over a cell's size of pixels on the same surface."""
        planes = np.zeros((values.shape[1], len(self._pixels)), np.float32)
        planes[:, hits.pixel] = values.T
        surface = np.zeros((4, len(self._pixels)), np.float32)
        surface[:3, hits.pixel] = hits.normal.T
        surface[3, hits.pixel] = hits.part * 2
        mean: FloatArray = planes.reshape(-1, *self._shape)
        for axis in (1, 2):
            mean = _average_along(mean, surface.reshape(-1, *self._shape), axis)
        return mean.reshape(len(mean), -1)[:, hits.pixel].T

    def _smooth_edges(self, world: Any, hits: _Hits, image: FloatArray, pose: Matrix) -> None:
        """Replace pixels on outlines by the mean of four subpixels' nearest like neighbours."""
        key = np.full(len(self._pixels), -1, np.int32)
        key[hits.pixel] = hits.part * _MATERIALS_PER_PART + hits.material
        pixel = np.flatnonzero(label_borders(key.reshape(self._shape), both_sides=True))
        if len(pixel):
            image[pixel] = np.mean([
                self._subpixel_colours(world, key, image, pixel, self._pixels[pixel] + shift, pose)
                for shift in _SUBPIXELS], axis=0)

    def _subpixel_colours(self, world: Any, key: npt.NDArray[np.int32], image: FloatArray,
                          pixel: npt.NDArray[np.int64], places: FloatArray,
                          pose: Matrix) -> FloatArray:
        """Return (N, 3): the colour of the neighbour that shows what the ray at a place meets."""
        answer = self._cast(world, self._rays(places, pose))
        hit = np.isfinite(answer['t_hit'])
        part = np.where(hit, answer['geometry_ids'], 0).astype(np.int32)
        triangle = np.where(hit, self._offsets[part] + answer['primitive_ids'], 0)
        material = self._materials[triangle.astype(np.int64)]
        wanted = np.where(hit, part * _MATERIALS_PER_PART + material, -1)
        chosen = pixel.copy()
        found = key[pixel] == wanted
        height, width = self._shape
        rows, columns = np.divmod(pixel, width)
        for dy, dx in _NEIGHBOURS:
            other = (np.clip(rows + dy, 0, height - 1) * width
                     + np.clip(columns + dx, 0, width - 1))
            take = ~found & (key[other] == wanted)
            chosen[take] = other[take]
            found |= take
        return image[chosen]


def _length(vectors: FloatArray) -> FloatArray:
    """Return the (N, 1) lengths of (N, 3) vectors."""
    return np.sqrt(np.einsum('ij,ij->i', vectors, vectors))[:, None]


def _tone_map(light: FloatArray, exposure: float = 1.35, saturation: float = 0.8) -> FloatArray:
    """Return display-referred colour in [0, 1] by a filmic curve."""
    grey = light @ np.float32([0.25, 0.62, 0.13])
    x = (light * saturation + grey[:, None] * (1 - saturation)) * np.float32(exposure)
    curve = x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)
    return np.sqrt(np.clip(curve, 0, 1))


def _expose(image: FloatArray, rng: np.random.Generator) -> RgbImage:
    """Return what lens and sensor make of (H, W, 3) colour: slight blur, vignetting, noise."""
    height, width = image.shape[:2]
    y, x = np.ogrid[-1:1:height * 1j, -1:1:width * 1j]
    falloff = (1 - 0.1 * (x**2 + y**2)).astype(np.float32)[..., None]
    blurred = cv2.GaussianBlur(image, (3, 3), 0.45) * falloff
    grain = rng.standard_normal(image.shape, np.float32)
    noisy = blurred + grain * (0.006 + 0.006 * np.sqrt(blurred))
    return np.rint(np.clip(noisy, 0, 1) * 255).astype(np.uint8)


def _samples() -> tuple[FloatArray, FloatArray]:
    """Return 16 directions of a cosine-weighted hemisphere and 16 points of a unit ball."""
    index = np.arange(16) + 0.5
    angle = index * np.pi * (3 - np.sqrt(5))
    radius = np.sqrt(index / 16)
    hemisphere = np.stack([radius * np.cos(angle), radius * np.sin(angle),
                           np.sqrt(1 - radius**2)], axis=-1)
    z = 1 - 2 * index / 16
    ring = np.sqrt(1 - z**2)
    sphere = np.stack([ring * np.cos(angle), ring * np.sin(angle), z], axis=-1)
    sphere *= (np.random.default_rng(0).permutation(16)[:, None] / 16 + 1 / 32) ** (1 / 3)
    return hemisphere.astype(np.float32), sphere.astype(np.float32)


_HEMISPHERE, _BALL = _samples()
_SHUFFLE = np.random.default_rng(1).permutation(16)


def _hemisphere(normal: FloatArray, sample: npt.NDArray[np.int64]) -> FloatArray:
    """Return (N, 3) directions on the side of the (N, 3) normals, by the number of the sample."""
    helper = np.where(np.abs(normal[:, 2:]) < 0.9, np.float32([[0, 0, 1]]),
                      np.float32([[1, 0, 0]]))
    first = np.cross(helper, normal)
    first /= _length(first)
    second = np.cross(normal, first)
    x, y, z = _HEMISPHERE[sample].T[..., None]
    return first * x + second * y + normal * z


def _average_along(planes: FloatArray, surface: FloatArray, axis: int) -> FloatArray:
    """Return (P, H, W) means of four pixels along an axis, as far as the surface is the same."""
    total, count = planes.copy(), np.ones(planes.shape[1:], np.float32)
    for shift in (-2, -1, 1):
        here = [slice(None)] * 3
        there = list(here)
        here[axis] = slice(max(0, -shift), min(0, -shift) or None)
        there[axis] = slice(max(0, shift), min(0, shift) or None)
        near, far = surface[tuple(here)], surface[tuple(there)]
        same = (np.abs(near - far).sum(axis=0) < 0.4).astype(np.float32)
        total[tuple(here)] += planes[tuple(there)] * same
        count[tuple(here[1:])] += same
    return total / count
