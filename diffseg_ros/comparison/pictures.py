"""Pictures of the frames of a replay that changed most, small enough for a page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import cv2
from diffseg_ros.comparison.comparison import Comparison
from diffseg_ros.geometry.label_images import resize_labels
from diffseg_ros.io.images import read_image, read_labels
from diffseg_ros.types import LabelImage, RgbImage, UNLABELLED
from diffseg_ros.viz.overlay import draw_overlay
import numpy as np
import numpy.typing as npt

MAX_PICTURES = 12
"""Frames with pictures in a page, all recordings together."""

_WIDTH = 360
_QUALITY = 78
_APART = 2 * MAX_PICTURES
_COLOUR_SHARE = 0.6
_FADED, _SHADE = 0.35, 41
_MOVED_COLOUR = (255, 70, 50)
_FAR_IN_TABLE = 2048


def worst_frames(comparisons: Sequence[Comparison]) -> list[list[int]]:
    """
    Return places in `frames` of each comparison: MAX_PICTURES in all, in order.

    Every comparison gives its worst frame before any gives its second, those first that stand
    first. Frames close to one chosen are passed over, as they look alike.
    """
    share = -(-MAX_PICTURES // max(1, len(comparisons)))
    wanted = [_spread(comparison, share) for comparison in comparisons[:MAX_PICTURES]]
    turns = [(turn, row) for row, frames in enumerate(wanted) for turn in range(len(frames))]
    chosen: list[list[int]] = [[] for _ in comparisons]
    for turn, row in sorted(turns)[:MAX_PICTURES]:
        chosen[row].append(wanted[row][turn])
    return [sorted(frames) for frames in chosen]


def draw_pictures(comparison: Comparison, place: int) -> dict[str, str]:
    """
    Return data URLs of a frame: 'new', and with an old replay 'old' and 'moved'.

    The same thing has the same colour in both, over the grey of the overlays where there are
    any. What moved is red.
    """
    number = comparison.frames[place]
    new = read_labels(comparison.new.labels[number])
    height, width = _size(new)
    small = resize_labels(new, height, width)
    overlay = comparison.new.overlay(number)
    if comparison.old is None:
        picture = draw_overlay(_grey(overlay, height, width), small, _COLOUR_SHARE)
        return {'new': _url(picture)}
    old = resize_labels(read_labels(comparison.old.labels[number]), height, width)
    moved = comparison.match.partners(old.astype(np.int64)) != small
    behind = _grey(overlay, height, width)
    faded = (behind * _FADED + _SHADE).astype(np.uint8)
    faded[moved] = _MOVED_COLOUR
    old_grey = _grey(comparison.old.overlay(number), height, width)
    return {'old': _url(draw_overlay(old_grey, old, _COLOUR_SHARE)),
            'new': _url(draw_overlay(behind, shown_ids(comparison, small), _COLOUR_SHARE)),
            'moved': _url(faded)}


def shown_ids(comparison: Comparison, new: npt.NDArray[np.integer]) -> LabelImage:
    """Return ids by whose colours new ids are shown: the old one, else one far from them."""
    if comparison.old is None:
        return new.astype(np.int32)
    order = np.argsort(comparison.match.new)
    ends = np.append(comparison.match.new[order], np.iinfo(np.int64).max)
    places = np.searchsorted(ends, new)
    old = np.append(comparison.match.old[order], UNLABELLED)[places]
    return np.where((ends[places] == new) | (new == UNLABELLED), old,
                    new + _FAR_IN_TABLE).astype(np.int32)


def _spread(comparison: Comparison, count: int) -> list[int]:
    """Return up to `count` of the worst frames, the worst first; by itself evenly spaced ones."""
    total = len(comparison.frames)
    if comparison.old is None:
        evenly = np.rint(np.linspace(0, total - 1, min(count, total)))
        return sorted({int(place) for place in evenly})
    near = total / _APART
    chosen: list[int] = []
    for place in np.argsort(-np.array(comparison.moved), kind='stable').tolist():
        if len(chosen) == count or (chosen and not comparison.moved[place]):
            break
        if all(abs(place - other) >= near for other in chosen):
            chosen.append(place)
    return chosen


def _size(labels: LabelImage) -> tuple[int, int]:
    height, width = labels.shape
    return max(2, round(height * min(1.0, _WIDTH / width))), min(width, _WIDTH)


def _grey(overlay: Path | None, height: int, width: int) -> RgbImage:
    """Return what is behind the colours: an overlay without its own, or nothing but grey."""
    if overlay is None:
        return np.full((height, width, 3), 160, np.uint8)
    small = cv2.resize(read_image(overlay), (width, height), interpolation=cv2.INTER_AREA)
    return np.repeat(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


def _url(picture: RgbImage) -> str:
    data = cv2.imencode('.jpg', cv2.cvtColor(picture, cv2.COLOR_RGB2BGR),
                        [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return f'data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}'
