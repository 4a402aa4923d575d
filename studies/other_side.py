"""
Is a thing known again from another side? Its mean feature against matches of single tokens.

`python -m studies.other_side SOURCE... [--fuse MODEL]`: a source is the seed of a generated room,
looked at from twelve sides, or a sequence folder with true instances. Each thing of a view is
looked for among those of an earlier one, with true masks, so that only the looks count. Matches
are those of GeoAware-SC, also of the mirrored view if that is nearer. Printed are, for each score,
how often the right thing has the highest one, and how many are found where the least score that is
accepted is such that 0.5 % and 2 % of things that were not there before are taken for known ones.
Source: Zhang et al., "Telling left from right", CVPR 2024.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from diffseg_ros.backbones.base import Backbone
from diffseg_ros.backbones.loader import load_backbone
from diffseg_ros.config import BackboneConfig
from diffseg_ros.io.sequence_folder import SequenceFolder
from diffseg_ros.synthetic.camera_path import look_at
from diffseg_ros.synthetic.renderer import Renderer
from diffseg_ros.synthetic.scene import create_scene
from diffseg_ros.types import RgbImage
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

SIDES, DISTANCE, RISE = 12, 1.8, 0.9
STEPS = 1, 2, 3, 4, 6
"""Views between the two that are compared: 30 to 180 degrees in rooms."""
MARGIN = 0.02
UNDEFINED = 65535
LARGEST, LEAST_TOKENS = 12, 8
HALF_WIDTH, TEMPERATURE, RETURNED = 5, np.float32(0.02), 1.5
TAKEN_FOR_KNOWN = 0.005, 0.02

View = tuple[RgbImage, npt.NDArray[np.integer]]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Looks:
    """
    How a thing looks in one view.

    `tokens` are its (n, C) float16 features of length 1, `places` their (n, 2) float32 rows and
    columns. Of a large one every second or third token along both sides is kept, so that n is at
    most 144.
    """

    tokens: npt.NDArray[np.float16]
    places: FloatArray


@dataclass(frozen=True)
class Patch:
    """A thing's looks: (C,) its mean feature, of length 1, and its tokens."""

    mean: torch.Tensor
    looks: Looks


def room(seed: int) -> Iterator[View]:
    """Yield views of a generated room from all sides of its middle."""
    scene = create_scene(seed)
    renderer, focus = Renderer(scene), np.asarray(scene.focus)
    inside = np.array([scene.size[0] / 2, scene.size[1] / 2, scene.size[2]]) - 0.25
    for number, angle in enumerate(np.arange(SIDES) * 2 * np.pi / SIDES):
        offset = np.array([np.sin(angle) * DISTANCE, -np.cos(angle) * DISTANCE, RISE])
        position = np.clip(focus + offset, -inside, inside)
        seen = renderer.render(0.0, look_at(position[None], focus[None])[0], number)
        yield seen.rgb, seen.instances


def sequence(folder: Path) -> Iterator[View]:
    """Yield the views of a sequence with true instances."""
    source = SequenceFolder(folder)
    for number, frame in enumerate(source):
        instances = source.instances(number)
        assert instances is not None
        yield frame.rgb, instances


def patches(backbone: Backbone, rgb: RgbImage,
            instances: npt.NDArray[np.integer]) -> dict[int, Patch]:
    """Return the patch of each instance that is large enough."""
    grid = backbone.features(rgb)
    names, labels = np.unique(instances, return_inverse=True)
    labels = labels.reshape(instances.shape)
    unit = directions(grid)
    found = {}
    for number, looks in enumerate(segment_looks(grid, labels, len(names))):
        if looks is not None and names[number] != UNDEFINED:
            mask = torch.from_numpy((labels == number).astype(np.float32))[None]
            share = functional.adaptive_avg_pool2d(mask, grid.shape[1:])[0]
            mean = functional.normalize((unit * share).sum(dim=(1, 2)), dim=0)
            found[int(names[number])] = Patch(mean, looks)
    return found


def directions(features: torch.Tensor) -> torch.Tensor:
    """Return (C, h, w) features less their mean over the image, of length 1."""
    return functional.normalize(features - features.mean(dim=(1, 2), keepdim=True), dim=0)


def segment_looks(features: torch.Tensor, labels: npt.NDArray[np.integer],
                  count: int) -> list[Looks | None]:
    """
    Return how each segment looks, None for one of fewer than 8 tokens.

    `features` are (C, h, w), `labels` the (H, W) segments 0 to `count` - 1 of the same image.
    """
    height, width = features.shape[1:]
    rows, columns = (((np.arange(tokens) + 0.5) * pixels / tokens).astype(int)
                     for tokens, pixels in zip((height, width), labels.shape, strict=True))
    grid = directions(features).permute(1, 2, 0).to(torch.float16).cpu().numpy()
    small = labels[np.ix_(rows, columns)]
    return [_looks(grid, np.argwhere(small == label)) for label in range(count)]


def _looks(grid: npt.NDArray[np.float16], cells: npt.NDArray[np.intp]) -> Looks | None:
    """Return the looks of some cells of an (h, w, C) grid."""
    if len(cells) < LEAST_TOKENS:
        return None
    step = -(-int(np.ptp(cells, axis=0).max() + 1) // LARGEST)
    kept = cells[(cells % step == 0).all(axis=1)] if step > 1 else cells
    if len(kept) < LEAST_TOKENS:
        return None
    return Looks(grid[kept[:, 0], kept[:, 1]], (kept / step).astype(np.float32))


def similarity_there_and_back(old: Looks, new: Looks) -> float:
    """
    Return the cosine of tokens with their best match, those counting 0 that do not come back.

    A token of `old` is matched in `new`, to a fraction of a token by a softmax over a window round
    its best match; the token there is matched in `old` in the same way, and must lead to within
    1.5 tokens of where it began.
    """
    cosine = old.tokens.astype(np.float32) @ new.tokens.astype(np.float32).T
    there = _matched(cosine, new.places)
    landed = _squared_distance(there, new.places).argmin(axis=1)
    back = _matched(np.ascontiguousarray(cosine.T), old.places)[landed]
    returns = np.square(back - old.places).sum(axis=1) <= RETURNED**2
    return float((cosine.max(axis=1) * returns).mean())


def _matched(cosine: FloatArray, places: FloatArray) -> FloatArray:
    """Return the (n, 2) places that (n, m) cosines point at, among (m, 2) places."""
    best = cosine.argmax(axis=1)
    near = (np.abs(places[None] - places[best][:, None]) <= HALF_WIDTH).all(axis=2)
    weight = np.exp((cosine - cosine.max(axis=1, keepdims=True)) / TEMPERATURE) * near
    matched: FloatArray = weight @ places / weight.sum(axis=1, keepdims=True)
    return matched


def _squared_distance(one: FloatArray, other: FloatArray) -> FloatArray:
    difference = one[:, None] - other[None]
    squared: FloatArray = np.square(difference).sum(axis=2)
    return squared


def scores(old: Patch, new: Patch, mirrored: Patch) -> dict[str, float]:
    """Return every score of two views of what may be one thing; `mirrored` is the new one's."""
    mean = float(old.mean @ new.mean)
    nearest = nearest_tokens(old.looks, new.looks)
    back = similarity_there_and_back(old.looks, new.looks)
    turned = max(back, similarity_there_and_back(old.looks, mirrored.looks))
    return {'mean feature': mean, 'nearest tokens': nearest, 'there and back': back,
            'mean feature + nearest tokens': mean + nearest,
            'mean feature + there and back': mean + back,
            'the same, or mirrored': mean + turned}


def nearest_tokens(old: Looks, new: Looks) -> float:
    """Return the mean cosine of tokens with the nearest of the other view, both ways."""
    cosine = old.tokens.astype(np.float32) @ new.tokens.astype(np.float32).T
    return float(cosine.max(axis=0).mean() + cosine.max(axis=1).mean()) / 2


def searches(backbone: Backbone, views: list[View]) -> Iterator[tuple[int, dict[int, dict]]]:
    """Yield each thing that is seen again, and its scores with all things of the other view."""
    seen = [patches(backbone, *view) for view in views]
    turned = [patches(backbone, np.ascontiguousarray(rgb[:, ::-1]), instances[:, ::-1].copy())
              for rgb, instances in views]
    for late in range(len(views)):
        for early in (late - step for step in STEPS if late - step >= 0):
            for name in seen[late].keys() & seen[early].keys() & turned[late].keys():
                yield name, {other: scores(old, seen[late][name], turned[late][name])
                             for other, old in seen[early].items()}


def best(values: Mapping[int, float]) -> tuple[int, float]:
    """Return who has the highest score, and that, -inf where the second one is near."""
    first, *rest = sorted(values, key=lambda name: values[name], reverse=True)
    clear = not rest or values[first] - values[rest[0]] >= MARGIN
    return first, values[first] if clear else -np.inf


def main() -> None:
    """Print a line for each score."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n\n')[0])
    parser.add_argument('sources', nargs='+')
    parser.add_argument('--fuse', default='')
    arguments = parser.parse_args()
    backbone = load_backbone(BackboneConfig(fuse=arguments.fuse))
    found = [search for source in arguments.sources for search in searches(
        backbone, list(room(int(source)) if source.isdigit() else sequence(Path(source))))]
    print(f'{backbone.name}: {len(found)} things looked for')
    for score in next(iter(found[0][1].values())):
        tables = [(name, {other: all_[score] for other, all_ in table.items()})
                  for name, table in found]
        known = [(best(table), name) for name, table in tables]
        new = sorted((best({other: value for other, value in table.items() if other != name})[1]
                      for name, table in tables if len(table) > 1), reverse=True)
        first = np.mean([max(table, key=lambda other: table[other]) == name
                         for name, table in tables])
        print(f'{score:32}{first:7.3f}', end='')
        for share in TAKEN_FOR_KNOWN:
            least = new[int(share * len(new))]
            right, wrong = (np.mean([value > least and (who == name) is right
                                     for (who, value), name in known]) for right in (True, False))
            print(f'   above {least:.2f}: found {right:.3f} wrong {wrong:.3f}', end='')
        print(flush=True)


if __name__ == '__main__':
    main()
