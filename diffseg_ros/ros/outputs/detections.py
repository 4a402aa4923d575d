"""~/detections, ~/detections_3d, ~/objects and ~/label_info, where vision_msgs is installed."""

from __future__ import annotations

from typing import Any

from diffseg_ros.geometry.boxes import SegmentBox
from diffseg_ros.naming.vocabulary import UNKNOWN, Vocabulary
from diffseg_ros.postprocessing.label_encoding import SEGMENT_CLASS
from diffseg_ros.postprocessing.output_context import OutputContext
from diffseg_ros.registry import register_output
from diffseg_ros.ros.messages import box_pose, header_of, message_class, vector
from std_msgs.msg import Header

LABEL_INFO = 'vision_msgs/msg/LabelInfo'
CLASS_NAME = 'segment'
"""Name of SEGMENT_CLASS where segments have no names, and of every segment."""
MOVING = 'moving'


@register_output('detections', message='vision_msgs/msg/Detection2DArray')
def detections(context: OutputContext) -> Any:
    """
    Return an upright box in pixels of each segment; its `id` is the segment's.

    The first result is its name and the probability of that, where it was looked at. Further ones
    are `segment`, what it is by its shape, such as `object` or `table`, and `moving`.
    """
    header, regions, made = header_of(context.frame), context.regions, []
    for identity, (x, y, width, height), score in zip(
            regions.ids.tolist(), regions.boxes.tolist(), regions.scores.tolist(), strict=True):
        box = _make('BoundingBox2D', size_x=width, size_y=height)
        box.center.position.x, box.center.position.y = x, y
        made.append(_make('Detection2D', header=header, id=str(identity), bbox=box,
                          results=_results(context, identity, score)))
    return _make('Detection2DArray', header=header, detections=made)


@register_output('detections_3d', message='vision_msgs/msg/Detection3DArray')
def detections_3d(context: OutputContext) -> Any:
    """
    Return a box in metres of each segment that has depth.

    The results are as in ~/detections; ~/markers have the velocity of what moves.
    """
    return _boxes(context, context.boxes) if context.has_points else None


@register_output('objects', message='vision_msgs/msg/Detection3DArray')
def objects(context: OutputContext) -> Any:
    """Return ~/detections_3d of objects only: without floors, tables, walls and ceilings."""
    if not context.has_points:
        return None
    return _boxes(context, [box for box in context.boxes if box.id in context.objects])


def _boxes(context: OutputContext, boxes: list[SegmentBox]) -> Any:
    header, made = header_of(context.frame), []
    scores = dict(zip(context.regions.ids.tolist(), context.regions.scores.tolist(), strict=True))
    for box in boxes:
        pose, results = box_pose(box), _results(context, box.id, scores[box.id])
        for result in results:
            result.pose.pose = pose
        made.append(_make('Detection3D', header=header, id=str(box.id), results=results,
                          bbox=_make('BoundingBox3D', center=pose,
                                     size=vector(box.size.tolist()))))
    return _make('Detection3DArray', header=header, detections=made)


def label_info(header: Header, vocabulary: Vocabulary | None = None) -> Any:
    """Return the classes of a vocabulary; without one every segment is a segment."""
    classes = {SEGMENT_CLASS: CLASS_NAME}
    if vocabulary is not None:
        classes = {SEGMENT_CLASS: UNKNOWN} | {
            concept.id: concept.name for concept in vocabulary.concepts}
    return _make('LabelInfo', header=header, threshold=0.0, class_map=[
        _make('VisionClass', class_id=number, class_name=name)
        for number, name in sorted(classes.items())])


def _results(context: OutputContext, identity: int, score: float) -> list[Any]:
    """Return what a segment is thought to be: its name, a segment, its kind, maybe moving."""
    names = [CLASS_NAME]
    if identity in context.kinds:
        names.append(context.kinds[identity].value)
    if identity in context.moving:
        names.append(MOVING)
    made = [_hypothesis(name, score) for name in names]
    if identity in context.named:
        track = context.named[identity]
        made.insert(0, _hypothesis(track.name, track.name_score))
    return made


def _hypothesis(name: str, score: float) -> Any:
    result = _make('ObjectHypothesisWithPose')
    result.hypothesis.class_id, result.hypothesis.score = name, score
    return result


def _make(name: str, **fields: Any) -> Any:
    return message_class(f'vision_msgs/msg/{name}')(**fields)
