"""
How good the names of tracks are, and what they cost.

`python -m studies.names photos imagenet1k_one_per_class.tar` names the largest segment in the
middle of photos of one thing each, whose file's number is the class of ImageNet.

`python -m studies.names tracks SEQUENCE...` prints how often names change and their share of the
time; with `--sheet FILE` it shows the ten largest segments of the frame in the middle of each
sequence, to be named by hand, with what they were named by its end.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
import tarfile

import cv2
from diffseg_ros.config import PipelineConfig
from diffseg_ros.io.images import write_image
from diffseg_ros.io.source import open_source
from diffseg_ros.naming.base import Crop
from diffseg_ros.naming.imagenet import ImageNetModel
from diffseg_ros.naming.views import crop_of
from diffseg_ros.pipeline import Pipeline
from diffseg_ros.settings import updated
from diffseg_ros.types import Frame, LabelImage, Mask, Result, RgbImage
from diffseg_ros.viz.overlay import write_text
import numpy as np
import torch

EVERY, OFFSET = 5, 0
SHOWN, THUMBNAIL = 10, 200


def photos(archive: Path) -> Iterator[tuple[int, RgbImage]]:
    """Yield the class and the picture of every fifth photo."""
    with tarfile.open(archive) as files:
        for member in files:
            if not member.name.endswith('.jpg') or int(member.name[-9:-4]) % EVERY != OFFSET:
                continue
            file = files.extractfile(member)
            assert file is not None
            data = np.frombuffer(file.read(), np.uint8)
            image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
            assert image is not None
            yield int(member.name[-9:-4]), image.astype(np.uint8)


def central(labels: LabelImage) -> int:
    """Return the segment with the most pixels in the middle half of an image."""
    height, width = labels.shape
    middle = labels[height // 4:-(height // 4), width // 4:-(width // 4)]
    return int(np.bincount(middle.ravel()).argmax())


def rank(model: ImageNetModel, crop: Crop, number: int) -> int:
    """Return how many classes are more likely than the true one."""
    likely = model.class_probabilities(model.embed([crop]))[0]
    return int((likely > likely[number]).sum())


def measure_photos(archive: Path) -> None:
    """Print how often the true class is the first, and among the first five."""
    model, pipeline = ImageNetModel(torch.device('cpu')), Pipeline()
    ranks = []
    for number, rgb in photos(archive):
        labels = pipeline.segment(Frame(rgb)).labels
        crop = crop_of(rgb, labels, central(labels))
        assert crop is not None
        whole = Crop(rgb, np.ones(rgb.shape[:2], bool))
        ranks.append((rank(model, crop, number), rank(model, whole, number)))
    for name, column in zip(('segment', 'whole photo'), np.array(ranks).T, strict=True):
        print(f'{name}: {len(column)} photos, top-1 {(column < 1).mean():.3f}, '
              f'top-5 {(column < 5).mean():.3f}')


def measure_tracks(sequences: list[Path], config: PipelineConfig, sheet: Path | None) -> None:
    """Print changes of names, their share of the time, and the names of what the sheet shows."""
    rows = []
    for path in sequences:
        source = open_source(path)
        pipeline, middle = Pipeline(config), source.frame_count // 2
        milliseconds: Counter[str] = Counter()
        changes = seen = 0
        names: dict[int, str] = {}
        shown = None
        for number, frame in enumerate(source):
            result = pipeline.process(frame)
            milliseconds.update(result.latency_ms)
            for track in result.tracks:
                if track.pixels and track.name:
                    changes += names.get(track.id, track.name) != track.name
                    seen += 1
                    names[track.id] = track.name
            if number == middle:
                shown = result
        assert shown is not None
        rows.append(np.hstack(list(largest(shown, names))))
        print(f'{path.name}: {len(names)} tracks named, a change of name in 100 frames of a '
              f'track {100 * changes / max(seen, 1):.2f}, naming '
              f'{milliseconds["naming"] / milliseconds["total"]:.1%} of the time')
    if sheet is not None:
        write_image(sheet, np.vstack(rows))


def largest(result: Result, names: Mapping[int, str]) -> Iterator[RgbImage]:
    """Yield a picture of each of the largest segments in its surroundings, with its name."""
    ids, counts = np.unique(result.labels[result.labels >= 0], return_counts=True)
    for identity in ids[np.argsort(-counts)[:SHOWN]].tolist():
        text = f'{identity} {names.get(identity, "no picture")}'
        yield _thumbnail(result.frame.rgb, result.labels == identity, text)


def _thumbnail(rgb: RgbImage, mask: Mask, text: str) -> RgbImage:
    picture = np.where(mask[..., None], rgb, rgb // 3)
    scale = THUMBNAIL / max(mask.shape)
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    out = np.zeros((THUMBNAIL * 3 // 4, THUMBNAIL, 3), np.uint8)
    out[:small.shape[0], :small.shape[1]] = small[:out.shape[0]]
    write_text(out, text, (4, 14), 0.45)
    return out


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser('python -m studies.names', description=__doc__)
    parser.add_argument('what', choices=('photos', 'tracks'))
    parser.add_argument('paths', nargs='+', type=Path)
    parser.add_argument('--sheet', type=Path, metavar='FILE')
    options = parser.parse_args()
    if options.what == 'photos':
        measure_photos(options.paths[0])
    else:
        config = updated(PipelineConfig(), {'naming.model': 'imagenet'})
        measure_tracks(options.paths, config, options.sheet)


if __name__ == '__main__':
    main()
