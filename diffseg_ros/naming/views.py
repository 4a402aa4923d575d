"""Which tracks are looked at next, and the part of the image that shows each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import cv2
from diffseg_ros.naming.base import Crop
from diffseg_ros.types import LabelImage, RgbImage, Track
import numpy as np

_MARGIN = 0.05
_ENOUGH_VIEWS = 6
_BETTER = 1.5


def tracks_to_view(tracks: Iterable[Track], views: Mapping[int, int], best: Mapping[int, int],
                   budget: int) -> list[Track]:
    """
    Return at most `budget` tracks in view: those seen least first, of these the best seen.

    Parameters
    ----------
    tracks
        All that are alive.
    views, best
        How often each id was looked at, and the pixels of its best view.
    budget
        The most that are returned.

    """
    shown = [track for track in tracks if track.pixels
             and (views.get(track.id, 0) < _ENOUGH_VIEWS
                  or track.pixels > _BETTER * best[track.id])]
    return sorted(shown, key=lambda track: (
        views.get(track.id, 0), -track.pixels / best.get(track.id, 1)))[:budget]


def crop_of(rgb: RgbImage, labels: LabelImage, identity: int) -> Crop | None:
    """Return the box around a track with a margin, copied; None where it has no pixels."""
    mask = labels == identity
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    if not width:
        return None
    across, down = int(_MARGIN * width), int(_MARGIN * height)
    part = (slice(max(0, top - down), top + height + down),
            slice(max(0, left - across), left + width + across))
    return Crop(rgb[part].copy(), mask[part].copy())


def crops_of(rgb: RgbImage, labels: LabelImage,
             tracks: Sequence[Track]) -> tuple[list[Track], list[Crop]]:
    """Return those of the tracks that the image shows, and the crop of each."""
    crops = [(track, crop) for track in tracks
             if (crop := crop_of(rgb, labels, track.id)) is not None]
    return [track for track, _ in crops], [crop for _, crop in crops]
