"""Which track each place in the world belonged to: a hashed voxel map of bounded size."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

VOXEL_SIZE = 0.05
"""Metres."""

_ENTRIES = 2**18
_MOST_VOTES = 20
_AXIS_BITS = 21
_MIX = np.uint64(0x9E3779B97F4A7C15)


class WorldMemory:
    """
    Majority votes of track ids in world voxels, one vote a frame and voxel.

    The table never grows: voxels that fall on one entry vote against each other, and the entry
    goes to the newer one when its votes are used up, so places that are not seen again make
    room. Source of the vote: Boyer and Moore, "MJRTY", 1981.
    """

    def __init__(self) -> None:
        """Remember nothing."""
        self._keys = np.full(_ENTRIES, -1, np.int64)
        self._ids = np.zeros(_ENTRIES, np.int32)
        self._votes = np.zeros(_ENTRIES, np.int16)

    def clear(self) -> None:
        """Forget every place."""
        self._votes[:] = 0
        self._keys[:] = -1

    def vote(self, points: npt.NDArray[np.floating], ids: npt.NDArray[np.int32]) -> None:
        """
        Let every voxel that holds a point vote once.

        Parameters
        ----------
        points
            (N, 3) world metres, finite.
        ids
            (N,) int32 track of each point. Of several points in a voxel the last one counts.

        """
        keys, entries = _places(points)
        votes = self._votes[entries]
        agrees = (self._keys[entries] == keys) & (self._ids[entries] == ids)
        takes = ~agrees & (votes <= 1)
        after = np.where(agrees, np.minimum(votes + 1, _MOST_VOTES), votes - 1)
        self._votes[entries] = np.where(takes, 1, after)
        self._keys[entries[takes]] = keys[takes]
        self._ids[entries[takes]] = ids[takes]

    def recall(self, points: npt.NDArray[np.floating]
               ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int16]]:
        """Return the (N,) int32 track and int16 votes at (N, 3) world points; 0 votes: none."""
        keys, entries = _places(points)
        votes = np.where(self._keys[entries] == keys, self._votes[entries], 0)
        return self._ids[entries], votes.astype(np.int16)

    def rename(self, old: int, new: int) -> None:
        """Give the votes of one track to another."""
        self._ids[self._ids == old] = new


def _places(points: npt.NDArray[np.floating]
            ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the key of each point's voxel and its entry in the table."""
    cells = np.floor(points * (1 / VOXEL_SIZE)).astype(np.int64)
    cells &= (1 << _AXIS_BITS) - 1
    keys = (cells[:, 0] << 2 * _AXIS_BITS) | (cells[:, 1] << _AXIS_BITS) | cells[:, 2]
    mixed = keys.astype(np.uint64) * _MIX
    mixed ^= mixed >> np.uint64(32)
    mixed *= _MIX
    return keys, (mixed >> np.uint64(64 - _ENTRIES.bit_length() + 1)).astype(np.int64)
