"""Label images drawn over their images: one by one, or many on a contact sheet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.label_images import label_borders, resize_labels
from diffseg_ros.io.images import write_image
from diffseg_ros.types import LabelImage, Mask, RgbImage, UNLABELLED
from diffseg_ros.viz.colours import label_colours
import numpy as np

TARGET_COLOUR = 255, 220, 0
"""RGB of what is followed."""

_SHEET_FRAMES = 12
_COLUMNS = 4
_WIDTH = 400
_MARGIN = 6
_LABELLED_SHARE = 0.012
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_SCALE = 0.4
_NAMES_WIDTH = 320
_INSIDE = 0.9
_NONE: Mapping[int, Any] = MappingProxyType({})


def draw_overlay(rgb: RgbImage, labels: LabelImage, opacity: float = 0.5, *,
                 names: Mapping[int, str] = _NONE,
                 colours: Mapping[int, tuple[int, ...]] = _NONE) -> RgbImage:
    """
    Blend segment colours over the image and outline the segments in white.

    Parameters
    ----------
    rgb, labels
        (H, W, 3) uint8 and (H, W) int32.
    opacity
        The share of the colours, 0 to 1.
    names
        Of segments by id; they are written where their segment has room for them.
    colours
        Red, green, blue of segments by id, in place of their own.

    """
    blend = cv2.addWeighted(rgb, 1 - opacity, label_colours(labels, colours), opacity, 0)
    blend[label_borders(labels)] = 255
    if names:
        _write_names(blend, labels, names)
    return blend


def _write_names(picture: RgbImage, labels: LabelImage, names: Mapping[int, str]) -> None:
    """Write the names of the larger segments, found on a small label image, into the picture."""
    height, width = labels.shape
    step = max(1, width // _NAMES_WIDTH)
    small = resize_labels(labels, height // step, width // step)
    present, pixels = np.unique(small, return_counts=True)
    scale = _FONT_SCALE * max(1.0, width / 640)
    for identity in present[pixels >= _LABELLED_SHARE * small.size].tolist():
        if identity in names:
            _write_inside(picture, small == identity, names[identity], scale, step)


def _write_inside(picture: RgbImage, mask: Mask, text: str, scale: float, step: int = 1) -> bool:
    """
    Write where the segment is widest, if the text has room there; return whether it did.

    A pixel of the (h, w) mask is `step` pixels of the picture wide and high.
    """
    (width, height), _ = cv2.getTextSize(text, _FONT, scale, 1)
    row, column = _widest(mask)
    across, down = (width // 2 // step + 1, height // 2 // step + 1)
    left, right = column - across, column + across + 1
    under = mask[max(0, row - down):row + down + 1, max(0, left):right]
    if left < 0 or right > mask.shape[1] or under.mean() < _INSIDE:
        return False
    write_text(picture, text, (step * column - width // 2, step * row + height // 2), scale)
    return True


def draw_target(picture: RgbImage, mask: Mask) -> RgbImage:
    """Return the (H, W, 3) picture with a thick outline around the (H, W) mask."""
    if not mask.any():
        return picture
    picture = np.ascontiguousarray(picture).copy()
    outlines = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0]
    for colour, thickness in (((0, 0, 0), 5), (TARGET_COLOUR, 3)):
        cv2.drawContours(picture, outlines, -1, colour, thickness)
    return picture


class ContactSheet:
    """Small overlays of evenly spaced ones of `total` frames, the first and the last included."""

    def __init__(self, total: int) -> None:
        wanted = np.linspace(0, max(total - 1, 0), min(_SHEET_FRAMES, max(total, 1)))
        self._wanted = set(np.rint(wanted).astype(int).tolist())
        self._thumbnails: list[RgbImage] = []
        self._seen = 0

    def add(self, number: int, rgb: RgbImage, labels: LabelImage,
            names: Mapping[int, str] = _NONE) -> None:
        """
        Take the next frame, with the names of its segments by id.

        `number` is that of the frame in its source, for the caption.
        """
        if self._seen in self._wanted:
            self._thumbnails.append(_thumbnail(number, rgb, labels, names))
        self._seen += 1

    def write(self, path: Path) -> None:
        """Write the sheet; raise DiffsegError if it is empty or the file cannot be written."""
        if not self._thumbnails:
            raise DiffsegError(f'{path}: no frame to show')
        height = max(thumbnail.shape[0] for thumbnail in self._thumbnails)
        columns = min(_COLUMNS, len(self._thumbnails))
        rows = -(-len(self._thumbnails) // columns)
        cell_h, cell_w = height + _MARGIN, _WIDTH + _MARGIN
        sheet = np.full((rows * cell_h + _MARGIN, columns * cell_w + _MARGIN, 3), 255, np.uint8)
        for place, thumbnail in enumerate(self._thumbnails):
            top = _MARGIN + place // columns * cell_h
            left = _MARGIN + place % columns * cell_w
            sheet[top:top + thumbnail.shape[0], left:left + _WIDTH] = thumbnail
        write_image(path, sheet)


def _thumbnail(number: int, rgb: RgbImage, labels: LabelImage,
               names: Mapping[int, str]) -> RgbImage:
    """Return a small overlay with the ids and names of its larger segments and a caption."""
    size = _WIDTH, max(2, round(rgb.shape[0] * _WIDTH / rgb.shape[1]))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    ids = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    picture = np.ascontiguousarray(draw_overlay(small, ids))
    present, pixels = np.unique(ids, return_counts=True)
    for identity in present[(pixels >= _LABELLED_SHARE * ids.size) & (present != UNLABELLED)]:
        mask, name = ids == identity, names.get(int(identity))
        if not name or not _write_inside(picture, mask, f'{identity} {name}', _FONT_SCALE):
            _write_id(picture, mask, str(identity))
    caption = f'frame {number}'
    width, height = cv2.getTextSize(caption, _FONT, 0.45, 1)[0]
    cv2.rectangle(picture, (0, 0), (width + 9, height + 9), (0, 0, 0), cv2.FILLED)
    write_text(picture, caption, (5, height + 4), 0.45)
    return picture


def _write_id(picture: RgbImage, mask: Mask, text: str) -> None:
    """Write the id where its segment is widest."""
    row, column = _widest(mask)
    width, height = cv2.getTextSize(text, _FONT, _FONT_SCALE, 1)[0]
    write_text(picture, text, (column - width // 2, row + height // 2), _FONT_SCALE)


def _widest(mask: Mask) -> tuple[int, int]:
    """Return the row and column that lie deepest inside an (H, W) mask."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    padded = np.pad(mask[top:top + height, left:left + width].view(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_3)[1:-1, 1:-1]
    row, column = np.unravel_index(int(distance.argmax()), distance.shape)
    return top + int(row), left + int(column)


def write_text(picture: RgbImage, text: str, place: tuple[int, int], scale: float) -> None:
    """Write white text with a black outline into the picture; `place` is its left baseline."""
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(picture, text, place, _FONT, scale, colour, thickness, cv2.LINE_AA)
