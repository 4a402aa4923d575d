"""
The settings of all stages, the same for the library, the commands and the node.

ROS parameters, `config/default.yaml` and the tables of the documentation come from these
declarations, and from those of the registered segmentation methods, backbones and outputs.
"""

from __future__ import annotations

from typing import Any, Literal, TYPE_CHECKING, TypeAlias

from diffseg_ros.backbones.base import BackboneSettings
from diffseg_ros.depth.base import DepthSettings
from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.point_cloud import CloudConfig
from diffseg_ros.naming.base import NamingSettings
from diffseg_ros.naming.vocabulary import load_vocabulary, UNKNOWN, Vocabulary
from diffseg_ros.registry import backbones, measures, outputs, segmentation_methods
from diffseg_ros.segmentation.base import SegmentationSettings
from diffseg_ros.settings import setting, Settings
from diffseg_ros.time_rules import LARGEST_SLOP
from diffseg_ros.types import IDS_BESIDE_A_CLASS
from pydantic import create_model, PrivateAttr

_LARGEST_LABEL = {'16UC1': 2**16 - 1, 'mono8': 2**8 - 1, '32SC1': 2**31 - 1}


def _with_sections(base: type[Settings], name: str, sections: dict[str, type[Settings]],
                   **fields: Any) -> Any:
    """Return `base` with a section for each class of settings that was registered."""
    made: dict[str, Any] = {section: (kind, kind()) for section, kind in sections.items()}
    return create_model(name, __base__=base, __module__=__name__, **made, **fields)


class TrackingConfig(Settings):
    """How segments keep their ids from frame to frame."""

    depth: bool = setting(True, 'use depth, where available, to propagate labels')
    pose: bool = setting(True, 'use the camera pose, where known, to propagate labels')
    odometry: bool = setting(
        True, 'estimate the camera motion from optical flow and depth where no pose is known')
    flow: bool = setting(True, 'propagate labels by optical flow where depth and pose cannot')
    correspondence: bool = setting(
        True, 'find labels by matching features where motion gives none; keyframes only')
    common_motion: bool = setting(
        True, 'merge neighbouring tracks that move as one while their surroundings stand still')
    memory: bool = setting(
        True, 'remember which track each place in the world belonged to, where depth and camera '
        'motion are known')
    width: int = setting(640, 'maximum width in pixels of the tracked label image', 32, 4096)
    keyframe_interval: int = setting(10, 'maximum number of frames between keyframes, which are '
                                     'segmented', 1, 10000)
    keyframe_change: float = setting(
        0.05, 'a frame becomes a keyframe when more than this share of it is new; 1 is never',
        0.0, 1.0)
    segments_delay: int = setting(
        0, 'frames after which the segments of a keyframe take effect, carried to the frame that '
        'they correct; the node segments beside the stream and takes them when they are there',
        0, 100)
    split_after: int = setting(
        4, 'a track is split after this many keyframes that divide it in the same way', 1, 1000)
    merge_after: int = setting(
        6, 'two tracks are merged after this many keyframes that see them as one', 1, 1000)
    min_share: float = setting(0.002, 'smallest new track as a share of the image', 0.0, 0.5)
    confirm_after: int = setting(3, 'keyframes after which a track is confirmed', 1, 1000)
    reidentify_similarity: float = setting(
        0.9, 'cosine similarity of mean features from which a new segment is a lost track; 0.05 '
        'less is enough where its position matches', 0.0, 2.0)
    max_misses: int = setting(
        15, 'keyframes that a track survives while its place is in view but taken by others',
        0, 100000)
    max_lost: int = setting(256, 'tracks out of view that are kept', 0, 512)


class MemoryConfig(Settings):
    """What lasts from one start to the next."""

    file: str = setting(
        '', 'file that tracks and places are loaded from at the start, if it is there, and saved '
        'to at the end, by the node and diffseg_replay; ~/load and ~/save use it at any time')


class RemovalConfig(Settings):
    """Which segments are hidden from mappers: ~/depth_filtered, ~/mask, ~/points."""

    ids: tuple[int, ...] = setting(
        (0,), 'ids of segments to remove, as shown by ~/markers; ids begin at 1, so 0 is none',
        0, 2**31 - 1)
    names: tuple[str, ...] = setting(
        ('',), "names of segments to remove, such as person; '' is none, and those that the "
        'vocabulary says to remove are removed too')
    min_size: float = setting(
        0.0, 'remove segments whose 3-D box is shorter than this along its longest side '
        '(metres); 0 is off', 0.0, 1000.0)
    max_size: float = setting(
        0.0, 'remove segments whose 3-D box is longer than this along its longest side (metres), '
        'such as walls and floors; 0 is off', 0.0, 1000.0)
    moving: float = setting(
        0.0, 'remove segments that move by themselves, or did within this many seconds, such as '
        'people; 0 is off', 0.0, 3600.0)
    unlabelled: bool = setting(False, 'remove pixels that belong to no segment')
    from_points: bool = setting(False, 'remove from ~/points too, not only from '
                                '~/depth_filtered')


if TYPE_CHECKING:
    BackboneConfig: TypeAlias = BackboneSettings
    SegmentationConfig: TypeAlias = SegmentationSettings
    OutputsConfig: TypeAlias = Settings
    MeasuresConfig: TypeAlias = Settings
else:
    _METHODS = ('auto', *segmentation_methods.names())
    BackboneConfig = _with_sections(BackboneSettings, 'BackboneConfig', backbones.sections())
    SegmentationConfig = _with_sections(
        SegmentationSettings, 'SegmentationConfig', segmentation_methods.sections(),
        method=(Literal[_METHODS], setting(
            'auto', 'how features are grouped: regions is a normalised cut of image regions by '
            'features, colour and depth; diffcut is the recursive normalised cut of features '
            'and cues, kway its faster K-way form; diffseg merges self-attention maps; auto is '
            'what suits the model: kway for Stable Diffusion, else regions', live=False)))
    OutputsConfig = _with_sections(Settings, 'OutputsConfig', outputs.sections())
    MeasuresConfig = _with_sections(Settings, 'MeasuresConfig', measures.sections())


class PipelineConfig(Settings):
    """The settings of all stages."""

    backbone: BackboneConfig = BackboneConfig()
    segmentation: SegmentationConfig = SegmentationConfig()
    tracking: TrackingConfig = TrackingConfig()
    memory: MemoryConfig = MemoryConfig()
    naming: NamingSettings = NamingSettings()
    depth: DepthSettings = DepthSettings()
    cloud: CloudConfig = CloudConfig()
    removal: RemovalConfig = RemovalConfig()
    outputs: OutputsConfig = OutputsConfig()
    measures: MeasuresConfig = MeasuresConfig()

    _vocabulary: Vocabulary | None = PrivateAttr(None)
    _removed_names: frozenset[str] = PrivateAttr(frozenset())

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        given = [name for name in self.removal.names if name.strip()]
        if self.naming.model:
            self._vocabulary = load_vocabulary(self.naming.vocabulary)
            self._removed_names = self._vocabulary.removed | {
                _name_to_remove(name, self._vocabulary) for name in given}
        elif given:
            raise DiffsegError(f'parameter removal.names: got {given}, but segments have no '
                               'names; set naming.model')

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The names that segments can have, as they were read with the settings."""
        return self._vocabulary

    @property
    def removed_names(self) -> frozenset[str]:
        """Names that are removed: those of `removal.names`, and what the vocabulary removes."""
        return self._removed_names


def _name_to_remove(words: str, vocabulary: Vocabulary) -> str:
    """Return the name that the vocabulary has for words of `removal.names`."""
    concept = vocabulary.called(words)
    if concept is not None:
        return concept.name
    if words.strip().casefold() == UNKNOWN:
        return UNKNOWN
    names = ', '.join(concept.name for concept in vocabulary.concepts)
    raise DiffsegError(f'parameter removal.names: got {words!r}; naming.vocabulary has {names}')


class NodeConfig(Settings):
    """What the node receives and what it publishes."""

    autostart: bool = setting(True, 'configure and activate at start', read_only=True)
    labels_encoding: Literal['16UC1', 'mono8', '32SC1'] = setting(
        '16UC1', 'encoding of ~/labels', live=False)
    unlabelled_value: int = setting(
        -1, 'value of pixels without a segment in ~/labels and ~/points; -1 is the largest '
        'value of the encoding, 65535 or 255, or -1 for 32SC1', -1, 2**31 - 1, live=False)
    labels_content: Literal['id', 'class', 'class_and_id', 'id_and_class'] = setting(
        'id', 'content of ~/labels and ~/points: the id of each segment, its class (see '
        '~/label_info; without names all classes are 0), or both in 32 bits: class_and_id is the '
        'class times 65536 plus the id, id_and_class the id times 65536 plus the class',
        live=False)
    label_pool_size: int = setting(
        0, 'number of label values shared by the live ids, for consumers with a fixed number of '
        'labels; 0 is 255 for mono8, all that fit beside a class (65535 for class_and_id, 32767 '
        'for id_and_class) and no limit (the ids themselves) otherwise', 0, 2**16 - 1,
        live=False)
    points_colour: Literal['photo', 'label'] = setting(
        'photo', "rgb of ~/points: the image's colour, or a colour per label value", live=False)
    static_mask: str = setting(
        '', "8-bit image of the camera's view; pixels that are not black in it, such as the "
        "robot's own body, are left out of every output; '' is none", live=False)
    output_reliability: Literal['best_effort', 'reliable'] = setting(
        'best_effort', 'reliability of image and cloud outputs; a reliable subscriber receives '
        'nothing from a best_effort publisher', live=False)
    image_transport: Literal['raw', 'compressed'] = setting(
        'raw', 'transport of the colour images; compressed subscribes to the topic with '
        '/compressed added', live=False)
    depth_transport: Literal['raw', 'compressedDepth'] = setting(
        'raw', 'transport of the depth images; compressedDepth subscribes to the topic with '
        '/compressedDepth added', live=False)
    sync_timeout: float = setting(
        0.1, 'maximum time in seconds that an image waits for depth and camera_info of its '
        'stamp', 0.0, 1.0)
    sync_slop: float = setting(
        0.0, 'maximum difference in seconds between the stamps of depth and image; 0 requires '
        'equal stamps', 0.0, LARGEST_SLOP)
    depth_scale: float = setting(
        0.001, 'metres per unit of 16UC1 depth: 0.001 are millimetres; 0.0001 for a RealSense '
        'D405, 0.0002 for the TUM recordings', 1e-6, 0.01, live=False)
    max_rate: float = setting(0.0, 'maximum number of frames per second, by their stamps; 0 is '
                              'no limit', 0.0, 1000.0)
    view_rate: float = setting(
        10.0, 'maximum number of messages per second, by their stamps, of what is for people: '
        '~/overlay and ~/markers; 0 is no limit', 0.0, 1000.0, live=False)
    camera_motion: Literal['auto', 'tf', 'odometry', 'none'] = setting(
        'auto', 'source of the camera motion: tf, the topic odom, none, or auto: tf where it '
        'knows the camera, else odom', live=False)
    base_to_camera: tuple[float, ...] = setting(
        (0.0,) * 7, 'pose x y z (metres) qx qy qz qw of the optical frame in the frame that odom '
        'moves; all 0 is unknown', -1000.0, 1000.0, live=False)
    image_queue: int = setting(5, 'queue depth of the image subscription', 1, 100, live=False)
    depth_queue: int = setting(10, 'queue depth of the depth and camera_info subscriptions',
                               1, 100, live=False)
    output_queue: int = setting(5, 'queue depth of the publishers', 1, 100, live=False)
    diagnostics_period: float = setting(1.0, 'seconds between messages on /diagnostics',
                                        0.1, 60.0)

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        largest = _LARGEST_LABEL[self.labels_encoding]
        if self.unlabelled_value > largest:
            raise DiffsegError(f'parameter unlabelled_value: got {self.unlabelled_value}; '
                               f'{self.labels_encoding} holds at most {largest}')
        if self.labels_content == 'class' and self.unlabelled_value == 0:
            raise DiffsegError('parameter unlabelled_value: 0 is the class of segments without a '
                               'name; choose another value, or labels_content id')
        if self.labels_content in IDS_BESIDE_A_CLASS:
            largest = IDS_BESIDE_A_CLASS[self.labels_content]
            if (self.labels_encoding, self.unlabelled_value) != ('32SC1', 0):
                raise DiffsegError(
                    f'parameter labels_content: {self.labels_content} needs labels_encoding 32SC1 '
                    f'and unlabelled_value 0; got {self.labels_encoding} and '
                    f'{self.unlabelled_value}')
        if self.label_pool_size > largest:
            holder = (self.labels_content if self.labels_content in IDS_BESIDE_A_CLASS
                      else self.labels_encoding)
            raise DiffsegError(f'parameter label_pool_size: got {self.label_pool_size}; {holder} '
                               f'has {largest} values beside the unlabelled one')
        pose = self.base_to_camera
        if len(pose) != 7 or any(pose) and not any(pose[3:]):
            raise DiffsegError(f'parameter base_to_camera: got {list(pose)}; seven numbers are '
                               'needed, x y z and a quaternion qx qy qz qw that is not 0')


_CUT = ('tau', 'alpha', 'colour', 'position', 'geometry', 'depth', 'normals', 'distance',
        'attention')
_REGIONS = ('width', 'scale', 'contrast', 'threshold', 'features', 'colour', 'geometry')

RENAMED = {
    'partner_timeout': 'sync_timeout',
    'label_slots': 'label_pool_size',
    'camera_in_base': 'base_to_camera',
    'tracking.max_sleeping': 'tracking.max_lost',
    **{f'segmentation.{name}': f'segmentation.cut.{name}' for name in _CUT},
    **{f'segmentation.region_{name}': f'segmentation.regions.{name}' for name in _REGIONS},
    'segmentation.region_steps': 'segmentation.regions.depth_steps',
    'segmentation.region_min_size': 'segmentation.min_size',
    'segmentation.merge_threshold': 'segmentation.diffseg.threshold',
    'segmentation.merge_anchors': 'segmentation.diffseg.anchors',
    'segmentation.merge_kmeans': 'segmentation.diffseg.kmeans_iterations',
    'segmentation.refinement': 'segmentation.refinement.method',
    'segmentation.refinement_iterations': 'segmentation.refinement.iterations',
    'segmentation.refinement_dilations': 'segmentation.refinement.dilations',
    'segmentation.refinement_width': 'segmentation.refinement.width',
}
"""Old parameter names that are still accepted, with the new ones; until release 0.3."""


def with_new_names(values: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return settings by their new names, and a warning for each that had an old one."""
    warnings = [f'parameter {name} is now called {RENAMED[name]}; the old name is accepted until '
                'release 0.3' for name in values if name in RENAMED]
    renamed = {RENAMED.get(name, name): value for name, value in values.items()}
    if renamed.get('segmentation.method') == 'ncut':
        warnings.append('parameter segmentation.method: ncut is now called kway; the old name is '
                        'accepted until release 0.3')
        renamed['segmentation.method'] = 'kway'
    return renamed, warnings
