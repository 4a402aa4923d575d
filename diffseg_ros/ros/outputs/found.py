"""~/found/markers, ~/found/mask and ~/found/ranking: what fits the words sent to ~/find."""

from __future__ import annotations

import json

from builtin_interfaces.msg import Duration
from diffseg_ros.postprocessing.output_context import OutputContext
from diffseg_ros.registry import register_output
from diffseg_ros.ros.messages import box_pose, header_of, image_message, point, vector
from geometry_msgs.msg import Pose, Vector3
import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import ColorRGBA, Header, String
from visualization_msgs.msg import Marker, MarkerArray

_LIFETIME = Duration(sec=2)
_COLOUR = ColorRGBA(r=1.0, g=0.85, b=0.0, a=0.6)
_TEXT_COLOUR = ColorRGBA(r=1.0, g=0.85, b=0.0, a=1.0)
_TEXT_HEIGHT = 0.1
_OUT_OF_VIEW = 0.15
"""Diameter in metres of what stands for a track whose box is not in view."""


@register_output('found/mask', message=Image, sensor_data=True)
def mask(context: OutputContext) -> Image | None:
    """Return 255 where a track fits the words, else 0; nothing before words were sent."""
    if context.result.found is None:
        return None
    found = np.isin(context.labels, context.result.found.best)
    return image_message(found.astype(np.uint8) * 255, 'mono8', header_of(context.frame))


@register_output('found/ranking', message=String)
def ranking(context: OutputContext) -> String | None:
    """
    Return JSON with the words and all tracks that naming has looked at, the best first.

    Each has its id, its score from 0 to 1, its name, whether it is in view, and its position in
    metres in the fixed frame, null where that is not known.
    """
    found = context.result.found
    if found is None:
        return None
    tracks = {track.id: track for track in context.result.tracks}
    frame = context.frame
    return String(data=json.dumps({
        'words': found.words, 'stamp': frame.stamp, 'frame_id': frame.fixed_frame, 'tracks': [
            {'id': match.id, 'score': round(match.score, 4), 'name': tracks[match.id].name,
             'in_view': tracks[match.id].pixels > 0, 'position': tracks[match.id].position}
            for match in found.matches]}))


@register_output('found/markers', message=MarkerArray, for_people=True)
def markers(context: OutputContext) -> MarkerArray | None:
    """
    Return a box and a text for each track that fits the words.

    Tracks out of view are spheres in the fixed frame, where their position is known.
    """
    found = context.result.found
    if found is None:
        return None
    here = header_of(context.frame)
    world = Header(stamp=here.stamp, frame_id=context.frame.fixed_frame)
    best = set(found.best)
    scores = {match.id: match.score for match in found.matches}
    boxes = {box.id: box for box in context.boxes} if context.has_points else {}
    made = [Marker(header=here, action=Marker.DELETEALL)]
    for track in context.result.tracks:
        if track.id not in best:
            continue
        if track.id in boxes:
            box = boxes[track.id]
            header, pose, size = here, box_pose(box), vector(np.maximum(box.size, 1e-3).tolist())
            kind = Marker.CUBE
        elif track.position is not None:
            header, pose = world, Pose(position=point(track.position))
            kind, size = Marker.SPHERE, vector([_OUT_OF_VIEW] * 3)
        else:
            continue
        text = f'{found.words} {scores[track.id]:.2f} ({track.id})'
        made += [
            Marker(header=header, ns='found', id=track.id, type=kind, pose=pose, scale=size,
                   color=_COLOUR, lifetime=_LIFETIME),
            Marker(header=header, ns='words', id=track.id, type=Marker.TEXT_VIEW_FACING,
                   pose=Pose(position=pose.position), text=text, color=_TEXT_COLOUR,
                   scale=Vector3(z=_TEXT_HEIGHT), lifetime=_LIFETIME)]
    return MarkerArray(markers=made)
