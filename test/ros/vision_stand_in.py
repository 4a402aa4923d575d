"""The messages of vision_msgs 4.x that the node fills, by their published fields, strictly."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from geometry_msgs.msg import Pose, PoseWithCovariance, Vector3
from std_msgs.msg import Header


def message_with(name: str, **fields: Any) -> type:
    """Return a class with typed fields that takes no others; the values are made afresh."""
    def __init__(self: Any, **values: Any) -> None:
        for field, kind in fields.items():
            setattr(self, field, [] if isinstance(kind, list) else kind())
        for field, value in values.items():
            setattr(self, field, value)

    def __setattr__(self: Any, field: str, value: Any) -> None:
        kind = fields[field]
        if isinstance(kind, list):
            assert all(isinstance(item, kind[0]) for item in value), field
        else:
            assert isinstance(value, kind), (field, type(value))
        object.__setattr__(self, field, value)

    return type(name, (), {'__init__': __init__, '__setattr__': __setattr__,
                           '__slots__': tuple(fields)})


ObjectHypothesis = message_with('ObjectHypothesis', class_id=str, score=float)
ObjectHypothesisWithPose = message_with('ObjectHypothesisWithPose', hypothesis=ObjectHypothesis,
                                    pose=PoseWithCovariance)
Point2D = message_with('Point2D', x=float, y=float)
Pose2D = message_with('Pose2D', position=Point2D, theta=float)
BoundingBox2D = message_with('BoundingBox2D', center=Pose2D, size_x=float, size_y=float)
BoundingBox3D = message_with('BoundingBox3D', center=Pose, size=Vector3)
Detection2D = message_with('Detection2D', header=Header, results=[ObjectHypothesisWithPose],
                       bbox=BoundingBox2D, id=str)
Detection3D = message_with('Detection3D', header=Header, results=[ObjectHypothesisWithPose],
                       bbox=BoundingBox3D, id=str)
Detection2DArray = message_with('Detection2DArray', header=Header, detections=[Detection2D])
Detection3DArray = message_with('Detection3DArray', header=Header, detections=[Detection3D])
VisionClass = message_with('VisionClass', class_id=int, class_name=str)
LabelInfo = message_with('LabelInfo', header=Header, class_map=[VisionClass], threshold=float)

MODULE = SimpleNamespace(**{name: value for name, value in globals().items()
                            if isinstance(value, type) and value.__module__ == __name__})
"""In place of the module vision_msgs.msg."""
