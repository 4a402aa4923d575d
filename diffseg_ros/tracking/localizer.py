"""Where the camera is in the world, by its pose or by its motion summed up."""

from __future__ import annotations

from enum import Enum

from diffseg_ros.tracking.relocalisation import KeyViews
from diffseg_ros.tracking.tracking_frame import View
import numpy as np
import numpy.typing as npt

_GIVE_UP = 300


class World(Enum):
    """What a frame did to the world that places are kept in."""

    SAME = 0
    """It is that of the frame before, or there still is none."""
    NEW = 1
    """It begins here, or ends: places of before mean nothing."""
    ASTRAY = 2
    """From here on nobody knows where in it the camera is."""
    FOUND = 3
    """The camera is in it again."""


class Whereabouts:
    """
    Follows the camera.

    Where the motion between two frames was lost the camera goes astray: nothing is put in its
    place in the world until a view is known again, or a pose is there again, in a world that
    began with poses. After 300 frames another world begins.
    """

    def __init__(self) -> None:
        """Begin nowhere."""
        self._world: npt.NDArray[np.float64] | None = None
        self._posed = False
        self._views = KeyViews()
        self._astray = 0

    @property
    def world(self) -> npt.NDArray[np.float64] | None:
        """Return the (4, 4) camera-to-world transform of the last frame, if one is known."""
        return self._world

    def clear(self) -> None:
        """Begin nowhere again."""
        self._world, self._posed, self._astray = None, False, 0
        self._views.clear()

    def follow(self, now: View, motion: npt.NDArray[np.float64] | None, *,
               measured: bool) -> World:
        """
        Take in a frame.

        Parameters
        ----------
        now
            The frame; a pose that it has wins over a motion.
        motion
            (4, 4) from the camera now to the camera before, None if that is not known.
        measured
            Whether places may be told without a pose, by depth.

        """
        if now.pose is not None:
            change = World.SAME if self._posed else World.NEW
            if self._posed and self._astray:
                change = World.FOUND
            self._world, self._posed, self._astray = now.pose, True, 0
            return change
        if self._world is not None and motion is not None:
            self._world = self._world @ motion
            self._views.remember(now, self._world)
            return World.SAME
        place = self._views.find(now, self._astray) if measured else None
        if place is not None:
            self._world, self._astray = place, 0
            return World.FOUND
        return self._wait(now, measured=measured)

    def _wait(self, now: View, *, measured: bool) -> World:
        """Go astray, or begin another world where none is worth waiting for."""
        lost_now, self._world = self._world is not None, None
        self._astray += 1
        if (self._posed or not self._views.empty) and self._astray <= _GIVE_UP:
            return World.ASTRAY if lost_now else World.SAME
        ends = self._posed or not self._views.empty
        self.clear()
        if not measured:
            return World.NEW if ends else World.SAME
        self._world = np.eye(4)
        self._views.remember(now, self._world)
        return World.NEW
