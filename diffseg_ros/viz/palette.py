"""
A fixed colour per label value, for consumers that know labels by their colour.

`python -m diffseg_ros.viz.palette > config/profiles/kimera_labels.csv` writes the table.
"""

from __future__ import annotations

import colorsys
from functools import lru_cache

import numpy as np
import numpy.typing as npt

COLOURS = 256
_GOLDEN_RATIO = 0.618034
_SATURATION = (0.86, 0.6, 1.0, 0.7)
_VALUE = (1.0, 0.78, 0.9)


@lru_cache(maxsize=1)
def label_palette() -> npt.NDArray[np.uint8]:
    """
    Return (256, 3) RGB, no two alike: white for no label, then the values from 1 on.

    Neighbours differ by the golden ratio in hue, so that few labels are far apart in colour.
    """
    rows = [(1.0, 1.0, 1.0)]
    rows += [colorsys.hsv_to_rgb(number * _GOLDEN_RATIO % 1, _SATURATION[number // 3 % 4],
                                 _VALUE[number % 3]) for number in range(1, COLOURS)]
    palette = (np.array(rows) * 255).round().astype(np.uint8)
    palette.flags.writeable = False
    return palette


def palette_rows(values: npt.NDArray[np.integer], unlabelled: int) -> npt.NDArray[np.intp]:
    """
    Return the row of `label_palette` of each label value.

    Values from 1 to 255 have a row each; larger ones share them again. 0 has the last one unless
    it is the unlabelled value.

    Parameters
    ----------
    values
        Label values, any shape.
    unlabelled
        The value that means no label, as it stands in `values`.

    """
    rows = (values.astype(np.int64) - 1) % (COLOURS - 1) + 1
    rows[values == unlabelled] = 0
    return rows


def label_csv() -> str:
    """
    Return the palette as Kimera-Semantics reads it: name,red,green,blue,alpha,id.

    Id 0 is the unlabelled value; the node must be told so (`unlabelled_value: 0`).
    """
    lines = ['name,red,green,blue,alpha,id']
    for number, (red, green, blue) in enumerate(label_palette().tolist()):
        name = f'segment_{number}' if number else 'unlabelled'
        lines.append(f'{name},{red},{green},{blue},255,{number}')
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    print(label_csv(), end='')
