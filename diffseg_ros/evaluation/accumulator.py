"""What all measures that sum over a sequence's frames have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

from diffseg_ros.evaluation.contingency import Contingency, contingency, LabelArray


class SequenceAccumulator(ABC):
    """Takes a sequence frame by frame, as label images or as overlaps counted already."""

    def __init__(self, *, ignore: int = 65535, background: int | None = None) -> None:
        """
        Begin an empty sequence.

        Parameters
        ----------
        ignore
            Value of the truth that is not scored.
        background
            Id of the truth that is no object, or None.

        """
        self._ignore = ignore
        self._background = background

    def add(self, prediction: LabelArray, truth: LabelArray) -> None:
        """
        Count one frame.

        Parameters
        ----------
        prediction
            (H, W) integer ids; negative ones are unlabelled.
        truth
            (H, W) integer ids.

        Raises
        ------
        DiffsegError
            The arrays are empty, of different shapes or not of integers.

        """
        self.add_table(contingency(prediction, truth, self._ignore))

    @abstractmethod
    def add_table(self, table: Contingency) -> None:
        """Count one frame whose overlaps are counted already, with the same ignored value."""
