"""~/features: what the naming model makes of segments, with semantic_inference_msgs."""

from __future__ import annotations

import array
from typing import Any

from diffseg_ros.postprocessing.output_context import OutputContext
from diffseg_ros.registry import register_output
from diffseg_ros.ros.messages import header_of, image_message, message_class
import numpy as np

_PACKAGE = 'semantic_inference_msgs/msg'


@register_output('features', message=f'{_PACKAGE}/FeatureImage', sensor_data=True)
def features(context: OutputContext) -> Any:
    """
    Return the ids of the segments that naming has looked at, and the feature vector of each.

    The image is 32SC1, 0 where there is no such segment. The vectors are means over pictures and
    not of length 1. There is no message while no segment in view has one.
    """
    in_view = set(context.regions.ids.tolist())
    vectors = {track.id: track.embedding for track in context.result.tracks
               if track.id in in_view and track.embedding is not None}
    if not vectors:
        return None
    header = header_of(context.frame)
    ids = np.where(np.isin(context.labels, list(vectors)), context.labels, np.int32(0))
    return message_class(f'{_PACKAGE}/FeatureImage')(
        header=header, mask_ids=array.array('i', vectors),
        image=image_message(ids, '32SC1', header),
        features=[_vector(vector) for vector in vectors.values()])


def _vector(values: Any) -> Any:
    message = message_class(f'{_PACKAGE}/FeatureVector')()
    message.data = array.array('f', values.astype(np.float32).tobytes())
    return message
