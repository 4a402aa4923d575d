"""What goes into the pipeline, what comes out, and the array types of both."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple

from diffseg_ros.errors import DiffsegError
import numpy as np
import numpy.typing as npt

RgbImage = npt.NDArray[np.uint8]
"""(H, W, 3) uint8, red first."""
LabelImage = npt.NDArray[np.int32]
"""(H, W) int32 segment ids, UNLABELLED where there is none."""
DepthImage = npt.NDArray[np.float32]
"""(H, W) float32 metres, NaN where invalid."""
Points = npt.NDArray[np.float32]
"""(N, 3) float32 metres."""
Mask = npt.NDArray[np.bool_]
Matrix = npt.NDArray[np.float64]
"""(4, 4) float64 rigid transform, such as camera to world."""

UNLABELLED = -1
"""Value of pixels without a segment in every label array of the core (int32)."""


IDS_BESIDE_A_CLASS = {'class_and_id': 2**16 - 1, 'id_and_class': 2**15 - 1}
"""How many ids there are beside a class in 32 bits, by the content of the labels."""


@dataclass(frozen=True)
class Intrinsics:
    """
    Pinhole intrinsics in pixels, with the lens distortion the camera reports.

    Attributes
    ----------
    width, height
        Size in pixels of the image that fx, fy, cx, cy refer to.
    distortion
        Coefficients as in sensor_msgs/CameraInfo `d`; empty means rectified.
    distortion_model
        As in sensor_msgs/CameraInfo, for example 'plumb_bob'.

    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()
    distortion_model: str = 'plumb_bob'

    def __post_init__(self) -> None:
        """Refuse intrinsics no point can be computed with."""
        if self.width <= 0 or self.height <= 0:
            raise DiffsegError(f'camera intrinsics: size {self.width}x{self.height}; '
                               'width and height must be above 0')
        if self.fx == 0 or self.fy == 0:
            raise DiffsegError('camera intrinsics: K is 0 (uncalibrated camera); calibrate it '
                               'or publish a CameraInfo with focal lengths')
        if not np.isfinite([self.fx, self.fy, self.cx, self.cy, *self.distortion]).all():
            raise DiffsegError('camera intrinsics: K or the distortion holds NaN or infinity; '
                               'publish finite values')
        if self.fx < 0 or self.fy < 0:
            raise DiffsegError(f'camera intrinsics: focal lengths {self.fx}, {self.fy}; '
                               'they must be above 0')

    def resized(self, width: int, height: int) -> Intrinsics:
        """Return the intrinsics of the same view at another size (pixel centres at .0)."""
        if (width, height) == (self.width, self.height):
            return self
        scale_x, scale_y = width / self.width, height / self.height
        return replace(self, width=width, height=height,
                       fx=self.fx * scale_x, fy=self.fy * scale_y,
                       cx=(self.cx + 0.5) * scale_x - 0.5, cy=(self.cy + 0.5) * scale_y - 0.5)


@dataclass(frozen=True)
class Frame:
    """
    An image and what is known with it.

    Attributes
    ----------
    rgb
        (H, W, 3) uint8, red first.
    stamp
        Time of exposure in nanoseconds.
    frame_id
        Name of the camera's optical frame (x right, y down, z forward).
    depth
        (Hd, Wd) float32 metres registered to `rgb`, NaN where invalid, or None. It shows the
        same view as `rgb`; its size may differ.
    intrinsics
        Of `rgb`, at any size of the same view, or None.
    pose
        (4, 4) float64 camera-to-world transform, or None.
    fixed_frame
        Name of the world that `pose` leads to. Places in it can be saved, unless `odom` is in the
        name: odometry begins anew with every start.
    ranges
        (N, 3) float32 points in metres, in the camera's optical frame, that another sensor
        measured, or None.
    depth_confidence
        (Hd, Wd) float32: 1 where `depth` was measured, 0 to below 1 where a model predicted it;
        None where all of it was measured.
    up
        (3,) direction away from the ground, of any length, in the camera's optical frame, where
        it is known without `pose`; or None.
    odom_pose
        (4, 4) camera-to-odom transform, or None. Unlike `pose` in a map, which localisation
        corrects, it does not jump (REP 105), so that it tells better how the camera moved.

    """

    rgb: RgbImage
    stamp: int = 0
    frame_id: str = 'camera'
    depth: DepthImage | None = None
    intrinsics: Intrinsics | None = None
    pose: Matrix | None = None
    fixed_frame: str = 'map'
    ranges: Points | None = None
    depth_confidence: npt.NDArray[np.float32] | None = None
    up: npt.NDArray[np.float64] | None = None
    odom_pose: Matrix | None = None

    @property
    def motion(self) -> tuple[Matrix | None, str]:
        """The (4, 4) camera-to-world transform that tells best how the camera moves, its world."""
        if self.odom_pose is not None:
            return self.odom_pose, 'odom by odom_pose'
        return self.pose, self.fixed_frame

    @property
    def measured(self) -> Frame:
        """The frame without depth that a model predicted."""
        if self.depth is None or self.depth_confidence is None:
            return self
        sure = self.depth_confidence >= 1
        if not sure.any():
            return replace(self, depth=None, depth_confidence=None)
        return replace(self, depth=np.where(sure, self.depth, np.float32(np.nan)))

    @property
    def predicted_share(self) -> float:
        """Share of the pixels with depth whose depth a model predicted."""
        if self.depth is None or self.depth_confidence is None:
            return 0.0
        valid = self.depth > 0
        predicted = np.count_nonzero(valid & (self.depth_confidence < 1))
        return predicted / max(1, np.count_nonzero(valid))

    def __post_init__(self) -> None:
        """Refuse arrays of another shape or type."""
        if self.rgb.ndim != 3 or self.rgb.shape[2] != 3 or self.rgb.dtype != np.uint8:
            raise DiffsegError(f'frame rgb: got {self.rgb.dtype} {self.rgb.shape}; '
                               'HxWx3 uint8 is needed')
        if min(self.rgb.shape[:2]) < 2:
            raise DiffsegError(f'frame rgb: size {self.rgb.shape[1]}x{self.rgb.shape[0]}; '
                               'at least 2x2 pixels are needed')
        if self.depth is not None and (self.depth.ndim != 2 or self.depth.dtype != np.float32
                                       or 0 in self.depth.shape):
            raise DiffsegError(f'frame depth: got {self.depth.dtype} {self.depth.shape}; '
                               'HxW float32 metres are needed')
        for name, pose in (('pose', self.pose), ('odom_pose', self.odom_pose)):
            if pose is not None and pose.shape != (4, 4):
                raise DiffsegError(f'frame {name}: got shape {pose.shape}; 4x4 is needed')
        if self.up is not None and (self.up.shape != (3,) or not self.up.any()):
            raise DiffsegError(f'frame up: got {self.up}; 3 values, not all 0, are needed')
        if self.ranges is not None and (self.ranges.ndim != 2 or self.ranges.shape[1] != 3
                                        or self.ranges.dtype != np.float32):
            raise DiffsegError(f'frame ranges: got {self.ranges.dtype} {self.ranges.shape}; '
                               'Nx3 float32 metres are needed')
        if self.depth_confidence is not None and (
                self.depth is None or self.depth_confidence.shape != self.depth.shape):
            raise DiffsegError(f'frame depth_confidence: got shape {self.depth_confidence.shape}; '
                               'that of depth is needed')


@dataclass(frozen=True)
class Hierarchy:
    """
    All segmentations of a frame from coarse to fine: each is a union of finer segments.

    Attributes
    ----------
    regions
        (H, W) int32 finest segments, from 0 to N - 1.
    granularity
        (N - 1,) float32: from which granularity on, 0 to 1, the regions of one number and the
        next are apart; above 1 where they never are.

    """

    regions: LabelImage
    granularity: npt.NDArray[np.float32]

    def labels(self, granularity: float) -> LabelImage:
        """Return the (H, W) int32 segments at a granularity, from 0 without gaps."""
        apart = self.granularity <= granularity
        return np.concatenate([[0], np.cumsum(apart)]).astype(np.int32)[self.regions]


class SegmentKind(str, Enum):
    """What a segment is by its shape in the depth image; UNKNOWN without depth or camera."""

    UNKNOWN = ''
    OBJECT = 'object'
    FLOOR = 'floor'
    TABLE = 'table'
    WALL = 'wall'
    CEILING = 'ceiling'


@dataclass(frozen=True)
class Segments:
    """
    Segments of one frame by itself; their numbers mean nothing in another frame.

    Attributes
    ----------
    labels
        (H, W) int32 from 0 to K - 1, every pixel labelled and every number present.
    confidence
        (H, W) uint8: margin between the best and the second-best segment (method regions: all
        others), times 255.
    embeddings
        (K, C) float32 mean feature of each segment, of length 1; 0 where the features are the
        same everywhere.
    hierarchy
        The same at all granularities; None where the method has but one.
    kinds
        What each of the K segments is by its shape; empty where that was not looked for.

    """

    labels: LabelImage
    confidence: npt.NDArray[np.uint8]
    embeddings: npt.NDArray[np.float32]
    hierarchy: Hierarchy | None = None
    kinds: tuple[SegmentKind, ...] = ()


class TrackState(str, Enum):
    """Where a track is in its life."""

    TENTATIVE = 'tentative'
    CONFIRMED = 'confirmed'
    LOST = 'lost'


@dataclass(frozen=True)
class Track:
    """
    A segment that keeps its id from frame to frame.

    Attributes
    ----------
    id
        Persistent id, as in the labels.
    state
        Tentative until it was segmented often enough, lost while it is out of view.
    age
        Frames since it was started.
    unseen
        Frames since it was last in view.
    pixels
        Its size in the tracked label image, 0 while it is lost.
    moving
        Whether it moves by itself, against the world and not just in the image.
    since_moved
        Seconds since it last moved by itself, 0 while it does, None if it never did.
    velocity
        (x, y, z) in metres per second against the world, along the axes of the camera's optical
        frame; None at rest, and where depth or the camera's pose is unknown.
    kind
        What it is by its shape, as most keyframes had it.
    position
        (x, y, z) metres of its middle in the frame's `fixed_frame`, as last seen; None where depth
        or the camera's pose is not known.
    name, name_score
        What it is called, of the words of `naming.vocabulary`, and the probability of that, 0 to
        1; 'unknown' where no word is clearly the best, '' where naming is off or did not look yet.
    embedding
        (D,) float32 mean of what the naming model makes of its pictures, or None.

    """

    id: int
    state: TrackState
    age: int
    unseen: int
    pixels: int
    moving: bool = False
    since_moved: float | None = None
    velocity: tuple[float, float, float] | None = None
    kind: SegmentKind = SegmentKind.UNKNOWN
    position: tuple[float, float, float] | None = None
    name: str = ''
    name_score: float = 0.0
    embedding: npt.NDArray[np.float32] | None = field(default=None, compare=False, repr=False)


class Match(NamedTuple):
    """How well words fit a track, 0 to 1."""

    id: int
    score: float


_LEAST_MATCH, _NEARLY_BEST = 0.1, 0.5


@dataclass(frozen=True)
class Found:
    """
    What was found for words that were looked for.

    Attributes
    ----------
    words
        As they were given.
    matches
        All tracks that naming has looked at, in view or not, those first that fit best.

    """

    words: str
    matches: tuple[Match, ...]

    @property
    def best(self) -> list[int]:
        """Ids of the tracks that fit, at least half as well as the best and at least 0.1."""
        least = max([_LEAST_MATCH, *(_NEARLY_BEST * match.score for match in self.matches[:1])])
        return [match.id for match in self.matches if match.score >= least]


class TargetState(str, Enum):
    """Whether the target is in view; if not, whether it is known where it is."""

    TRACKED = 'tracked'
    HIDDEN = 'hidden'
    LOST = 'lost'


@dataclass(frozen=True)
class Target:
    """
    The object that is followed since somebody clicked on it.

    Attributes
    ----------
    state
        Tracked while it is in view. Hidden where its place is out of view or behind something, and
        in the first frames without it where places are not known. Else lost.
    ids
        Of the tracks that are parts of it, those out of view included.
    mask
        (H, W) bool, its pixels in the labels; none unless it is tracked.
    unseen
        Frames since it was last in view.

    """

    state: TargetState
    ids: tuple[int, ...]
    mask: Mask
    unseen: int = 0


@dataclass(frozen=True)
class Result:
    """
    What the pipeline found in one frame.

    Attributes
    ----------
    frame
        The frame that was given, where `depth.model` is set with the depth that it predicts.
    labels
        (H, W) int32 persistent segment ids, UNLABELLED (-1) where there is none.
    confidence
        (H, W) uint8: evidence for the id, gathered over frames, 0 (a guess) to 255.
    epoch
        Rises by one with every reset; ids are never reused within a process, but
        `Pipeline.load` gives those of the file back.
    latency_ms
        Milliseconds of each stage that ran, 'features', 'segmentation', 'tracking', 'depth' and
        'naming', and 'total'. The first two run on keyframes only.
    keyframe
        Whether the frame was segmented; in others the labels are carried from before.
    tracks
        All tracks that are alive, in view or lost, by id.
    found
        What fits the words of `Pipeline.look_for`, None without such words.
    target
        The object that is followed, None without one.

    """

    frame: Frame
    labels: LabelImage
    confidence: npt.NDArray[np.uint8]
    epoch: int
    latency_ms: dict[str, float] = field(default_factory=dict)
    keyframe: bool = True
    tracks: tuple[Track, ...] = ()
    found: Found | None = None
    target: Target | None = None
