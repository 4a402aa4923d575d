"""Light on surfaces, and what a camera makes of it."""

from __future__ import annotations

from typing import Any, TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from diffseg_ros.synthetic.renderer import Hits, Renderer

FloatArray = npt.NDArray[np.float32]

_CELL = 4
_REACH = 0.55
_BIAS = np.float32(2e-3)


def illuminate(renderer: Renderer, world: Any, hits: Hits, shape: tuple[int, int]) -> FloatArray:
    """
    Return the (N, 3) linear light that comes from every hit.

    Shadows and ambient occlusion use one ray per pixel and light. The sample differs between
    the pixels of 4x4 cells, and averaging over a cell's worth of neighbours on the same surface
    gives the mean of all 16.
    """
    scene = renderer.scene
    columns, rows = hits.pixel % shape[1], hits.pixel // shape[1]
    sample = (rows % _CELL * _CELL + columns % _CELL).astype(np.int64)
    sample = _SHUFFLE[sample]
    origin = hits.position + hits.normal * _BIAS
    seen = np.empty((len(hits.pixel), 1 + len(scene.lights)), np.float32)
    around = _around(hits.normal, sample)
    seen[:, 0] = ~renderer.occluded(world, origin, around * np.float32(_REACH), 1.0)
    towards = []
    for number, light in enumerate(scene.lights):
        towards.append(np.float32(light.position) - origin)
        ray = towards[-1] + light.radius * _BALL[sample]
        seen[:, 1 + number] = ~renderer.occluded(world, origin, ray, 0.999)
    seen = _average(seen, hits, shape)  # type: ignore[assignment]
    up = hits.normal[:, 2:]
    ambient = np.float32(scene.ambient) * (0.8 + 0.2 * up)
    diffuse = ambient * (0.35 + 0.65 * seen[:, :1])
    specular = np.zeros_like(diffuse)
    strength, shininess, emission = renderer.surface[hits.material].T
    for number, light in enumerate(scene.lights):
        distance = length(towards[number])[:, None]
        direction = towards[number] / distance
        cosine = np.maximum(np.einsum('ij,ij->i', hits.normal, direction), 0)[:, None]
        power = np.float32(light.colour) * seen[:, 1 + number:2 + number] / (distance**2 + 1.0)
        diffuse += power * cosine
        half = direction + hits.view
        half /= length(half)[:, None]
        gloss = np.maximum(np.einsum('ij,ij->i', hits.normal, half), 0) ** shininess
        specular += power * (gloss * (cosine[:, 0] > 0))[:, None]
    rim = (strength * (0.15 + 0.85 * (1 - hits.incidence) ** 5))[:, None]
    return (hits.albedo * (diffuse + emission[:, None]) + specular * 2 * strength[:, None]
            + rim * np.float32(scene.ambient) * seen[:, :1] * 0.6)


def length(vectors: FloatArray) -> FloatArray:
    """Return the (N,) lengths of (N, 3) vectors."""
    return np.sqrt(np.einsum('ij,ij->i', vectors, vectors))


def tone_map(light: FloatArray, exposure: float = 1.35, saturation: float = 0.8) -> FloatArray:
    """Return display-referred colour in [0, 1] by a filmic curve."""
    grey = light @ np.float32([0.25, 0.62, 0.13])
    x = (light * saturation + grey[:, None] * (1 - saturation)) * np.float32(exposure)
    curve = x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)
    return np.sqrt(np.clip(curve, 0, 1))


def expose(image: FloatArray, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """
    Return the photo of a lens and sensor: slight blur, vignetting, noise.

    Parameters
    ----------
    image
        (H, W, 3) float32 in [0, 1].
    rng
        Makes the noise.

    """
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


def _around(normal: FloatArray, sample: npt.NDArray[np.int64]) -> FloatArray:
    """Return (N, 3) hemisphere directions about the normals."""
    helper = np.where(np.abs(normal[:, 2:]) < 0.9, np.float32([[0, 0, 1]]),
                      np.float32([[1, 0, 0]]))
    first = np.cross(helper, normal)
    first /= length(first)[:, None]
    second = np.cross(normal, first)
    x, y, z = _HEMISPHERE[sample].T[..., None]
    return first * x + second * y + normal * z


def _average(values: FloatArray, hits: Hits, shape: tuple[int, int]) -> FloatArray:
    """Return the mean over a cell's size of pixels on the same surface."""
    size = shape[0] * shape[1]
    planes = np.zeros((values.shape[1], size), np.float32)
    planes[:, hits.pixel] = values.T
    surface = np.zeros((4, size), np.float32)
    surface[:3, hits.pixel] = hits.normal.T
    surface[3, hits.pixel] = hits.part * 2
    mean: FloatArray = planes.reshape(-1, *shape)
    for axis in (1, 2):
        mean = _average_along(mean, surface.reshape(-1, *shape), axis)
    return mean.reshape(len(mean), -1)[:, hits.pixel].T


def _average_along(planes: FloatArray, surface: FloatArray, axis: int) -> FloatArray:
    total, count = planes.copy(), np.ones(planes.shape[1:], np.float32)
    for shift in (-2, -1, 1):
        here = [slice(None)] * 3
        there = list(here)
        here[axis] = slice(max(0, -shift), min(0, -shift) or None)
        there[axis] = slice(max(0, shift), min(0, shift) or None)
        near, far = surface[tuple(here)], surface[tuple(there)]
        like = np.abs(near[0] - far[0])
        for plane in (1, 2, 3):
            like += np.abs(near[plane] - far[plane])
        same = (like < 0.4).astype(np.float32)
        total[tuple(here)] += planes[tuple(there)] * same
        count[tuple(here[1:])] += same
    return total / count
