"""What became of each track from one replay to the next."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from diffseg_ros.comparison.matching import Match, Overlaps
from diffseg_ros.types import UNLABELLED
import numpy as np

PIECE_SHARE = 0.2
"""Share of a track from which on what another track has of it is a piece."""

Spans = tuple[tuple[int, int], ...]
"""First and last frame of each run of frames that shows a track."""


@dataclass(frozen=True)
class TrackSide:
    """
    A track in one replay.

    Attributes
    ----------
    pixels
        In all frames that both replays have; 0 where it is in none of them.
    frames
        In how many frames it was seen.
    spans
        When it was seen, by the frames' numbers.
    name
        '' where it has none.

    """

    id: int
    pixels: int
    frames: int
    spans: Spans
    name: str = ''


@dataclass(frozen=True)
class TrackChange:
    """
    A track of the old replay and what it is in the new one; either may be missing.

    Attributes
    ----------
    changes
        Of 'lost', 'gained', 'fragmented', 'merged', 'renamed'; empty where nothing happened, and
        for tracks that are in none of the frames that both replays have.
    common
        Pixels that both have.
    pieces
        New ids that have at least PIECE_SHARE of the old track.
    parts
        Old ids that are at least PIECE_SHARE of the new track.

    """

    old: TrackSide | None
    new: TrackSide | None
    changes: tuple[str, ...] = ()
    common: int = 0
    pieces: tuple[int, ...] = ()
    parts: tuple[int, ...] = ()

    @property
    def kept(self) -> float | None:
        """Share of the old track's pixels that are still its own; None where it has none."""
        return self.common / self.old.pixels if self.old and self.old.pixels else None

    @property
    def moved_pixels(self) -> int:
        """Pixels that only one of the two has."""
        return sum(side.pixels - self.common for side in (self.old, self.new) if side)


def track_changes(old: dict[int, TrackSide], new: dict[int, TrackSide], total: Overlaps,
                  match: Match, *, with_names: bool) -> list[TrackChange]:
    """
    Return one row for each pair of tracks and each track without a partner, the worst first.

    `old` and `new` are the tracks of the replays by id; names are compared where both replays
    have them (`with_names`). Tracks of equally many moved pixels stand by their ids.
    """
    partner = dict(zip(match.old.tolist(), match.new.tolist()))
    taken = set(partner.values())
    pairs: list[tuple[TrackSide | None, TrackSide | None]] = [
        (side, new.get(partner.get(one, UNLABELLED))) for one, side in old.items()]
    pairs += [(None, side) for other, side in new.items() if other not in taken]
    common = {(one, other): pixels for one, other, pixels in
              zip(total.old.tolist(), total.new.tolist(), total.pixels.tolist())}
    pieces, parts = _pieces(total)
    rows = [_row(before, after, pieces.get(before.id, ()) if before else (),
                 parts.get(after.id, ()) if after else (),
                 common[before.id, after.id] if before and after else 0, with_names)
            for before, after in pairs]
    return sorted(rows, key=lambda row: (-row.moved_pixels,
                                         *(side.id if side else 0 for side in (row.old, row.new))))


def _row(old: TrackSide | None, new: TrackSide | None, pieces: tuple[int, ...],
         parts: tuple[int, ...], common: int, with_names: bool) -> TrackChange:
    happened = {'lost': bool(old and old.pixels and not new),
                'gained': bool(new and new.pixels and not old),
                'fragmented': len(pieces) > 1, 'merged': len(parts) > 1,
                'renamed': bool(with_names and old and new and old.name != new.name)}
    return TrackChange(old, new, tuple(change for change, true in happened.items() if true),
                       common, pieces, parts)


def _pieces(total: Overlaps) -> tuple[dict[int, tuple[int, ...]], dict[int, tuple[int, ...]]]:
    """Return the pieces of each old id and the parts of each new one, the largest first."""
    labelled = (total.old != UNLABELLED) & (total.new != UNLABELLED)
    order = np.argsort(-total.pixels, kind='stable')
    found: list[dict[int, tuple[int, ...]]] = []
    for whole, piece, sizes in ((total.old, total.new, total.old_sizes),
                                (total.new, total.old, total.new_sizes)):
        large = order[(labelled & (total.pixels >= PIECE_SHARE * sizes))[order]]
        gathered: dict[int, list[int]] = defaultdict(list)
        for one, other in zip(whole[large].tolist(), piece[large].tolist()):
            gathered[one].append(other)
        found.append({one: tuple(others) for one, others in gathered.items()})
    return found[0], found[1]
