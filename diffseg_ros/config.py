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

    """

    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = True


def option(default: Any, description: str, minimum: float | None = None,
           maximum: float | None = None, *, choices: tuple[str, ...] = (),
           live: bool = True) -> Any:
    """Return a dataclass field with its Option; the default decides the type."""
    return field(default=default, metadata={
        'option': Option(description, minimum, maximum, choices, live)})


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
        if kind is tuple and type(part) is not int:
            raise DiffsegError(f'parameter {name}: got {value!r}; a list of int is needed')
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


@dataclass(frozen=True)
class SegmentationConfig(Validated):
    """How feature vectors are grouped into segments and brought to full resolution."""

    method: str = option('diffcut', 'grouping: recursive normalised cut', choices=('diffcut',))
    tau: float = option(0.35, 'a segment is split while its best normalised cut costs less; '
                        'higher gives more segments', 0.0, 2.0)
    centre: bool = option(True, "take the image's mean feature off first; DiffCut does not")
    alpha: float = option(5.0, 'exponent of the feature affinity', 0.0, 100.0)
    colour: float = option(50.0, 'weight of the colour cue in the affinity; 0 is off',
                           0.0, 1000.0)
    position: float = option(20.0, 'weight of the image position cue; 0 is off', 0.0, 1000.0)
    geometry: float = option(200.0, 'weight of the geometry cue, the distance from each '
                             "other's tangent plane, used on RGB-D input; 0 is off", 0.0, 1e6)
    max_segments: int = option(64, 'no further splits beyond this number of segments', 1, 1024)
    refinement_iterations: int = option(3, 'PAMR iterations; 0 is off', 0, 100)
    refinement_dilations: tuple[int, ...] = option((1, 2, 4), 'PAMR neighbour distances in '
                                                   'pixels of the refinement grid', 1, 64)
    refinement_width: int = option(160, 'width in pixels of the grid that refinement works on',
                                   16, 4096)


@dataclass(frozen=True)
class TrackingConfig(Validated):
    """How segments keep their ids from frame to frame."""

    min_score: float = option(0.2, 'lowest score, from overlap and feature similarity, that '
                              'joins a segment to a track', 0.0, 1.0)
    overlap_weight: float = option(0.6, 'share of overlap in the score; the rest is feature '
                                   'similarity', 0.0, 1.0)
    max_misses: int = option(15, 'frames a track survives unseen', 0, 100000)


@dataclass(frozen=True)
class CloudConfig(Validated):
    """Which depth becomes points."""

    min_depth: float = option(0.0, 'nearer points are invalid (metres)', 0.0, 1000.0)
    max_depth: float = option(0.0, 'farther points are invalid (metres); 0 is no limit',
                              0.0, 1000.0)


@dataclass(frozen=True)
class PipelineConfig:
    """Settings of all stages."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    segmentation: SegmentationConfig = field(default_factory=SegmentationConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    cloud: CloudConfig = field(default_factory=CloudConfig)


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
    changed = {stage: dataclasses.replace(getattr(config, stage), **options)
               for stage, options in stages.items()}
    return dataclasses.replace(config, **changed)
