"""Evidence, over several segmented frames, that a track is two things, or two tracks are one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from diffseg_ros.tracking.association import Cells, Counts, tabulate
from diffseg_ros.tracking.track import CAPACITY
import numpy as np
import numpy.typing as npt

_SAME_PIECE_IOU = 0.5
_TOGETHER_SHARE = 0.6
_LEAST_SHARE = 0.1
_MOST_PIECES = 255

Mask = npt.NDArray[np.bool_]


@dataclass
class _Piece:
    slot: int
    votes: float


class SplitWatch:
    """
    Pieces that segments cut from tracks, until enough frames agree on them.

    A piece is carried along with the labels in an image of its own. A segmented frame that
    cuts its track along the same line votes for it, one that does not against it.
    """

    def __init__(self) -> None:
        """Start without pieces."""
        self._pieces: dict[int, _Piece] = {}

    def clear(self) -> None:
        """Forget all pieces."""
        self._pieces.clear()

    def update(self, pieces: npt.NDArray[np.uint8], cells: Cells,
               segments: npt.NDArray[np.integer], *, least: float, after: float,
               weight: float = 1.0) -> tuple[npt.NDArray[np.uint8], list[Mask]]:
        """
        Compare the tracks with a frame's segments.

        Parameters
        ----------
        pieces
            (H, W) number of the piece, 0 for none.
        cells
            How the segments lie on the tracks, every pixel known.
        segments
            (H, W) number of the segment.
        least
            Pixels that a piece must have.
        after
            Votes that split a track.
        weight
            Of this frame's votes.

        Returns
        -------
        tuple
            The new image of pieces, and the (H, W) mask of every piece that is now a thing of
            its own.

        """
        table = cells.table[:-1]
        worthy = (table >= least) & (table >= _LEAST_SHARE * table.sum(axis=1, keepdims=True))
        cut = worthy & (worthy.sum(axis=1, keepdims=True) > 1)
        pieces = self._on_their_tracks(pieces, cells)
        numbers = self._vote(pieces, cells, segments, cut, weight)
        self._open(table, cut, numbers, cells.slots, weight)
        again = numbers.astype(np.uint8).take(cells.places)
        renewed = np.zeros(_MOST_PIECES + 1, bool)
        renewed[numbers[numbers > 0]] = True
        pieces = np.where((again > 0) | renewed.take(pieces), again, pieces)
        found = []
        for number in [number for number, piece in self._pieces.items() if piece.votes >= after]:
            del self._pieces[number]
            found.append(pieces == number)
            pieces[found[-1]] = 0
        return pieces, [mask for mask in found if mask.any()]

    def _on_their_tracks(self, pieces: npt.NDArray[np.uint8],
                         cells: Cells) -> npt.NDArray[np.uint8]:
        """Return the pieces without what no longer lies on the track they were cut from."""
        row_of = np.full(CAPACITY, -1)
        row_of[cells.slots] = np.arange(len(cells.slots))
        owner = np.full(_MOST_PIECES + 1, -2)
        for number, piece in self._pieces.items():
            owner[number] = row_of[piece.slot]
        return pieces * (owner.take(pieces) == cells.rows)

    def _vote(self, pieces: npt.NDArray[np.uint8], cells: Cells,
              segments: npt.NDArray[np.integer], cut: Mask, weight: float) -> Counts:
        """Return the (T, S) numbers of the pieces that are cut again, after counting votes."""
        table = cells.table[:-1]
        numbers = np.zeros(table.shape, np.int64)
        marked = pieces > 0
        shared = tabulate(pieces[marked], None, segments[marked], table.shape[1])
        own = dict(zip(shared.slots.tolist(), shared.table, strict=False))
        row_of = {int(slot): row for row, slot in enumerate(cells.slots)}
        for number, piece in list(self._pieces.items()):
            row = row_of.get(piece.slot)
            if row is None or number not in own:
                del self._pieces[number]
                continue
            overlap = own[number]
            iou = cut[row] * overlap / np.maximum(overlap.sum() + table[row] - overlap, 1)
            best = int(iou.argmax())
            if iou[best] >= _SAME_PIECE_IOU:
                piece.votes += weight
                numbers[row, best] = number
            else:
                piece.votes -= weight
                if piece.votes <= 0:
                    del self._pieces[number]
        return numbers

    def _open(self, table: Counts, cut: Mask, numbers: Counts, slots: Counts,
              weight: float) -> None:
        """Open pieces for tracks that are cut and have none yet; the largest part is none."""
        watched = {piece.slot for piece in self._pieces.values()}
        free = iter([number for number in range(1, _MOST_PIECES + 1)
                     if number not in self._pieces])
        for row in np.flatnonzero(cut.any(axis=1)):
            if int(slots[row]) in watched:
                continue
            parts = np.flatnonzero(cut[row])
            for part in parts[parts != table[row].argmax()]:
                number = next(free, None)
                if number is None:
                    return
                self._pieces[number] = _Piece(int(slots[row]), weight)
                numbers[row, part] = number


class MergeWatch:
    """Pairs of tracks that lie in one segment, until enough frames agree that they are one."""

    def __init__(self) -> None:
        """Start without pairs."""
        self._votes: dict[tuple[int, int], float] = {}

    def clear(self) -> None:
        """Forget all pairs."""
        self._votes.clear()

    def update(self, cells: Cells, *, after: float, weight: float = 1.0) -> list[tuple[int, int]]:
        """
        Count who lies together.

        Parameters
        ----------
        cells
            How the segments lie on the tracks, every pixel known.
        after
            Votes that make two tracks one.
        weight
            Of this frame's votes.

        Returns
        -------
        list of tuple
            Pairs of slots that are one.

        """
        table = cells.table[:-1]
        inside = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
        home = np.where(inside.max(axis=1) >= _TOGETHER_SHARE, inside.argmax(axis=1), -1)
        homes = dict(zip(cells.slots.tolist(), home.tolist(), strict=True))
        for pair in list(self._votes):
            first, second = (homes.get(slot, -1) for slot in pair)
            if first >= 0 and second >= 0 and first != second:
                self._votes[pair] -= weight
                if self._votes[pair] <= 0:
                    del self._votes[pair]
        together = (home[:, None] == home) & (home >= 0)
        for first, second in np.argwhere(np.triu(together, 1)):
            pair = int(cells.slots[first]), int(cells.slots[second])
            self._votes[pair] = self._votes.get(pair, 0.0) + weight
        ripe = [pair for pair, votes in self._votes.items() if votes >= after]
        for pair in ripe:
            del self._votes[pair]
        return ripe

    def drop(self, slots: Collection[int]) -> None:
        """Forget the pairs of slots."""
        if slots:
            self._votes = {pair: votes for pair, votes in self._votes.items()
                           if pair[0] not in slots and pair[1] not in slots}
