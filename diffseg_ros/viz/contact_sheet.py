"""A contact sheet: frames of a sequence with their segments, one colour an id."""

from __future__ import annotations

from pathlib import Path

import cv2
from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.images import write_image
from diffseg_ros.types import LabelImage, Mask, RgbImage, UNLABELLED
from diffseg_ros.viz.overlay import draw_overlay
import numpy as np

FRAMES = 12
"""Images on a sheet."""
COLUMNS = 4

_WIDTH = 400
_MARGIN = 6
_LABELLED_SHARE = 0.012
_FONT = cv2.FONT_HERSHEY_SIMPLEX


class ContactSheet:
    """Keeps small overlays of evenly spaced frames, the first and the last among them."""

    def __init__(self, total: int, count: int = FRAMES) -> None:
        """Expect `total` frames and keep at most `count` of them."""
        wanted = np.linspace(0, max(total - 1, 0), min(count, max(total, 1)))
        self._wanted = set(np.rint(wanted).astype(int).tolist())
        self._thumbnails: list[RgbImage] = []
        self._seen = 0

    def add(self, number: int, rgb: RgbImage, labels: LabelImage) -> None:
        """Take the next frame; `number` is that of the frame in its source, for the caption."""
        if self._seen in self._wanted:
            self._thumbnails.append(_thumbnail(number, rgb, labels))
        self._seen += 1

    def write(self, path: Path) -> None:
        """
        Write the sheet as JPEG or PNG.

        Raises
        ------
        DiffsegError
            No frame was added, or the file cannot be written.

        """
        if not self._thumbnails:
            raise DiffsegError(f'{path}: no frame to show')
        height = max(thumbnail.shape[0] for thumbnail in self._thumbnails)
        columns = min(COLUMNS, len(self._thumbnails))
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
    _write(picture, caption, (5, height + 4), 0.45)
    return picture


def _write_id(picture: RgbImage, mask: Mask, text: str) -> None:
    """Write the id where its segment is widest."""
    padded = np.pad(mask.astype(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_3)[1:-1, 1:-1]
    row, column = np.unravel_index(int(distance.argmax()), distance.shape)
    width, height = cv2.getTextSize(text, _FONT, 0.4, 1)[0]
    _write(picture, text, (int(column) - width // 2, int(row) + height // 2), 0.4)


def _write(picture: RgbImage, text: str, place: tuple[int, int], scale: float) -> None:
    cv2.putText(picture, text, place, _FONT, scale, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(picture, text, place, _FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)
