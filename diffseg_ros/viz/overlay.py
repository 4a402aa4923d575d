"""Label images drawn over their images: one by one, or many on a contact sheet."""

from __future__ import annotations

from pathlib import Path

import cv2
from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.label_images import label_borders
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


def draw_overlay(rgb: RgbImage, labels: LabelImage, opacity: float = 0.5) -> RgbImage:
    """
    Blend segment colours over the image and outline the segments in white.

    `rgb` is (H, W, 3) uint8, `labels` (H, W) int32; `opacity` is the share of the colours, 0 to 1.
    """
    blend = cv2.addWeighted(rgb, 1 - opacity, label_colours(labels), opacity, 0)
    blend[label_borders(labels)] = 255
    return blend


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

    def add(self, number: int, rgb: RgbImage, labels: LabelImage) -> None:
        """Take the next frame; `number` is that of the frame in its source, for the caption."""
        if self._seen in self._wanted:
            self._thumbnails.append(_thumbnail(number, rgb, labels))
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


def _thumbnail(number: int, rgb: RgbImage, labels: LabelImage) -> RgbImage:
    """Return a small overlay with the ids of its larger segments and a caption."""
    size = _WIDTH, max(2, round(rgb.shape[0] * _WIDTH / rgb.shape[1]))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    ids = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    picture = np.ascontiguousarray(draw_overlay(small, ids))
    present, pixels = np.unique(ids, return_counts=True)
    for identity in present[(pixels >= _LABELLED_SHARE * ids.size) & (present != UNLABELLED)]:
        _write_id(picture, ids == identity, str(identity))
    caption = f'frame {number}'
    width, height = cv2.getTextSize(caption, _FONT, 0.45, 1)[0]
    cv2.rectangle(picture, (0, 0), (width + 9, height + 9), (0, 0, 0), cv2.FILLED)
    write_text(picture, caption, (5, height + 4), 0.45)
    return picture


def _write_id(picture: RgbImage, mask: Mask, text: str) -> None:
    """Write the id where its segment is widest."""
    padded = np.pad(mask.astype(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_3)[1:-1, 1:-1]
    row, column = np.unravel_index(int(distance.argmax()), distance.shape)
    width, height = cv2.getTextSize(text, _FONT, 0.4, 1)[0]
    write_text(picture, text, (int(column) - width // 2, int(row) + height // 2), 0.4)


def write_text(picture: RgbImage, text: str, place: tuple[int, int], scale: float) -> None:
    """Write white text with a black outline into the picture; `place` is its left baseline."""
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(picture, text, place, _FONT, scale, colour, thickness, cv2.LINE_AA)
