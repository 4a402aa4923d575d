"""
Colours of labels, for people and for consumers that know labels by their colour.

`python -m diffseg_ros.viz.colours > config/profiles/kimera_labels.csv` writes the table.
"""

from __future__ import annotations

from collections.abc import Mapping
import colorsys
from functools import lru_cache
from types import MappingProxyType

import cv2
from diffseg_ros.geometry.label_images import compact, distinct_labels
from diffseg_ros.types import UNLABELLED
import numpy as np
import numpy.typing as npt

_UNLABELLED_COLOUR = (64, 64, 64)
_GOLDEN_RATIO = 0.618034
_COLOURS = 4096
_PALETTE_SIZE = 256


def label_colours(labels: npt.NDArray[np.integer],
                  chosen: Mapping[int, tuple[int, ...]] = MappingProxyType({}),
                  ) -> npt.NDArray[np.uint8]:
    """
    Return (..., 3) uint8 RGB: each id has a colour in all frames, UNLABELLED is grey.

    `chosen` are colours of some ids in place of their own.
    """
    if chosen:
        ids = distinct_labels(labels)
        table = label_colours(ids)
        for row, identity in enumerate(ids.tolist()):
            table[row] = chosen.get(identity, table[row])
        return table[compact(labels)]
    colours = _colour_table()[labels % _COLOURS]
    colours[labels == UNLABELLED] = _UNLABELLED_COLOUR
    return colours


@lru_cache(maxsize=1)
def _colour_table() -> npt.NDArray[np.uint8]:
    """Return (4096, 3) RGB; neighbours differ by the golden ratio in hue."""
    ids = np.arange(_COLOURS)
    hue = (ids * _GOLDEN_RATIO % 1.0 * 180).astype(np.uint8)
    saturation = np.array([220, 150, 255, 180], np.uint8)[ids // 3 % 4]
    value = np.array([255, 200, 230], np.uint8)[ids % 3]
    hsv = np.stack([hue, saturation, value], axis=-1)[None]
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0]


@lru_cache(maxsize=1)
def label_palette() -> npt.NDArray[np.uint8]:
    """Return (256, 3) RGB, no two alike: white for no label, then the values from 1 on."""
    rows = [(1.0, 1.0, 1.0)]
    rows += [colorsys.hsv_to_rgb(number * _GOLDEN_RATIO % 1,
                                 (0.86, 0.6, 1.0, 0.7)[number // 3 % 4],
                                 (1.0, 0.78, 0.9)[number % 3])
             for number in range(1, _PALETTE_SIZE)]
    palette = (np.array(rows) * 255).round().astype(np.uint8)
    palette.flags.writeable = False
    return palette


def palette_rows(values: npt.NDArray[np.integer], unlabelled: int) -> npt.NDArray[np.intp]:
    """
    Return the row of `label_palette` of each label value; that of `unlabelled` is 0.

    Values from 1 on take rows 1 to 255 in turn; a 0 that is not `unlabelled` takes row 255.
    """
    rows = (values.astype(np.int64) - 1) % (_PALETTE_SIZE - 1) + 1
    rows[values == unlabelled] = 0
    return rows


def label_csv() -> str:
    """Return the palette as Kimera-Semantics reads it; id 0 is for `unlabelled_value: 0`."""
    lines = ['name,red,green,blue,alpha,id']
    for number, (red, green, blue) in enumerate(label_palette().tolist()):
        name = f'segment_{number}' if number else 'unlabelled'
        lines.append(f'{name},{red},{green},{blue},255,{number}')
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    print(label_csv(), end='')
