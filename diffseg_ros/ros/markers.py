"""Boxes and ids for RViz."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from builtin_interfaces.msg import Duration
from diffseg_ros.viz.overlay import label_colours
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
import numpy as np
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

if TYPE_CHECKING:
    from diffseg_ros.geometry.boxes import SegmentBox

_OPACITY = 0.35
_TEXT_HEIGHT = 0.06
_THINNEST = 0.001
_LIFETIME = Duration(sec=2)
"""Boxes vanish when the images stop; RViz draws no cube of thickness 0."""


def marker_array(boxes: Sequence[SegmentBox], header: Header) -> MarkerArray:
    """
    Return a translucent box and its id per segment, in the colours of ~/overlay.

    What an earlier array showed is deleted first, so that no box outlives its segment.
    """
    clear = Marker(header=header, action=Marker.DELETEALL)
    colours = label_colours(np.array([box.id for box in boxes], np.int64)) / 255
    return MarkerArray(markers=[clear, *(
        marker for box, colour in zip(boxes, colours.tolist(), strict=True)
        for marker in _markers(box, colour, header))])


def _markers(box: SegmentBox, colour: list[float], header: Header) -> Iterator[Marker]:
    red, green, blue = colour
    centre, size = box.centre.tolist(), np.maximum(box.size, _THINNEST).tolist()
    yield Marker(
        header=header, ns='boxes', id=box.id, type=Marker.CUBE, lifetime=_LIFETIME,
        pose=Pose(position=point(centre), orientation=quaternion(box)),
        scale=vector(size), color=ColorRGBA(r=red, g=green, b=blue, a=_OPACITY))
    # y points down in the optical frame: the text stands on top of the box.
    top = box.corners[:, 1].min() - 0.5 * _TEXT_HEIGHT
    yield Marker(
        header=header, ns='ids', id=box.id, type=Marker.TEXT_VIEW_FACING, lifetime=_LIFETIME,
        pose=Pose(position=point([centre[0], float(top), centre[2]])), text=str(box.id),
        scale=Vector3(z=_TEXT_HEIGHT), color=ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0))


def point(values: Sequence[float]) -> Point:
    """Return three lengths as a Point."""
    return Point(x=values[0], y=values[1], z=values[2])


def vector(values: Sequence[float]) -> Vector3:
    """Return three lengths as a Vector3."""
    return Vector3(x=values[0], y=values[1], z=values[2])


def quaternion(box: SegmentBox) -> Quaternion:
    """Return the rotation of a box."""
    x, y, z, w = box.quaternion
    return Quaternion(x=x, y=y, z=z, w=w)
