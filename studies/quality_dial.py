"""
What groupings gain when features get better: the truth is mixed into them, by shares.

`python -m studies.quality_dial DATASET...` prints mean mIoU @ segments an image for each grouping
and share. `diffseg` groups attention, not features, and is left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from diffseg_ros.backbones.loader import load_backbone
from diffseg_ros.cli.command import progress
from diffseg_ros.cli.pipeline_options import add_pipeline_options, pipeline_config
from diffseg_ros.evaluation.datasets import IGNORED_CLASS, MaskDataset, Truth
from diffseg_ros.evaluation.masks import MeanIou
from diffseg_ros.model_defaults import EMBEDDED, SD1, with_model_defaults
from diffseg_ros.pipeline import create_method
from diffseg_ros.segmentation.base import SegmentationMethod, SegmentationSettings
from diffseg_ros.segmentation.region_cut import CutTree
from diffseg_ros.segmentation.region_graph import RegionGraph
from diffseg_ros.segmentation.regions import Regions
from diffseg_ros.threads import one_blas_thread
from diffseg_ros.types import RgbImage
import numpy as np
import torch
from torch.nn import functional

from studies.local_merging import MergingCost, nearest_merge
from studies.stand_in_features import label_shares

SHARES = 0.0, 0.2, 0.4, 0.6
"""Weights of the truth in the features."""

Score = tuple[float, float]
"""Mean IoU and segments an image."""
Features = Callable[[RgbImage], torch.Tensor]
"""Returns the (C, h, w) float32 features of an image."""

NAMES = ('regions', 'local merging', 'local merging, features 3', 'kway', 'diffcut',
         'regions as for Stable Diffusion', 'kway as for Stable Diffusion')

_FITTED_IMAGES = 64


class LocalMerging(Regions):
    """The regions of the default, merged as the default did before the cut."""

    features, threshold = 0.7, 0.025

    def tree(self, regions: RegionGraph) -> CutTree:
        """Return the merged groups as a tree that is the same at every threshold."""
        cost = MergingCost(int(regions.size.sum()), self.features)
        group = nearest_merge(regions, cost, self.threshold)
        order = np.argsort(group, kind='stable').astype(np.int32)
        return CutTree(order, np.where(np.diff(group[order]), 0.0, np.inf))


class StrongLocalMerging(LocalMerging):
    """The same with a weight that suits strong features better."""

    features, threshold = 3.0, 0.12


def groupings(config: SegmentationSettings) -> dict[str, Callable[[], SegmentationMethod]]:
    """Return what makes each grouping with these settings anew, by name."""
    filled = with_model_defaults(config, EMBEDDED, config.method, 'segmentation.')
    regions = filled.section('regions'), filled.replace(max_segments=1024)
    makers: list[Callable[[], SegmentationMethod]] = [
        partial(create_method, config.replace(method='regions')),
        partial(LocalMerging, *regions), partial(StrongLocalMerging, *regions),
        partial(create_method, config.replace(method='kway')),
        partial(create_method, config.replace(method='diffcut')),
        partial(create_method, config.replace(method='regions'), SD1),
        partial(create_method, config.replace(method='kway'), SD1)]
    return dict(zip(NAMES, makers, strict=True))


def mixed(features: torch.Tensor, truth: Truth, share: float) -> torch.Tensor:
    """
    Return (C, h, w) features of length 1, with that share of the truth mixed in.

    The features are centred and normalised first. A token's truth is a random code of length 1,
    the same in all images, for the label that most of its cell has; where that is to be ignored
    the token stays as it is.
    """
    channels, height, width = features.shape
    unit = functional.normalize(features - features.mean(dim=(1, 2), keepdim=True), dim=0)
    labels, shares = label_shares(truth, height, width)
    token = torch.from_numpy(labels[shares.argmax(axis=0)]).long()
    codes = functional.normalize(torch.randn(
        IGNORED_CLASS + 1, channels, generator=torch.Generator().manual_seed(0)), dim=1)
    weight = share * (token != IGNORED_CLASS)
    return functional.normalize((1 - weight) * unit + weight * codes[token].permute(2, 0, 1),
                                dim=0)


def measure(dataset: MaskDataset, features: Features,
            methods: Mapping[str, Callable[[], SegmentationMethod]],
            shares: Sequence[float] = SHARES, every: int = 1) -> dict[tuple[str, float], Score]:
    """Return the score of each method and share on every so many-th image of a data set."""
    measures = {(name, share): MeanIou() for name in methods for share in shares}
    count = -(-len(dataset) // every)
    for _, frame, truth in progress(islice(dataset, 0, None, every), count, dataset.name):
        base = features(frame.rgb)
        for share in shares:
            grid = mixed(base, truth, share)
            for name, make in methods.items():
                with one_blas_thread():
                    labels = make().segment(frame, grid).labels
                measures[name, share].update(dataset.observation(frame, truth, labels))
    computed = {key: measure.compute() for key, measure in measures.items()}
    return {key: (found['miou'], found['segments_per_image']) for key, found in computed.items()}


def mean_scores(scores: Sequence[Mapping[tuple[str, float], Score]]
                ) -> dict[tuple[str, float], Score]:
    """Return the means of the scores of several data sets."""
    return {key: (float(np.mean([found[key][0] for found in scores])),
                  float(np.mean([found[key][1] for found in scores]))) for key in scores[0]}


def teacher_features(images: Sequence[RgbImage]) -> Features:
    """Return the features of the embedded model's teacher, whitened on these images."""
    from diffseg_ros.training.teacher import Teacher

    teacher = Teacher(torch.device('cpu'))
    teacher.fit(images)
    return lambda rgb: torch.from_numpy(teacher.maps([rgb])[0]).float().permute(2, 0, 1)


def _sample(datasets: Sequence[MaskDataset]) -> Iterator[RgbImage]:
    """Yield the images, evenly chosen, that the teacher's features are whitened on."""
    step = -(-sum(map(len, datasets)) // _FITTED_IMAGES)
    for dataset in datasets:
        yield from (frame.rgb for _, frame, _ in islice(dataset, 0, None, step))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser('python -m studies.quality_dial', description=__doc__)
    parser.add_argument('datasets', nargs='+', type=Path, metavar='DATASET')
    parser.add_argument('--features', choices=('embedded', 'teacher'), default='embedded')
    parser.add_argument('--every', type=int, default=1, metavar='N',
                        help='only every Nth image of a set')
    parser.add_argument('--methods', nargs='+', choices=NAMES, metavar='NAME', default=NAMES,
                        help=f'only these of {", ".join(NAMES)}')
    add_pipeline_options(parser)
    options = parser.parse_args(arguments)
    config = pipeline_config(options)
    datasets = [MaskDataset(path) for path in options.datasets]
    features = (load_backbone(config.backbone).features if options.features == 'embedded'
                else teacher_features(list(_sample(datasets))))
    methods = {name: groupings(config.segmentation)[name] for name in options.methods}
    scores = mean_scores([measure(dataset, features, methods, every=options.every)
                          for dataset in datasets])
    print('| share of the truth |', ' | '.join(f'{share:.0%}' for share in SHARES), '|')
    print('|---' * (len(SHARES) + 1) + '|')
    for name in methods:
        cells = ('{:.3f} @ {:.0f}'.format(*scores[name, share]) for share in SHARES)
        print(f'| {name} |', ' | '.join(cells), '|')


if __name__ == '__main__':
    main()
