"""
How much of thin things is kept: legs, posts and poles of generated rooms, and cables.

`python -m studies.thin_things` prints the figures with rims absorbed and without.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from unittest.mock import patch

import cv2
from diffseg_ros.geometry.label_images import resize_labels
from diffseg_ros.pipeline import Pipeline
from diffseg_ros.segmentation.region_graph import RegionGraph
from diffseg_ros.synthetic.camera_path import camera_path
from diffseg_ros.synthetic.renderer import Renderer
from diffseg_ros.synthetic.scene import create_scene
from diffseg_ros.types import Frame, LabelImage, Mask, RgbImage
import numpy as np
import numpy.typing as npt

Picture = tuple[RgbImage, LabelImage]
"""An (H, W, 3) image and the (H, W) thing at each pixel, 0 for background."""

THIN_THINGS = 'chair', 'table', 'floor lamp', 'pendant lamp'
SIZE = 240, 320
THICKNESS = 6
"""Pixels of `SIZE` up to which a part is thin; even, so that the ball one wider is odd."""
LEAST = 40
"""Pixels of `SIZE` that a thin part has at least."""
LEAST_IOU, LEAST_COVERED = 0.3, 0.5


def rooms(seeds: Iterable[int]) -> Iterator[Picture]:
    """Yield two views of each generated room, where the things are those with legs or poles."""
    for seed in seeds:
        scene = create_scene(seed)
        renderer = Renderer(scene)
        things = [instance.number for instance in scene.instances if instance.name in THIN_THINGS]
        times = np.array([0.0, 3.0])
        for time, pose in zip(times, camera_path(scene, times, seed), strict=True):
            view = renderer.render(time, pose, seed)
            yield view.rgb, np.where(np.isin(view.instances, things), view.instances, 0)


def cables(seeds: Iterable[int]) -> Iterator[Picture]:
    """Yield curved cables of 4 to 10 pixels before walls of two colours, 640x480, blurred."""
    for seed in seeds:
        random = np.random.default_rng(seed)
        left, right, cable = _distinct_colours(random)
        rgb = np.full((480, 640, 3), left, np.uint8)
        rgb[:, random.integers(200, 440):] = right
        x = np.linspace(0, 639, 60)
        y = 240 + random.uniform(-120, 120) + random.uniform(20, 90) * np.sin(
            x / random.uniform(60, 150) + random.uniform(0, 6))
        truth = np.zeros((480, 640), np.uint8)
        cv2.polylines(truth, [np.stack([x, y], axis=1).astype(np.int32)], False, 1,
                      int(random.integers(4, 11)))
        rgb[truth > 0] = cable
        noisy = np.clip(rgb + random.integers(-6, 7, rgb.shape), 0, 255).astype(np.uint8)
        yield cv2.GaussianBlur(noisy, (0, 0), random.uniform(0.5, 3)), truth.astype(np.int32)


def _distinct_colours(random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Return (3, 3) uint8 colours that are 40 or more apart in CIE Lab."""
    while True:
        colours = random.integers(20, 236, (1, 3, 3)).astype(np.uint8)
        lab = cv2.cvtColor(colours.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
        if np.linalg.norm(lab - np.roll(lab, 1, axis=0), axis=1).min() >= 40:
            return colours[0]


def thin_parts(truth: LabelImage) -> Iterator[tuple[Mask, Mask]]:
    """Yield (h, w) masks of each connected thin part of a thing, and of the whole thing."""
    ball = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (THICKNESS + 1,) * 2)
    for thing in np.unique(truth[truth > 0]):
        mask = (truth == thing).view(np.uint8)
        thin = mask & ~cv2.morphologyEx(mask, cv2.MORPH_OPEN, ball)
        _, parts, stats, _ = cv2.connectedComponentsWithStats(thin, connectivity=8)
        for part in 1 + np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] >= LEAST):
            yield parts == part, mask.view(bool)


def thin_recall(pipeline: Pipeline, pictures: Iterable[Picture]) -> dict[str, float]:
    """
    Return how many thin parts there are and which share of them is found.

    `iou`: one segment has an IoU of 0.3 with the part. `covered`: at least half of the part lies
    in segments that are mostly of its thing.
    """
    found = []
    for rgb, truth in pictures:
        labels = resize_labels(pipeline.segment(Frame(rgb)).labels, *SIZE)
        size = np.bincount(labels.ravel())
        for part, whole in thin_parts(resize_labels(truth, *SIZE)):
            common = np.bincount(labels[part], minlength=len(size))
            mostly = 2 * np.bincount(labels[whole], minlength=len(size)) > size
            iou = (common / (size + np.count_nonzero(part) - common)).max()
            covered = common[mostly].sum() / np.count_nonzero(part)
            found.append((iou >= LEAST_IOU, covered >= LEAST_COVERED))
    iou, covered = np.mean(found, axis=0)
    return {'parts': len(found), 'iou': float(iou), 'covered': float(covered)}


def rims_kept(graph: RegionGraph) -> tuple[npt.NDArray[np.int32], RegionGraph]:
    """Stand in for `absorb_rims`: nothing is absorbed."""
    return np.arange(len(graph.size), dtype=np.int32), graph


def main() -> None:
    pipeline = Pipeline()
    for name, pictures in (('rooms', list(rooms(range(8)))), ('cables', list(cables(range(60))))):
        print(f'{name}, rims absorbed:', thin_recall(pipeline, pictures))
        with patch('diffseg_ros.segmentation.regions.absorb_rims', rims_kept):
            print(f'{name}, rims kept:', thin_recall(pipeline, pictures))


if __name__ == '__main__':
    main()
