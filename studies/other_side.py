"""
Is a thing known again from another side? Its mean feature against matches of single tokens.

`python -m studies.other_side SOURCE... [--fuse MODEL]`: a source is the seed of a generated room,
looked at from twelve sides, or a sequence folder with true instances. Each thing of a view is
looked for among those of an earlier one, with true masks, so that only the looks count. The
matches are those of GeoAware-SC: a softmax over a window round the best token, there and back, of
the view or of its mirror image, whichever is nearer. Printed are, for each score, how often the
right thing has the highest one, and how many are found where the least score that is accepted is
such that 0.5 % and 2 % of things that were not there before would be taken for one that was.
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
LARGEST, LEAST_SHARE, MARGIN = 16, 0.002, 0.02
HALF_WIDTH, TEMPERATURE, RETURNED = 5, 0.02, 1.5
TAKEN_FOR_KNOWN = 0.005, 0.02

View = tuple[RgbImage, npt.NDArray[np.integer]]


@dataclass(frozen=True)
class Patch:
    """A thing's looks: (C,) its mean, (C, n) its tokens, of length 1, and their (n, 2) places."""

    mean: torch.Tensor
    tokens: torch.Tensor
    places: torch.Tensor


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
    """Yield the views of a sequence with true instances; 65535 is undefined."""
    source = SequenceFolder(folder)
    for number, frame in enumerate(source):
        instances = source.instances(number)
        assert instances is not None
        yield frame.rgb, instances


def patches(backbone: Backbone, rgb: RgbImage,
            instances: npt.NDArray[np.integer]) -> dict[int, Patch]:
    """Return the patch of each instance that is large enough."""
    grid = backbone.features(rgb)
    grid = functional.normalize(grid - grid.mean(dim=(1, 2), keepdim=True), dim=0)
    found = {}
    for name, count in zip(*np.unique(instances, return_counts=True), strict=True):
        if name == 65535 or count < LEAST_SHARE * instances.size:
            continue
        mask = torch.from_numpy((instances == name).astype(np.float32))[None]
        share = functional.adaptive_avg_pool2d(mask, grid.shape[1:])[0]
        inside = share >= min(0.5, float(share.max()))
        rows, columns = (slice(int(axis.min()), int(axis.max()) + 1)
                         for axis in torch.nonzero(inside, as_tuple=True))
        crop, kept = grid[:, rows, columns], inside[rows, columns].float()
        scale = min(1.0, LARGEST / max(kept.shape))
        size = [max(1, round(length * scale)) for length in kept.shape]
        kept = functional.interpolate(kept[None, None], size, mode='area')[0, 0]
        crop = functional.interpolate(crop[None], size, mode='area')[0]
        chosen = kept >= min(0.5, float(kept.max()))
        mean = functional.normalize((grid * share).sum(dim=(1, 2)), dim=0)
        found[int(name)] = Patch(mean, functional.normalize(crop[:, chosen], dim=0),
                                 torch.nonzero(chosen).float())
    return found


def there(scores: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Return the (n, 2) places that (n, m) scores point at: a window's softmax round the best."""
    middle = places[scores.argmax(dim=1)]
    near = ((places[None] - middle[:, None]).abs() <= HALF_WIDTH).all(dim=2)
    return torch.softmax((scores / TEMPERATURE).masked_fill(~near, -torch.inf), dim=1) @ places


def scores(old: Patch, new: Patch, mirrored: Patch) -> dict[str, float]:
    """Return every score of two views of what may be one thing; `mirrored` is the new one's."""
    def both(view: Patch) -> tuple[float, float]:
        cosine = old.tokens.T @ view.tokens
        nearest = (cosine.amax(dim=0).mean() + cosine.amax(dim=1).mean()) / 2
        landed = torch.cdist(there(cosine, view.places), view.places).argmin(dim=1)
        back = there(cosine.T, old.places)[landed]
        returns = (back - old.places).norm(dim=1) <= RETURNED
        return float(nearest), float((cosine.amax(dim=1) * returns).mean())

    nearest, returning = both(new)
    turned, turned_returning = both(mirrored)
    mean = float(old.mean @ new.mean)
    return {'mean feature': mean, 'nearest tokens': nearest,
            'nearest tokens, or mirrored': max(nearest, turned),
            'there and back': returning, 'there and back, or mirrored': max(
                returning, turned_returning),
            'mean feature + nearest tokens, or mirrored': mean + max(nearest, turned),
            'mean feature + there and back, or mirrored': mean + max(returning, turned_returning)}


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
        print(f'{score:45}{first:7.3f}', end='')
        for share in TAKEN_FOR_KNOWN:
            least = new[int(share * len(new))]
            right, wrong = (np.mean([value > least and (who == name) is right
                                     for (who, value), name in known]) for right in (True, False))
            print(f'   found {right:.3f} wrong {wrong:.3f}', end='')
        print(flush=True)


if __name__ == '__main__':
    main()
