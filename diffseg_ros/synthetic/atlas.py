"""Samples many textures at once, with mip maps."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
from diffseg_ros.synthetic.textures import SIZE, Tile
import numpy as np
import numpy.typing as npt

_LEVELS = SIZE.bit_length()


class TextureAtlas:
    """All tiles and their halved copies in one buffer of packed texels."""

    def __init__(self, tiles: Sequence[Tile]) -> None:
        """Pack (SIZE, SIZE, 3) float32 tiles of display-referred RGB in [0, 1]."""
        packed = []
        for tile in tiles:
            level = np.clip(tile, 0, 1).astype(np.float32)
            while True:
                packed.append(_pack(level))
                if level.shape[0] == 1:
                    break
                side = level.shape[0] // 2
                level = cv2.resize(level, (side, side), interpolation=cv2.INTER_AREA)
                level = level.reshape(side, side, 3)
        self._texels = np.concatenate(packed)
        sizes = (SIZE >> np.arange(_LEVELS)) ** 2
        self._level_offset = np.r_[0, np.cumsum(sizes)[:-1]].astype(np.int32)
        self._tile_stride = np.int32(sizes.sum())

    def sample(self, tile: npt.NDArray[np.integer], uv: npt.NDArray[np.float32],
               level: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """
        Return repeated, bilinearly interpolated texture colours.

        Parameters
        ----------
        tile
            (N,) number of the tile.
        uv
            (N, 2) coordinates; one tile spans [0, 1).
        level
            (N,) mip level, rounded down.

        Returns
        -------
        numpy.ndarray
            (N, 3) float32 linear RGB reflectance in [0, 1].

        """
        depth = np.clip(level, 0, _LEVELS - 1).astype(np.int32)
        side = np.int32(SIZE) >> depth
        base = tile.astype(np.int32) * self._tile_stride + self._level_offset[depth]
        place = uv * side[:, None].astype(np.float32) - np.float32(0.5)
        corner = np.floor(place)
        weight = place - corner
        first = corner.astype(np.int32) & (side - 1)[:, None]
        second = (first + 1) & (side - 1)[:, None]
        rows = (base + first[:, 1] * side, base + second[:, 1] * side)
        colour = np.zeros((len(uv), 4), np.float32)
        for row, row_weight in zip(rows, (1 - weight[:, 1], weight[:, 1])):
            for column, column_weight in ((first[:, 0], 1 - weight[:, 0]),
                                          (second[:, 0], weight[:, 0])):
                texel = self._texels[row + column].view(np.uint8).reshape(-1, 4)
                colour += texel * (row_weight * column_weight)[:, None]
        return np.square(colour[:, :3] * np.float32(1 / 255))


def _pack(level: Tile) -> npt.NDArray[np.uint32]:
    """Return (N,) uint32 RGBA texels."""
    rgba = np.zeros((*level.shape[:2], 4), np.uint8)
    rgba[..., :3] = np.rint(level * 255)
    return rgba.reshape(-1, 4).view(np.uint32).ravel()
