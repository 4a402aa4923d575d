"""Where the camera is in a world it has seen before, after its motion was lost or has drifted."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
from diffseg_ros.tracking.odometry import consensus, Features, features
from diffseg_ros.tracking.tracking_frame import FloatArray, View
from diffseg_ros.tracking.warp import rigid_source
import numpy as np
import numpy.typing as npt

_THUMBNAIL = 16, 12
_NEW_LIKENESS = 0.8
_KEPT, _NEXT = 24, 2
_AGREEING = 15
_SURFACE_SHARE = 0.6
_WIDTH = 160


@dataclass(frozen=True)
class _KeyView:
    """A thumbnail of a view, its corners, a small form of it, and its (4, 4) place."""

    thumbnail: FloatArray
    features: Features
    view: View
    world: npt.NDArray[np.float64]


class KeyViews:
    """
    A few of the views that the camera had, by which it finds its place again.

    Views are chosen by their thumbnails; corners that look alike (ORB, Rublee et al., ICCV 2011)
    and have depth in both have to agree on one rigid motion, and the surfaces have to meet.
    """

    def __init__(self) -> None:
        """Start without views."""
        self._views: deque[_KeyView] = deque(maxlen=_KEPT)

    @property
    def empty(self) -> bool:
        """Return whether there are none."""
        return not self._views

    def clear(self) -> None:
        """Forget all views."""
        self._views.clear()

    def remember(self, view: View, world: npt.NDArray[np.float64]) -> None:
        """Keep a view with depth and its (4, 4) camera-to-world transform, if it is a new one."""
        thumbnail = _thumbnail(view)
        if all(_likeness(thumbnail, known.thumbnail) < _NEW_LIKENESS for known in self._views):
            self._views.append(_KeyView(thumbnail, features(view), _small(view), world))

    def find(self, view: View, attempt: int = 0) -> npt.NDArray[np.float64] | None:
        """
        Return the (4, 4) camera-to-world transform of a view with depth, None if unknown.

        To be fast two kept views are tried: the likeliest, and one of the two next, that changes
        with the number of the `attempt`.
        """
        if not self._views:
            return None
        thumbnail = _thumbnail(view)
        likely = sorted(self._views, key=lambda known: -_likeness(thumbnail, known.thumbnail))
        here, small = features(view), _small(view)
        for known in [likely[0], *likely[1 + attempt % _NEXT:][:1]]:
            motion = consensus(*here.paired(known.features), least=_AGREEING)
            if (motion is not None
                    and rigid_source(small, known.view, motion)[1] >= _SURFACE_SHARE):
                place: npt.NDArray[np.float64] = known.world @ motion
                return place
        return None


def _small(view: View) -> View:
    """Return a view with so few pixels that surfaces can just be compared."""
    return view.resized((max(2, round(view.shape[0] * _WIDTH / view.shape[1])), _WIDTH))


def _thumbnail(view: View) -> FloatArray:
    """Return a small image of mean 0 and length 1."""
    small = cv2.resize(view.grey, _THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)
    small -= small.mean()
    thumbnail: FloatArray = small / np.maximum(np.linalg.norm(small), 1e-6).astype(np.float32)
    return thumbnail


def _likeness(one: FloatArray, other: FloatArray) -> float:
    return float(np.vdot(one, other))
