"""Images of one view at another size, pixel for pixel exact."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

_Scalar = TypeVar('_Scalar', bound=np.generic)


def sample_nearest(image: npt.NDArray[_Scalar], height: int, width: int) -> npt.NDArray[_Scalar]:
    """
    Return the image at another size: at each pixel centre the pixel that covers it.

    Parameters
    ----------
    image
        (h, w) or (h, w, C); returned as it is when the size is right already.
    height, width
        Size in pixels of the result.

    """
    if image.shape[:2] == (height, width):
        return image
    rows = _nearest(image.shape[0], height)
    columns = _nearest(image.shape[1], width)
    return image.take(rows, axis=0).take(columns, axis=1)


@lru_cache(maxsize=32)
def _nearest(size: int, wanted: int) -> npt.NDArray[Any]:
    # (i + 0.5) * size / wanted in whole numbers: no rounding at the borders between pixels.
    return (2 * np.arange(wanted) + 1) * size // (2 * wanted)
