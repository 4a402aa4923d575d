"""What views say about places: whether the camera saw them, saw through them, or neither."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diffseg_ros.mapping.object_views import ObjectView, Points
from diffseg_ros.types import Mask
import numpy as np
import numpy.typing as npt

_SURE, _LIKELY = 4.0, 2.0
"""Standard deviations: of one measurement that is no chance, and of a mean that is none."""


@dataclass(frozen=True)
class Evidence:
    """
    What the views say about each of N places.

    Attributes
    ----------
    free
        (N,) bool: a view saw through the place far enough to be sure of it, or those that do not
        hide it did so on average.
    object, other
        (N,) int32: in how many views a surface was measured there, of the object or of something
        else.
    viewed
        (N,) bool: the place is within the image of a view, though it may be hidden there.

    """

    free: Mask
    object: npt.NDArray[np.int32]  # noqa: A003
    other: npt.NDArray[np.int32]
    viewed: Mask

    @property
    def contradicted(self) -> Mask:
        """(N,) whether there can be no surface of the object: it is free, or another's."""
        return self.free | (self.other > self.object)

    @property
    def exposed(self) -> Mask:
        """(N,) whether a surface of the object there would have been seen in some view."""
        return self.free | (self.object > 0) | (self.other > 0)


def evidence(points: Points, views: Sequence[ObjectView], voxel: float,
             noise: float) -> Evidence:
    """
    Return what the views say about (N, 3) places in the world.

    `voxel` is how exact places are and `noise` the standard deviation of depth, both in metres.
    Source of the three cases (free, seen, hidden): Thrun and Wegbreit, "Shape from Symmetry",
    ICCV 2005.
    """
    surely, viewed = np.zeros((2, len(points)), bool)
    total = np.zeros(len(points))
    not_hidden, mine, other = np.zeros((3, len(points)), np.int32)
    near = voxel + _LIKELY * noise
    for view in views:
        z, pixels, which = view.seen(points)
        viewed[which] = True
        surely[which[view.nearest.take(pixels) - z > voxel + _SURE * noise]] = True
        behind = view.depth.take(pixels) - z
        ahead = behind > -near
        behind, which, of_object = behind[ahead], which[ahead], view.mask.take(pixels[ahead])
        total[which] += np.minimum(behind, near)
        not_hidden[which] += 1
        seen = behind < near
        mine[which[seen & of_object]] += 1
        other[which[seen & ~of_object]] += 1
    count = np.maximum(not_hidden, 1)
    likely = total / count > voxel + _LIKELY * noise / np.sqrt(count)
    return Evidence(surely | likely, mine, other, viewed)
