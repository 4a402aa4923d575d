"""Segments as vision_msgs, where that package is installed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
import importlib
from types import ModuleType
from typing import Any, TYPE_CHECKING

from diffseg_ros.geometry.label_images import distinct_labels
from diffseg_ros.postprocessing.label_encoding import SEGMENT_CLASS
from diffseg_ros.ros.markers import point, quaternion, vector
from diffseg_ros.types import UNLABELLED
from geometry_msgs.msg import Pose
import numpy as np
import numpy.typing as npt
from scipy.ndimage import find_objects
from std_msgs.msg import Header

if TYPE_CHECKING:
    from diffseg_ros.geometry.boxes import SegmentBox

CLASS_NAME = 'segment'
"""Name of SEGMENT_CLASS."""

_LARGEST_TABLE = 2**24


@lru_cache(maxsize=1)
def vision_messages() -> ModuleType | None:
    """Return vision_msgs.msg, None where it is not installed."""
    try:
        return importlib.import_module('vision_msgs.msg')
    except ImportError:
        return None


class Segments2D:
    """
    Pixels of each segment in one label image.

    Attributes
    ----------
    ids
        (N,) int32, sorted.
    boxes
        (N, 4) float64 centre x, centre y, width, height in pixels, over all of a segment's
        pixels; the centre of the first pixel is 0.
    scores
        (N,) float64 mean confidence, 0 to 1.

    """

    def __init__(self, labels: npt.NDArray[np.int32], confidence: npt.NDArray[np.uint8]) -> None:
        """Measure (H, W) labels and the confidence of their pixels."""
        ids = distinct_labels(labels)
        numbers = _numbers(labels, ids)
        slices = find_objects(numbers + 1, ids.size)
        corners = np.array([[columns.start, rows.start, columns.stop, rows.stop]
                            for rows, columns in slices], np.float64)
        sums = np.bincount(numbers.ravel(), confidence.ravel(), ids.size)
        means = sums / np.bincount(numbers.ravel(), minlength=ids.size) / 255
        labelled = ids != UNLABELLED
        first, end = corners[labelled, :2], corners[labelled, 2:]
        self.ids = ids[labelled]
        self.boxes = np.hstack([(first + end - 1) / 2, end - first])
        self.scores = means[labelled]


def _numbers(labels: npt.NDArray[np.int32], ids: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Return the place of each label in the sorted `ids`."""
    low, high = int(ids[0]), int(ids[-1])
    if high - low > _LARGEST_TABLE:
        return np.searchsorted(ids, labels).astype(np.int32)
    table = np.zeros(high - low + 1, np.int32)
    table[ids - low] = np.arange(ids.size)
    return table.take(labels - low)


def detections_2d(segments: Segments2D, header: Header, vision: Any) -> Any:
    """Return a Detection2DArray; `id` is the segment's, and the box is not rotated."""
    made = []
    for identity, (x, y, width, height), score in zip(
            segments.ids.tolist(), segments.boxes.tolist(), segments.scores.tolist(),
            strict=True):
        box = vision.BoundingBox2D(size_x=width, size_y=height)
        box.center.position.x, box.center.position.y = x, y
        made.append(vision.Detection2D(header=header, id=str(identity), bbox=box,
                                       results=[_result(vision, score)]))
    return vision.Detection2DArray(header=header, detections=made)


def detections_3d(boxes: Sequence[SegmentBox], segments: Segments2D, header: Header,
                  vision: Any) -> Any:
    """Return a Detection3DArray of the segments that have depth."""
    scores = dict(zip(segments.ids.tolist(), segments.scores.tolist(), strict=True))
    made = []
    for box in boxes:
        pose = Pose(position=point(box.centre.tolist()), orientation=quaternion(box))
        result = _result(vision, scores[box.id])
        result.pose.pose = pose
        made.append(vision.Detection3D(
            header=header, id=str(box.id), results=[result],
            bbox=vision.BoundingBox3D(center=pose, size=vector(box.size.tolist()))))
    return vision.Detection3DArray(header=header, detections=made)


def label_info(header: Header, vision: Any) -> Any:
    """Return the LabelInfo of a node that names nothing: every segment is a segment."""
    known = vision.VisionClass(class_id=SEGMENT_CLASS, class_name=CLASS_NAME)
    return vision.LabelInfo(header=header, class_map=[known], threshold=0.0)


def _result(vision: Any, score: float) -> Any:
    result = vision.ObjectHypothesisWithPose()
    result.hypothesis.class_id = CLASS_NAME
    result.hypothesis.score = score
    return result
