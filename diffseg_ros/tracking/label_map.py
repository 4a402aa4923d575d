"""The tracked label image: one track a pixel, and how firmly it is held."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
from diffseg_ros.tracking.warp import Source
import numpy as np
import numpy.typing as npt

THIN = 2
"""What is only counted is counted on every second pixel along each axis."""

_STEP_IN_DEPTH = 0.1
_BESIDE = 7


@dataclass
class LabelField:
    """
    What is believed of every pixel.

    Attributes
    ----------
    slots
        (H, W) uint16 slot of the track.
    strength
        (H, W) float32 in [0, 1]: evidence for it; 0 is a guess that nothing supports.
    pieces
        (H / 2, W / 2), rounded up, uint8 number of the possible part of a track, 0 for none.

    """

    slots: npt.NDArray[np.uint16]
    strength: npt.NDArray[np.float32]
    pieces: npt.NDArray[np.uint8]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.slots.shape[0], self.slots.shape[1]

    def thinned(self) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.float32]]:
        """Return slots and strength of every second pixel along each axis: enough to count."""
        return self.slots[::THIN, ::THIN], self.strength[::THIN, ::THIN]

    def count(self, slots: int) -> npt.NDArray[np.int64]:
        """Return about how many pixels each of so many slots has."""
        thin = np.bincount(self.slots[::THIN, ::THIN].ravel(), minlength=slots)
        return thin * THIN**2

    def moved(self, source: Source) -> LabelField:
        """Return the field with every pixel taken from its source, of strength 0 without one."""
        index, known = source.index, source.known
        strength = self.strength.take(index)
        strength *= known
        thin = index[::THIN, ::THIN]
        rows = thin // self.shape[1]
        columns = thin - rows * self.shape[1]
        pieces = self.pieces.take(rows // THIN * self.pieces.shape[1] + columns // THIN)
        pieces *= known[::THIN, ::THIN]
        return LabelField(self.slots.take(index), strength, pieces)

    def resized(self, shape: tuple[int, int]) -> LabelField:
        """Return the field at another size."""
        if shape == self.shape:
            return self
        size, thin = shape[::-1], (-(-shape[1] // THIN), -(-shape[0] // THIN))
        return LabelField(cv2.resize(self.slots, size, interpolation=cv2.INTER_NEAREST),
                          cv2.resize(self.strength, size, interpolation=cv2.INTER_NEAREST),
                          cv2.resize(self.pieces, thin, interpolation=cv2.INTER_NEAREST))

    def fill(self, known: npt.NDArray[np.bool_],
             depth: npt.NDArray[np.float32] | None = None) -> None:
        """
        Give pixels that are not known the track of the nearest known one.

        What comes into view beside a near surface belongs to what lies behind it: with depth,
        pixels do not take the track of a surface in front of them while there is another.
        """
        thin = known[::THIN, ::THIN]
        if known.all() or not known.any():
            return
        if not thin.any():
            self.slots[~known] = self.slots[known][0]
            return
        unknown = np.flatnonzero(~known)
        rows = unknown // known.shape[1]
        cell = rows // THIN * thin.shape[1] + (unknown - rows * known.shape[1]) // THIN
        place = _nearest_place(thin, cell)
        if depth is not None:
            metres = depth[::THIN, ::THIN]
            wrong = depth.take(unknown) - metres.ravel()[place] > _STEP_IN_DEPTH
            place[wrong] = _nearest_place(thin & ~_in_front(metres), cell[wrong])
        self.slots.ravel()[unknown] = self.slots[::THIN, ::THIN].ravel()[place]


def empty_field(shape: tuple[int, int]) -> LabelField:
    """Return a field of nothing but guesses."""
    thin = -(-shape[0] // THIN), -(-shape[1] // THIN)
    return LabelField(np.zeros(shape, np.uint16), np.zeros(shape, np.float32),
                      np.zeros(thin, np.uint8))


def _nearest_place(known: npt.NDArray[np.bool_],
                   places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the known pixels nearest to (N,) pixels, all as places in the flattened image."""
    if not known.any():
        return places.copy()
    nearest = cv2.distanceTransformWithLabels((~known).view(np.uint8), cv2.DIST_L2, 3,
                                              labelType=cv2.DIST_LABEL_PIXEL)[1]
    # OpenCV numbers the known pixels from 1 in the order of the image.
    return np.flatnonzero(known).take(nearest.ravel().take(places) - 1)


def _in_front(depth: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Return where a surface stands in front of another one beside it."""
    filled = np.where(np.isfinite(depth), depth, np.float32(0))
    return cv2.dilate(filled, np.ones((_BESIDE, _BESIDE), np.uint8)) - filled > _STEP_IN_DEPTH
