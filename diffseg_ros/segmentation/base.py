"""What every segmentation method is given and has to do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, TYPE_CHECKING

from diffseg_ros.errors import DiffsegError
from diffseg_ros.settings import setting, Settings
from diffseg_ros.types import Frame, LabelImage, Segments
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch


class RefinementSettings(Settings):
    """How segments of tokens follow the edges of the image (methods diffcut, kway, diffseg)."""

    method: Literal['basins', 'pamr'] = setting(
        'basins', 'how segments of tokens are brought to pixels: basins, by voting of small image '
        'regions, or pamr, pixel-adaptive refinement as in DiffCut')
    iterations: int = setting(3, 'PAMR iterations; 0 is off', 0, 100)
    dilations: tuple[int, ...] = setting(
        (1, 2, 4), 'PAMR neighbour distances in pixels of the refinement grid', 1, 64)
    width: int = setting(320, 'width in pixels of the grid that refinement works on', 16, 4096)


class SegmentationSettings(Settings):
    """How features are grouped into segments: what all methods share."""

    method: str = setting('auto', 'segmentation method', live=False)
    granularity: float = setting(
        0.5, "coarse (0) to fine (1); scales the method's thresholds, which hold as they are at "
        '0.5', 0.0, 1.0)
    centre: Literal['auto', True, False] = setting(
        'auto', "subtract the image's mean feature first; auto is what suits model and method")
    prior: float = setting(
        0.3, 'weight of the labels expected from the last frame; 0 segments every frame afresh',
        0.0, 100.0)
    min_size: float = setting(
        0.0008, 'smallest segment as a share of the image; smaller ones join a neighbour',
        0.0, 0.5)
    max_segments: int = setting(96, 'no further splits beyond this number of segments', 1, 1024)
    refinement: RefinementSettings = RefinementSettings()

    @property
    def threshold_scale(self) -> float:
        """Factor of the thresholds for `granularity`: 4 at 0, 1 at 0.5, 1/4 at 1."""
        return float(4 ** (1 - 2 * self.granularity))

    def section(self, name: str) -> Any:
        """Return the settings of one method."""
        return getattr(self, name)


class SegmentationMethod(ABC):
    """
    Groups the features of one frame after the other into segments.

    A method is made with its own settings and those that all methods share, none of them left
    open for the kind of the model. It may keep what
    makes the next frame of a video faster, until `reset`. A whole one, in a file of its own:

        @register_segmentation('grid', GridSettings)
        class Grid(SegmentationMethod):
            def segment(self, frame, features, prior=None, attention=None):
                features = self.prepare(features)
                labels, confidence, embeddings = ...
                return compact_segments(labels, confidence, embeddings)

    Modules that register a method are imported before torch is needed: they import torch, and
    what imports it, inside `segment`.
    """

    needs_attention = False
    """Whether `segment` is to be given self-attention maps; the whole U-Net then has to run."""

    def __init__(self, settings: Any, common: SegmentationSettings) -> None:
        self.settings = settings
        self.common = common

    @abstractmethod
    def segment(self, frame: Frame, features: torch.Tensor,
                prior: npt.NDArray[np.float32] | None = None,
                attention: Sequence[torch.Tensor] | None = None) -> Segments:
        """
        Segment one frame.

        Parameters
        ----------
        frame
            The image, and its depth where the method uses it.
        features
            (C, h, w) float32 feature grid of the image.
        prior
            (K, h, w) float32 share of each of K tracks that each token is expected to show, or
            None; a token of only zeros expects nothing. Methods may ignore it.
        attention
            Maps of `Backbone.features_and_attention`, finest first, or None.

        Raises
        ------
        DiffsegError
            The features or the attention hold NaN or infinity, or what the method needs is
            missing.

        """

    def prepare(self, features: torch.Tensor) -> torch.Tensor:
        """Return the features, centred if `centre` is set; DiffsegError if not finite."""
        features = features.detach()
        if not features.isfinite().all():
            raise DiffsegError('segmentation: the features hold NaN or infinity; run the model '
                               'in float32 (backbone.precision) or check its weights')
        if self.common.centre:
            features = features - features.mean(dim=(1, 2), keepdim=True)
        return features

    def reset(self) -> None:  # noqa: B027 (most methods remember nothing)
        """Forget the last frame."""


def compact_segments(labels: LabelImage, confidence: npt.NDArray[np.float32],
                     embeddings: npt.NDArray[np.float32]) -> Segments:
    """
    Return `Segments` without the segments that won no pixel.

    From (H, W) int32 labels from 0 to K - 1, (H, W) float32 confidence from 0 to 1 and (K, C)
    float32 embeddings.
    """
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=len(embeddings)))
    renumber = np.zeros(len(embeddings), np.int32)
    renumber[present] = np.arange(len(present), dtype=np.int32)
    return Segments(renumber[labels], np.rint(confidence * 255).astype(np.uint8),
                    embeddings[present])
