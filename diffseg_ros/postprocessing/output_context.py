"""What output topics and files are made of."""

from __future__ import annotations

from functools import cached_property
from typing import Any, TYPE_CHECKING

from diffseg_ros.geometry.label_images import compact, distinct_labels
from diffseg_ros.naming.vocabulary import known_names
from diffseg_ros.postprocessing.segment_filter import needs_boxes, removed_ids
from diffseg_ros.types import (
    Frame,
    LabelImage,
    Mask,
    Result,
    RgbImage,
    SegmentKind,
    Track,
    UNLABELLED,
)
from diffseg_ros.viz.overlay import draw_overlay, draw_target
import numpy as np
import numpy.typing as npt
from scipy.ndimage import find_objects

if TYPE_CHECKING:
    from diffseg_ros.config import PipelineConfig
    from diffseg_ros.geometry.boxes import SegmentBox
    from diffseg_ros.postprocessing.label_encoding import LabelEncoder
    from diffseg_ros.postprocessing.static_mask import StaticMask


class SegmentRegions:
    """
    The pixels of each segment of one label image.

    Attributes
    ----------
    ids
        (N,) int32, sorted.
    boxes
        (N, 4) float64 centre x, centre y, width, height in pixels, over all pixels of a segment;
        the centre of the first pixel is 0.
    scores
        (N,) float64 mean confidence, 0 to 1.

    """

    def __init__(self, labels: LabelImage, confidence: npt.NDArray[np.uint8]) -> None:
        ids, numbers = distinct_labels(labels), compact(labels)
        corners = np.array([[columns.start, rows.start, columns.stop, rows.stop]
                            for rows, columns in find_objects(numbers + 1)], np.float64)
        sums = np.bincount(numbers.ravel(), confidence.ravel())
        means = sums / np.bincount(numbers.ravel()) / 255
        labelled = ids != UNLABELLED
        first, end = corners[labelled, :2], corners[labelled, 2:]
        self.ids = ids[labelled]
        self.boxes = np.hstack([(first + end - 1) / 2, end - first])
        self.scores = means[labelled]


class OutputContext:
    """
    One frame's result and what outputs need besides; what several need is computed once.

    Attributes
    ----------
    result
        Of the pipeline, without what the static mask excludes.
    encoder, values
        The encoder of label values, and the (H, W) values of this frame's labels.
    config
        Which depth becomes points, which segments are removed.
    settings
        Of the output that is being made, where it declares some.
    excluded
        (H, W) bool, what the static mask excludes, or None.
    points_colour
        'photo', or 'label' for points in the colour of their label value.
    depth_encoding
        '32FC1' or '16UC1', as the depth image came in.
    reusable
        Messages of the last frame by output, for outputs that write over their memory.

    """

    def __init__(self, result: Result, encoder: LabelEncoder, config: PipelineConfig, *,
                 static_mask: StaticMask | None = None, points_colour: str = 'photo',
                 depth_encoding: str = '32FC1',
                 reusable: dict[str, Any] | None = None) -> None:
        """
        Apply the static mask and encode the labels; each frame must come once, in order.

        Raises
        ------
        DiffsegError
            The static mask does not fit the image.

        """
        self.excluded: Mask | None = None
        if static_mask is not None:
            self.excluded = static_mask.excluded(*result.labels.shape)
            result = static_mask.apply(result)
        self.result = result
        self.encoder = encoder
        self.config = config
        self.values = encoder.encode(result.labels, self.classes)
        self.settings: Any = None
        self.points_colour = points_colour
        self.depth_encoding = depth_encoding
        self.reusable = {} if reusable is None else reusable

    @cached_property
    def frame(self) -> Frame:
        """
        The frame, without depth under the static mask.

        Where `depth.in_points` is off it is without predicted depth too, which is in that of
        `result` alone.
        """
        frame = self.result.frame
        return frame if self.config.depth.in_points else frame.measured

    @property
    def labels(self) -> LabelImage:
        """(H, W) int32 persistent ids, UNLABELLED (-1) where there is none."""
        return self.result.labels

    @property
    def has_points(self) -> bool:
        """Whether the frame has the depth and the intrinsics that points need."""
        return self.frame.depth is not None and self.frame.intrinsics is not None

    @cached_property
    def overlay(self) -> RgbImage:
        """(H, W, 3) image with segments in colour, and the target with a thick outline."""
        picture = draw_overlay(self.frame.rgb, self.labels, names=self.names,
                               colours=self.colours)
        return draw_target(picture, self.target_mask)

    @cached_property
    def boxes(self) -> list[SegmentBox]:
        """3-D boxes of the segments; only where `has_points`."""
        # Imported late, so that a file with an output can be imported for its settings.
        from diffseg_ros.geometry.boxes import segment_boxes

        return segment_boxes(self.frame, self.labels, self.config.cloud)

    @cached_property
    def target_mask(self) -> Mask:
        """(H, W) bool, where the target is."""
        target = self.result.target
        return np.zeros(self.labels.shape, bool) if target is None else target.mask

    @cached_property
    def target_box(self) -> SegmentBox | None:
        """3-D box of the target as a whole; None where it is not in view or has no depth."""
        if not self.has_points or not self.target_mask.any():
            return None
        from diffseg_ros.geometry.boxes import segment_boxes

        whole = np.where(self.target_mask, np.int32(0), np.int32(UNLABELLED))
        return next(iter(segment_boxes(self.frame, whole, self.config.cloud)), None)

    @cached_property
    def regions(self) -> SegmentRegions:
        """2-D boxes and mean confidence of the segments."""
        return SegmentRegions(self.labels, self.result.confidence)

    @cached_property
    def removed_ids(self) -> list[int] | None:
        """Ids hidden from mappers; None where their size decides and is not known."""
        if needs_boxes(self.config.removal) and not self.has_points:
            return None
        return removed_ids(self.config.removal, distinct_labels(self.labels), lambda: self.boxes,
                           self.result.tracks, self.config.removed_names)

    @cached_property
    def kinds(self) -> dict[int, SegmentKind]:
        """What the tracks are by their shape, by id, where that is known."""
        return {track.id: track.kind for track in self.result.tracks
                if track.kind is not SegmentKind.UNKNOWN}

    @cached_property
    def named(self) -> dict[int, Track]:
        """The tracks that have a name, 'unknown' included, by id."""
        return {track.id: track for track in self.result.tracks if track.name}

    @cached_property
    def names(self) -> dict[int, str]:
        """What the tracks are called, by id, where that is known."""
        return known_names(self.result.tracks)

    @cached_property
    def classes(self) -> dict[int, int]:
        """The class of each track that has one, by id, as in ~/label_info."""
        vocabulary = self.config.vocabulary
        return ({identity: vocabulary.class_of(name) for identity, name in self.names.items()}
                if vocabulary else {})

    @cached_property
    def colours(self) -> dict[int, tuple[int, ...]]:
        """Red, green, blue of the tracks whose name has a colour in the vocabulary, by id."""
        vocabulary = self.config.vocabulary
        return ({identity: vocabulary.by_name[name].colour for identity, name in self.names.items()
                 if name in vocabulary.by_name and vocabulary.by_name[name].colour}
                if vocabulary else {})

    @cached_property
    def objects(self) -> list[int]:
        """Ids of the objects: what stands on or hangs before a surface, and what moves."""
        return [track.id for track in self.result.tracks
                if track.kind is SegmentKind.OBJECT or track.moving]

    @cached_property
    def moving(self) -> dict[int, Track]:
        """The tracks that move by themselves, by id."""
        return {track.id: track for track in self.result.tracks if track.moving}
