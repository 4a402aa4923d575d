"""
The topics under `~/`; each is one file that registers a function with `register_output`.

The function is given an `OutputContext` and returns a message, or None where the frame lacks the
data. It is called only while somebody subscribes. Publishers are reliable; for `sensor_data=True`
the parameter `output_reliability` decides.
"""

from __future__ import annotations

from typing import Any

from diffseg_ros.postprocessing.output_context import OutputContext
from diffseg_ros.registry import Entry, outputs
from diffseg_ros.ros.messages import message_class
from diffseg_ros.ros.outputs import (  # noqa: F401
    camera_info,
    confidence,
    depth,
    depth_filtered,
    detections,
    features,
    found,
    labels,
    markers,
    overlay,
    points,
    target,
)


def available_outputs() -> dict[str, Entry[Any]]:
    """Return the registered outputs by name, without those whose message is not installed."""
    return {entry.name: entry for entry in outputs
            if message_class(entry.facts['message']) is not None}


def create_message(entry: Entry[Any], context: OutputContext) -> Any:
    """Return the message of an output, or None where the frame lacks the data."""
    context.settings = (None if entry.settings is None
                        else getattr(context.config.outputs, entry.section))
    return entry.create(context)
