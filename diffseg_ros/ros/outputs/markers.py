"""~/markers: boxes and ids for RViz."""

from __future__ import annotations

import math

from builtin_interfaces.msg import Duration
from diffseg_ros.geometry.boxes import SegmentBox
from diffseg_ros.postprocessing.output_context import OutputContext
from diffseg_ros.registry import register_output
from diffseg_ros.ros.messages import box_pose, header_of, point, vector
from diffseg_ros.types import SegmentKind
from diffseg_ros.viz.colours import label_colours
from diffseg_ros.viz.overlay import TARGET_COLOUR
from geometry_msgs.msg import Pose, Vector3
import numpy as np
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

_OPACITY = 0.35
_TEXT_HEIGHT = 0.06
_ARROW = 0.02, 0.04, 0.06  # metres: diameters of shaft and head, length of the head
_LINE = 0.01
# Corners that differ in one axis only, by their order in SegmentBox.corners.
_EDGES = [(one, one | axis) for one in range(8) for axis in (1, 2, 4) if not one & axis]
_THINNEST = 0.001  # RViz draws no cube of thickness 0
_SURFACES = SegmentKind.FLOOR, SegmentKind.TABLE, SegmentKind.WALL, SegmentKind.CEILING
_LIFETIME = Duration(sec=2)

Velocity = tuple[float, float, float]


@register_output('markers', message=MarkerArray, for_people=True)
def markers(context: OutputContext) -> MarkerArray | None:
    """
    Return a translucent box per segment with its id and name, in the colours of ~/overlay.

    The text of a floor, table, wall or ceiling without a name says so; that of a segment that
    moves by itself has its speed too, and an arrow shows how far it goes in a second against the
    fixed frame.

    The target has a bright box around all of its parts, and `target` above it.

    The boxes of the last message are deleted first, so that none outlives its segment. They
    disappear by themselves when the images stop.
    """
    if not context.has_points:
        return None
    header = header_of(context.frame)
    colours = label_colours(np.array([box.id for box in context.boxes], np.int64),
                            context.colours) / 255
    made = [Marker(header=header, action=Marker.DELETEALL)]
    for box, colour in zip(context.boxes, colours.tolist(), strict=True):
        track = context.moving.get(box.id)
        velocity = track.velocity if track is not None else None
        kind = context.kinds.get(box.id, SegmentKind.UNKNOWN)
        name = context.names.get(box.id, kind.value if kind in _SURFACES else '')
        made += [_cube(box, colour, header), _text(box, header, name, velocity)]
        if velocity is not None:
            made.append(_arrow(box, velocity, colour, header))
    if context.target_box is not None:
        made += _target(context.target_box, header)
    return MarkerArray(markers=made)


def _cube(box: SegmentBox, colour: list[float], header: Header) -> Marker:
    red, green, blue = colour
    return Marker(
        header=header, ns='boxes', id=box.id, type=Marker.CUBE, lifetime=_LIFETIME,
        pose=box_pose(box), scale=vector(np.maximum(box.size, _THINNEST).tolist()),
        color=ColorRGBA(r=red, g=green, b=blue, a=_OPACITY))


def _target(box: SegmentBox, header: Header) -> list[Marker]:
    """Return the outline of the target's box, and a text above it."""
    red, green, blue = (value / 255 for value in TARGET_COLOUR)
    colour = ColorRGBA(r=red, g=green, b=blue, a=1.0)
    corners = box.corners.tolist()
    ends = [point(corners[corner]) for edge in _EDGES for corner in edge]
    above = [*box.centre.tolist()]
    above[1] = float(box.corners[:, 1].min()) - 1.5 * _TEXT_HEIGHT
    shared = {'header': header, 'ns': 'target', 'lifetime': _LIFETIME, 'color': colour}
    return [Marker(id=0, type=Marker.LINE_LIST, points=ends, scale=Vector3(x=_LINE), **shared),
            Marker(id=1, type=Marker.TEXT_VIEW_FACING, pose=Pose(position=point(above)),
                   text='target', scale=Vector3(z=_TEXT_HEIGHT), **shared)]


def _text(box: SegmentBox, header: Header, name: str, velocity: Velocity | None) -> Marker:
    # y points down in the optical frame: the text stands on top of the box.
    top = float(box.corners[:, 1].min()) - 0.5 * _TEXT_HEIGHT
    x, _, z = box.centre.tolist()
    text = f'{box.id} {name}'.rstrip()
    text += '' if velocity is None else f': {math.hypot(*velocity):.1f} m/s'
    return Marker(
        header=header, ns='ids', id=box.id, type=Marker.TEXT_VIEW_FACING, lifetime=_LIFETIME,
        pose=Pose(position=point([x, top, z])), text=text, scale=Vector3(z=_TEXT_HEIGHT),
        color=ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0))


def _arrow(box: SegmentBox, velocity: Velocity, colour: list[float], header: Header) -> Marker:
    red, green, blue = colour
    start = box.centre.tolist()
    end = [place + step for place, step in zip(start, velocity, strict=True)]
    return Marker(
        header=header, ns='velocities', id=box.id, type=Marker.ARROW, lifetime=_LIFETIME,
        points=[point(start), point(end)], scale=vector(_ARROW),
        color=ColorRGBA(r=red, g=green, b=blue, a=1.0))
