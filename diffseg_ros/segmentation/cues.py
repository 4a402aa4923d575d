"""What shapes the affinity of two tokens in a normalised cut."""

from __future__ import annotations

from diffseg_ros.settings import setting, Settings


class CutSettings(Settings):
    """Normalised cut of an affinity between tokens: features and other cues."""

    tau: float = setting(
        -1.0, 'a segment is split while its best normalised cut costs less; higher gives more '
        'segments; -1 is what suits model and method', -1.0, 2.0)
    alpha: float = setting(-1.0, 'exponent of the feature affinity; -1 is what suits model and '
                           'method', -1.0, 100.0)
    colour: float = setting(-1.0, 'weight of the colour cue in the affinity; 0 is off, -1 is '
                            'what suits model and method', -1.0, 1000.0)
    position: float = setting(-1.0, 'weight of the image position cue; 0 is off, -1 is what suits '
                              'model and method', -1.0, 1000.0)
    geometry: float = setting(
        -1.0, "weight of the geometry cue, the distance from each other's tangent plane, for "
        'RGB-D input; 0 is off, -1 is what suits model and method', -1.0, 1e6)
    depth: float = setting(
        0.0, "weight of the depth cue, the squared difference of the depths' logarithms, for "
        'RGB-D input; 0 is off', 0.0, 1e6)
    normals: float = setting(
        0.0, 'weight of the normals cue, 1 minus the cosine between the surface normals, for '
        'RGB-D input; 0 is off', 0.0, 1e6)
    distance: float = setting(
        0.0, 'weight of the distance cue, the squared distance in space over the product of the '
        'depths, for RGB-D input; 0 is off', 0.0, 1e6)
    attention: float = setting(
        0.0, "weight of the attention cue, the divergence of tokens' self-attention; 0 is off",
        0.0, 100.0, live=False)

    @property
    def uses_depth(self) -> bool:
        return bool(self.geometry or self.depth or self.normals or self.distance)
