"""
Settings of every stage: one frozen dataclass each, validated, the same for all front ends.

ROS parameters, `config/default.yaml` and the commands' options all mirror these classes:
`flatten` gives the parameter names, `Option` what a parameter descriptor needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
from dataclasses import dataclass, field
from typing import Any

from diffseg_ros.errors import DiffsegError


@dataclass(frozen=True)
class Option:
    """
    What a setting means and which values it takes.

    Attributes
    ----------
    live
        Whether it may change while frames are processed.
    read_only
        Whether it can only be given at the start.

    """

    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = True
    read_only: bool = False


def option(default: Any, description: str, minimum: float | None = None,
           maximum: float | None = None, *, choices: tuple[str, ...] = (),
           live: bool = True, read_only: bool = False) -> Any:
    """Return a dataclass field with its Option; the default decides the type."""
    return field(default=default, metadata={
        'option': Option(description, minimum, maximum, choices, live and not read_only,
                         read_only)})


class Validated:
    """Checks every field against its Option when the dataclass is made."""

    def __post_init__(self) -> None:
        """Refuse values outside the documented ranges."""
        for item in dataclasses.fields(self):  # type: ignore[arg-type]
            if (limits := item.metadata.get('option')) is not None:
                _check(item.name, getattr(self, item.name), item.default, limits)


def _check(name: str, value: Any, default: Any, option: Option) -> None:
    kind = type(default)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise DiffsegError(f'parameter {name}: got {value!r} of type {type(value).__name__}; '
                           f'{kind.__name__} is needed')
    if option.choices and value not in option.choices:
        raise DiffsegError(f'parameter {name}: got {value!r}; choose one of '
                           f'{", ".join(option.choices)}')
    low, high = option.minimum, option.maximum
    for part in value if kind is tuple else (value,):
        if kind is tuple and type(part) is not type(default[0]):
            raise DiffsegError(f'parameter {name}: got {value!r}; a list of '
                               f'{type(default[0]).__name__} is needed')
        if low is not None and not part >= low or high is not None and not part <= high:
            raise DiffsegError(f'parameter {name}: got {value!r}; it must lie between '
                               f'{low} and {high}')


@dataclass(frozen=True)
class BackboneConfig(Validated):
    """Which diffusion model looks at the image, and how."""

    model: str = option('embedded', "'embedded', a folder with a diffusers pipeline, or a "
                        'hub id', live=False)
    allow_download: bool = option(False, 'fetch a hub id that is not on this machine',
                                  live=False)
    device: str = option('auto', "'auto', 'cpu', 'cuda' or 'cuda:N'", live=False)
    precision: str = option('auto', 'arithmetic of the model; auto is float16 on CUDA',
                            choices=('auto', 'float32', 'float16', 'bfloat16'), live=False)
    cpu_threads: int = option(0, 'threads of the model on a CPU; 0 is half of the cores, which '
                              'leaves room for what else runs', 0, 1024, live=False)
    block: str = option('auto', 'self-attention whose output is the feature: auto, or a module '
                        "name such as 'down_blocks.1.attentions.0.transformer_blocks.0.attn1'",
                        live=False)
    tokens: int = option(768, 'about how many feature vectors an image gives', 16, 16384,
                         live=False)
    timestep: int = option(-1, "noise level of the pass, 0 to 999; -1 is the model's own "
                           'default', -1, 999, live=False)
    seed: int = option(0, 'seed of the fixed noise', 0, 2**31 - 1, live=False)
    noise: bool = option(True, "add the timestep's noise to the image; DiffSeg does not",
                         live=False)
    whiten: bool = option(True, 'whiten the features of a model that has a matrix for it, as the '
                          'embedded one does; DiffCut does not', live=False)


@dataclass(frozen=True)
class SegmentationConfig(Validated):
    """How feature vectors are grouped into segments and brought to full resolution."""

    method: str = option('regions', 'grouping: regions, merging of small image regions by '
                         'colour, depth and features; diffcut, recursive normalised cut of '
                         'features and cues; kway, that of groups of tokens, whose borders are '
                         'then refined; ncut, the faster of these two: kway if another cue than '
                         'the features has a weight; diffseg, merging of attention maps alone, '
                         'without cues',
                         choices=('regions', 'diffcut', 'kway', 'ncut', 'diffseg'), live=False)
    granularity: float = option(0.5, 'coarse (0) to fine (1); scales region_scale and '
                                'region_threshold, or tau, or merge_threshold, which hold as '
                                'they are at 0.5', 0.0, 1.0)
    region_width: int = option(320, 'regions: width in pixels of the grid that regions are made '
                               'on', 32, 4096)
    region_scale: float = option(25.0, 'regions: how much small neighbours may differ before '
                                 'they stay apart; higher gives fewer segments', 0.0, 1e6)
    region_min_size: float = option(0.0008, 'least share of the image; what is smaller joins the '
                                    'neighbour most like it (regions) or of the longest border '
                                    '(patches of the other methods)', 0.0, 0.5)
    region_contrast: float = option(1.5, 'regions: weight of the contrast along the border '
                                    'beside the difference of mean colours, where small '
                                    'neighbours are compared', 0.0, 100.0)
    region_threshold: float = option(0.025, 'regions: cost from which on two regions are not '
                                     'merged; higher gives fewer segments', 0.0, 100.0)
    region_features: float = option(0.7, "regions: weight of the diffusion features' difference "
                                    'in that cost; 0 is off', 0.0, 100.0)
    region_colour: float = option(0.25, "regions: weight of the mean colours' difference; 0 is "
                                  'off', 0.0, 100.0)
    region_geometry: float = option(40.0, 'regions: weight of the distance between planes, used '
                                    'on RGB-D input; 0 is off', 0.0, 1e6)
    region_steps: float = option(2.5, 'regions: weight of steps in depth across a border, as '
                                 'shares of the depth, beside the steps in colour; RGB-D input; '
                                 '0 is off', 0.0, 100.0)
    tau: float = option(0.25, 'a segment is split while its best normalised cut costs less; '
                        'higher gives more segments', 0.0, 2.0)
    centre: bool = option(True, "take the image's mean feature off first; DiffCut does not")
    alpha: float = option(5.0, 'exponent of the feature affinity', 0.0, 100.0)
    colour: float = option(50.0, 'weight of the colour cue in the affinity; 0 is off',
                           0.0, 1000.0)
    position: float = option(20.0, 'weight of the image position cue; 0 is off', 0.0, 1000.0)
    geometry: float = option(200.0, 'weight of the geometry cue, the distance from each '
                             "other's tangent plane, used on RGB-D input; 0 is off", 0.0, 1e6)
    depth: float = option(0.0, 'weight of the depth cue, the squared difference of the '
                          "depths' logarithms, used on RGB-D input; 0 is off", 0.0, 1e6)
    normals: float = option(0.0, 'weight of the normals cue, 1 minus the cosine between the '
                            'surface normals, used on RGB-D input; 0 is off', 0.0, 1e6)
    distance: float = option(0.0, 'weight of the distance cue, the squared distance in space over '
                             'the product of the depths, used on RGB-D input; 0 is off', 0.0, 1e6)
    prior: float = option(0.3, 'weight of the labels expected from the frame before; 0 segments '
                          'every frame afresh', 0.0, 100.0)
    attention: float = option(0.0, 'normalised cuts: weight of the attention cue, the '
                              "divergence of tokens' self-attention; 0 is off", 0.0, 100.0,
                              live=False)
    merge_threshold: float = option(0.03, 'diffseg: attention maps nearer than this (symmetric '
                                    'divergence, nats) are merged; higher gives fewer segments; '
                                    'Stable Diffusion needs about 1', 0.0, 100.0)
    merge_anchors: int = option(16, 'diffseg: merging starts from a grid of so many anchors '
                                'along each side', 1, 128)
    merge_kmeans: int = option(0, 'diffseg: rounds of k-means that refine the merged maps; 0 is '
                               'off', 0, 100)
    max_segments: int = option(96, 'no further splits beyond this number of segments', 1, 1024)
    refinement: str = option('basins', 'how the segments of diffcut and diffseg follow the edges '
                             'of the photo: basins, by voting of small image regions, or pamr, '
                             'as DiffCut does', choices=('basins', 'pamr'))
    refinement_iterations: int = option(3, 'PAMR iterations; 0 is off', 0, 100)
    refinement_dilations: tuple[int, ...] = option((1, 2, 4), 'PAMR neighbour distances in '
                                                   'pixels of the refinement grid', 1, 64)
    refinement_width: int = option(160, 'width in pixels of the grid that refinement works on',
                                   16, 4096)

    @property
    def coarseness(self) -> float:
        """Factor of the thresholds that `granularity` stands for: 4 at 0, 1 at 0.5, 1/4 at 1."""
        return float(4 ** (1 - 2 * self.granularity))

    @property
    def uses_depth(self) -> bool:
        """Whether a cue of the affinity needs depth."""
        return bool(self.geometry or self.depth or self.normals or self.distance)

    @property
    def needs_attention(self) -> bool:
        """Whether self-attention maps are used, for which the whole U-Net has to run."""
        return self.method == 'diffseg' or self.method != 'regions' and self.attention > 0


@dataclass(frozen=True)
class TrackingConfig(Validated):
    """How segments keep their ids from frame to frame."""

    depth: bool = option(True, 'use depth, where there is some, to carry labels')
    pose: bool = option(True, "use the camera's pose, where it is known, to carry labels")
    odometry: bool = option(True, "estimate the camera's motion from image motion and depth where "
                            'no pose is known')
    flow: bool = option(True, 'carry labels by optical flow where depth and pose do not')
    correspondence: bool = option(True, 'find labels by the likeness of features where motion '
                                  'does not tell; segmented frames only')
    common_motion: bool = option(True, 'give tracks beside each other that move as one, while '
                                 'what surrounds them stands still, one id')
    memory: bool = option(True, 'keep which track each place in the world belonged to, where '
                          'depth and the motion of the camera are known')
    width: int = option(640, 'largest width in pixels of the tracked label image', 32, 4096)
    keyframe_interval: int = option(10, 'a frame is segmented at the latest this many frames '
                                    'after the last that was', 1, 10000)
    keyframe_change: float = option(0.05, 'a frame is segmented when more than this share of it '
                                    'is not known from before; 1 is never', 0.0, 1.0)
    split_after: int = option(2, 'a track becomes two when this many segmented frames cut it '
                              'alike', 1, 1000)
    merge_after: int = option(3, 'two tracks become one when this many segmented frames see '
                              'them as one', 1, 1000)
    min_share: float = option(0.002, 'least share of the image that a new track has', 0.0, 0.5)
    confirm_after: int = option(3, 'segmented frames after which a track is confirmed', 1, 1000)
    reidentify_similarity: float = option(0.9, 'cosine of the mean features from which on '
                                          'something new is a track that was out of view; 0.05 '
                                          'less is enough where its place is right', 0.0, 2.0)
    max_misses: int = option(15, 'segmented frames a track survives whose place is in view but '
                             'goes to others', 0, 100000)
    max_sleeping: int = option(256, 'tracks out of view that are kept', 0, 512)


@dataclass(frozen=True)
class CloudConfig(Validated):
    """Which depth becomes points, and in which form."""

    min_depth: float = option(0.0, 'nearer points are invalid (metres)', 0.0, 1000.0)
    max_depth: float = option(0.0, 'farther points are invalid (metres); 0 is no limit',
                              0.0, 1000.0)
    flying_pixels: float = option(0.0, 'points between a foreground and what lies behind it are '
                                  'invalid: a step in depth to a neighbouring pixel, as a share '
                                  'of the depth, that counts as an edge (0.05 suits a Kinect); 0 '
                                  'keeps all points', 0.0, 1.0)
    organised: bool = option(True, 'one point a pixel, NaN where invalid; off gives a list of '
                             'the valid points')
    voxel_size: float = option(0.0, 'side of the cubes (metres) that each give one point, with '
                               "their points' mean and most frequent label; 0 is off; above 0 "
                               'the cloud is a list', 0.0, 10.0)


@dataclass(frozen=True)
class RemovalConfig(Validated):
    """Which segments mappers do not get to see: ~/depth_filtered, ~/mask, ~/points."""

    ids: tuple[int, ...] = option((0,), 'ids of segments to remove, as ~/markers shows them; they '
                                  'begin at 1, so 0 is none', 0, 2**31 - 1)
    min_size: float = option(0.0, 'remove segments whose 3-D box is shorter than this along its '
                             'longest side (metres); 0 is off', 0.0, 1000.0)
    max_size: float = option(0.0, 'remove segments whose 3-D box is longer than this along its '
                             'longest side (metres), such as walls and floors; 0 is off',
                             0.0, 1000.0)
    unlabelled: bool = option(False, 'remove what belongs to no segment')
    from_points: bool = option(False, 'remove from ~/points too, not only from ~/depth_filtered')


@dataclass(frozen=True)
class PipelineConfig:
    """Settings of all stages."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    segmentation: SegmentationConfig = field(default_factory=SegmentationConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    cloud: CloudConfig = field(default_factory=CloudConfig)
    removal: RemovalConfig = field(default_factory=RemovalConfig)


def flatten(config: PipelineConfig) -> Iterator[tuple[str, Any, Option]]:
    """Yield (dotted name, value, option) of every setting, in the order of the classes."""
    for stage in dataclasses.fields(config):
        values = getattr(config, stage.name)
        for item in dataclasses.fields(values):
            yield f'{stage.name}.{item.name}', getattr(values, item.name), item.metadata['option']


def updated(config: PipelineConfig, values: Mapping[str, Any]) -> PipelineConfig:
    """
    Return `config` with dotted names replaced, for example {'segmentation.tau': 0.4}.

    Raises
    ------
    DiffsegError
        A name does not exist, or a value is of the wrong type or out of range.

    """
    known = {name: value for name, value, _ in flatten(config)}
    stages: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        if name not in known:
            raise DiffsegError(f'parameter {name}: unknown; known are {", ".join(sorted(known))}')
        if isinstance(known[name], tuple) and isinstance(value, Sequence):
            value = value if isinstance(value, str) else tuple(value)
        elif isinstance(known[name], float) and type(value) is int:
            value = float(value)
        stage, key = name.split('.')
        stages.setdefault(stage, {})[key] = value
    changed = {stage: _replaced(stage, getattr(config, stage), options)
               for stage, options in stages.items()}
    return dataclasses.replace(config, **changed)


def _replaced(stage: str, values: Any, options: Mapping[str, Any]) -> Any:
    try:
        return dataclasses.replace(values, **options)
    except DiffsegError as error:
        # A stage does not know the name that it has in the whole.
        raise DiffsegError(str(error).replace('parameter ', f'parameter {stage}.', 1)) from error
