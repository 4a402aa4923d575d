"""The messages of semantic_inference_msgs that the node fills, by their published fields."""

from __future__ import annotations

from types import SimpleNamespace

from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_stand_in import message_with

FeatureVector = message_with('FeatureVector', data=[float])
FeatureImage = message_with('FeatureImage', header=Header, mask_ids=[int], image=Image,
                            features=[FeatureVector])

MODULE = SimpleNamespace(FeatureImage=FeatureImage, FeatureVector=FeatureVector)
"""In place of the module semantic_inference_msgs.msg."""
