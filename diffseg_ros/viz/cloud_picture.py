"""Pictures of clouds, drawn without a display or a graphics driver."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
from diffseg_ros.types import DepthImage, RgbImage
import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

BACKGROUND = 225
_FOCAL_PER_SIZE = 1.1
_NEAREST = 0.05
_SHARE_IN_VIEW = 99.5
_POINTS_TO_FIT = 50_000
_CENTRINGS = 4
_EDGE_STRENGTH = 12.0
_FARTHEST_BRIGHTNESS = 0.75
_DIAGONAL = 1.5
_SMALLEST_SQUARE, _LARGEST_SQUARE = 3, 31


@dataclass(frozen=True)
class View:
    """
    A virtual camera that looks at `centre` from a distance in metres.

    It is moved around the centre by `yaw` degrees to the right and `pitch` degrees up; the frame
    of the points is x right, y down, z forward.
    """

    centre: tuple[float, float, float]
    distance: float
    yaw: float = 20.0
    pitch: float = 15.0

    @property
    def rotation(self) -> npt.NDArray[np.float32]:
        """(3, 3) from the points' frame into the virtual camera's."""
        turn = Rotation.from_euler('yx', [self.yaw, self.pitch], degrees=True)
        return turn.as_matrix().astype(np.float32)


def fit_view(points: npt.NDArray[np.float32], width: int, height: int, *,
             yaw: float = 20.0, pitch: float = 15.0) -> View:
    """Return the view that shows nearly all (N, 3) points, of which NaN are ignored."""
    points = points[::max(1, len(points) // _POINTS_TO_FIT)]
    points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        return View((0.0, 0.0, 1.0), 1.0, yaw, pitch)
    low, high = np.percentile(points, [2, 98], axis=0)
    view = View(tuple(((low + high) / 2).tolist()), 1.0, yaw, pitch)
    focal = _FOCAL_PER_SIZE * min(width, height)
    for _ in range(_CENTRINGS):
        seen = (points - np.array(view.centre, np.float32)) @ view.rotation.T
        needed = np.abs(seen[:, :2]) * (2 * focal / np.array([width, height])) - seen[:, 2:]
        distance = max(float(np.percentile(needed.max(axis=1), _SHARE_IN_VIEW)), 4 * _NEAREST)
        view = replace(view, distance=distance)
        ahead = seen[seen[:, 2] > _NEAREST - distance]
        low, high = np.percentile(ahead[:, :2] / (ahead[:, 2:] + distance),
                                  [100 - _SHARE_IN_VIEW, _SHARE_IN_VIEW], axis=0)
        aside = np.append((low + high) / 2 * distance, 0) @ view.rotation
        view = replace(view, centre=tuple((np.array(view.centre) + aside).tolist()))
    return view


def render_cloud(points: npt.NDArray[np.float32], colours: npt.NDArray[np.uint8],
                 width: int, height: int, *, view: View | None = None,
                 point_size: float = 0.0) -> RgbImage:
    """
    Draw (N, 3) points in metres in (N, 3) uint8 RGB colours; nearer ones hide farther ones.

    NaN are ignored. Without `view` the cloud is seen obliquely from above and fills the picture.
    `point_size` is the side in metres of the cubes that the points stand for: near ones get
    larger squares.
    """
    view = view or fit_view(points, width, height)
    seen = (points - np.array(view.centre, np.float32)) @ view.rotation.T
    seen[:, 2] += np.float32(view.distance)
    ahead = np.flatnonzero(seen[:, 2] > _NEAREST)
    order = ahead[np.argsort(-seen[ahead, 2])]
    image = np.full((height, width, 3), BACKGROUND, np.uint8)
    depth = np.full((height, width), np.inf, np.float32)
    needed = _FOCAL_PER_SIZE * min(width, height) * _DIAGONAL * point_size / seen[order, 2]
    # Squares have a middle pixel: sides are odd.
    sides = np.clip(np.ceil(needed).astype(int) | 1, _SMALLEST_SQUARE, _LARGEST_SQUARE)
    _draw_squares(image, depth, seen[order], colours[order], sides)
    _close_holes(image, depth)
    return _shaded(image, depth)


def _draw_squares(image: RgbImage, depth: DepthImage, seen: npt.NDArray[np.float32],
                  colours: npt.NDArray[np.uint8], sides: npt.NDArray[np.integer]) -> None:
    """Draw points, sorted from far to near, as squares of these sides in pixels."""
    height, width = depth.shape
    pixels = (seen[:, :2] / seen[:, 2:]) * np.float32(_FOCAL_PER_SIZE * min(width, height))
    columns, rows = np.floor(pixels + np.array([width / 2, height / 2], np.float32)).T
    inside = np.flatnonzero((columns >= 0) & (columns < width) & (rows >= 0) & (rows < height))
    # Among points that fall on one pixel, or whose squares overlap, the highest number is the
    # nearest: a maximum filter over the numbers draws all squares of a size at once.
    nearest = np.full((height, width), -1.0)
    for side in np.unique(sides[inside]).tolist():
        drawn = inside[sides[inside] == side]
        numbers = np.full((height, width), -1.0)
        numbers[rows[drawn].astype(np.intp), columns[drawn].astype(np.intp)] = drawn
        np.maximum(nearest, cv2.dilate(numbers, np.ones((side, side))), out=nearest)
    hit = nearest >= 0
    winner = nearest[hit].astype(np.intp)
    image[hit] = colours[winner]
    depth[hit] = seen[winner, 2]


def _close_holes(image: RgbImage, depth: DepthImage) -> None:
    """Fill empty pixels that most of their neighbours surround with those neighbours' mean."""
    for _ in range(2):
        filled = np.isfinite(depth)
        share, colour, metres = (
            cv2.blur(values.astype(np.float32), (3, 3), borderType=cv2.BORDER_CONSTANT)
            for values in (filled, np.where(filled[..., None], image, 0),
                           np.where(filled, depth, 0)))
        holes = ~filled & (share > 0.5)
        image[holes] = colour[holes] / share[holes, None] + 0.5
        depth[holes] = metres[holes] / share[holes]


def _shaded(image: RgbImage, depth: DepthImage) -> RgbImage:
    """Darken what lies far, and what lies behind the edge of something nearer."""
    drawn = np.isfinite(depth)
    if not drawn.any():
        return image
    near, far = np.percentile(depth[drawn], [2, 98])
    log_depth = np.log(np.where(drawn, depth, depth[drawn].max()))
    behind = np.maximum(log_depth - cv2.erode(log_depth, np.ones((5, 5))), 0)
    share = np.clip((depth - near) / max(far - near, 1e-6), 0, 1)
    light = (1 - (1 - _FARTHEST_BRIGHTNESS) * share) * np.exp(-_EDGE_STRENGTH
                                                              * np.clip(behind, 0, 0.08))
    shaded = image * np.where(drawn, light, 1.0)[..., None]
    return shaded.astype(np.uint8)
