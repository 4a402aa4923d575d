"""What measures of label images have in common, and all measures of a command together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
import importlib
from typing import Any

from diffseg_ros.evaluation.contingency import Contingency, contingency, LabelArray
from diffseg_ros.geometry.point_cloud import labelled_cloud, LabelledCloud
from diffseg_ros.registry import measures
from diffseg_ros.settings import Settings
from diffseg_ros.types import Frame, LabelImage
import numpy as np
import numpy.typing as npt

COMMANDS = ('masks', 'tracks')

_BUILT_IN = ('tracks', 'consistency', 'masks', 'calibration', 'objects')


@dataclass(frozen=True)
class Observation:
    """
    One labelled frame as all measures see it; what several of them need is computed once.

    Attributes
    ----------
    labels
        (H, W) int32 segment ids, UNLABELLED (-1) where there is none.
    frame
        With the depth and pose that the measures may use.
    confidence
        (H, W) uint8.
    truth
        (H, W) integer ids of true regions.
    ignored, background
        Values of `truth` that are not scored, and that are no object.
    classes
        Names of the classes that `truth` numbers from 0; None where its ids are regions of one
        frame or instances of a sequence.
    epoch
        Rises where the recording starts over and ids begin anew.

    """

    labels: LabelImage
    frame: Frame | None = None
    confidence: npt.NDArray[np.uint8] | None = None
    truth: LabelArray | None = None
    ignored: int = 65535
    background: int | None = None
    classes: Sequence[str] | None = None
    epoch: int = 0

    @cached_property
    def contingency(self) -> Contingency | None:
        """Overlaps of the segments with the truth, or None without truth."""
        if self.truth is None:
            return None
        return contingency(self.labels, self.truth, self.ignored, self.background)

    @cached_property
    def cloud(self) -> LabelledCloud | None:
        """Organised cloud in the optical frame, or None without depth or intrinsics."""
        frame = self.frame
        if frame is None or frame.depth is None or frame.intrinsics is None:
            return None
        return labelled_cloud(frame, self.labels)


class Measure(ABC):
    """
    Sums up the frames of one sequence or data set; inheritance is optional.

    A measure registers itself, as in `@register_measure('my_measure', commands=('tracks',))`; the
    default is all COMMANDS. One whose value over several data sets is not the mean of its values
    also has a class method `pooled(parts)`, which returns one measure of several.
    """

    def __init__(self) -> None:
        self.reset()

    @abstractmethod
    def reset(self) -> None:
        """Forget all frames."""

    @abstractmethod
    def update(self, observation: Observation) -> None:
        """
        Take the next frame; one that lacks what the measure needs is skipped.

        Raises DiffsegError if the arrays do not fit together or the lens is not supported.
        """

    @abstractmethod
    def compute(self) -> dict[str, Any]:
        """
        Return the values so far by name: numbers, or None where nothing could be measured.

        The printed table shows the names that are None before the first frame. Other JSON values
        appear in reports only.
        """


class MeasureSet:
    """All measures of one command, fed together; `settings` has a section for each."""

    def __init__(self, command: str, settings: Settings | None = None) -> None:
        for name in _BUILT_IN:
            importlib.import_module(f'diffseg_ros.evaluation.{name}')
        self._measures: dict[str, Measure] = {
            entry.name: entry.create(getattr(settings, entry.section, None) or entry.settings())
            if entry.settings else entry.create()
            for entry in measures if command in entry.facts.get('commands', COMMANDS)}

    def __getitem__(self, name: str) -> Any:
        return self._measures[name]

    def update(self, observation: Observation) -> None:
        for measure in self._measures.values():
            measure.update(observation)

    def compute(self) -> dict[str, Any]:
        return {name: value for measure in self._measures.values()
                for name, value in measure.compute().items()}

    @staticmethod
    def pooled(sets: Sequence[MeasureSet]) -> dict[str, Any]:
        """Return the values over several data sets that are more than means of their values."""
        found: dict[str, Any] = {}
        for name, measure in sets[0]._measures.items():
            if hasattr(measure, 'pooled'):
                found.update(measure.pooled([part[name] for part in sets]).compute())
        return found
