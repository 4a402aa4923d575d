"""Motion of objects: what moves apart from the camera, and which tracks move as one."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
from diffseg_ros.geometry.pixel_source import Source
from diffseg_ros.tracking.label_map import CAPACITY, resize_nearest, SlotImage
from diffseg_ros.tracking.track_manager import Table
from diffseg_ros.tracking.tracking_frame import FloatArray, Indices, TrackingFrame
from diffseg_ros.tracking.warp import ImageMotion
from diffseg_ros.types import DepthImage, Mask
import numpy as np
import numpy.typing as npt
from scipy.sparse.csgraph import connected_components

_GRID_WIDTH = 107
_REFERENCE_WIDTH = 320
_STEP, _STEP_SHARE = 0.5, 0.1
_ROUNDING = 0.5
_SAMPLES, _MINIMUM_SAMPLES = 800, 60
_TRIALS = 300
_WINDOW = 3
_BETTER, _GREY_LEVELS = 1.5, 2.0
_MARGIN = 0.1
_MOST_FLOWS, _MOST_TRAVEL, _TRAVEL_STEP = 5, 0.015, 4
_HOLDS = 0.7
_AROUND, _JUMP = 3, 0.1
_MEMORY = 12
_LEAST_FRAMES = 4
_LEAST_CELLS = 8
_MOVING_SHARE, _STILL_SHARE = 0.3, 0.15
_UNDECIDED_WEIGHT = 0.5
_EXPLAINED, _PARTLY_EXPLAINED = 0.4, 0.2
_ELSEWHERE = 0.05
_LAYER_COSINE = 0.9
_ALIKE_SHARE = 0.2
_ALIKE_STEP = 0.0005
_BORDER_SHARE = 0.5
_TOGETHER_FRAMES = 5

Pairs = list[tuple[int, int]]


@dataclass(frozen=True)
class ObjectMotion:
    """
    What moves by itself between frames, on a grid of about 107 columns.

    `steps` is (h, w, 2) float32: x and y of the flow, now minus before, less what the camera's
    motion alone would give, in widths of the image per frame. The (h, w) bool `moving` is set
    where the flow differs and explains the brightness clearly better, `still` where it does not
    differ. Elsewhere both explain the pixel, as on a surface without texture, or neither does.
    `errors` is the (2, h, w) float32 difference in grey levels that flow and camera leave. Where
    the camera's motion is not `measured` by depth, near surfaces seem to move.
    """

    steps: FloatArray
    moving: Mask
    still: Mask
    errors: FloatArray
    measured: bool = False


class MotionHistory:
    """
    The motion over the last frames, without depth: what is slow shows over several of them.

    They are as many as moved the image but a little, as long as one homography still explains
    most of it: parallax grows with the camera's way.
    """

    def __init__(self) -> None:
        self._past: deque[tuple[TrackingFrame, ImageMotion, float]] = deque(maxlen=_MOST_FLOWS)

    def object_motion(self, now: TrackingFrame, before: TrackingFrame,
                      flow: ImageMotion) -> ObjectMotion | None:
        """Take in the flow since the frame before; return what moved since it, or lately."""
        if self._past and self._past[0][0].shape != now.shape:
            self._past.clear()
        shifts = _length(flow.backward[::_TRAVEL_STEP, ::_TRAVEL_STEP])
        self._past.appendleft((before, flow, float(np.median(shifts)) / flow.backward.shape[1]))
        frames, flows, travels = zip(*self._past, strict=True)
        count = int(np.searchsorted(np.cumsum(travels), _MOST_TRAVEL, 'right'))
        near = object_motion(now, before, flows[:1])
        if near is None or count < 2:
            return near
        far = object_motion(now, frames[count - 1], flows[:count])
        if far is None or far.still.mean() < _HOLDS:
            return near
        slow = far.moving & ~near.moving
        return ObjectMotion(np.where(slow[..., None], far.steps, near.steps), near.moving | slow,
                            far.still & ~near.moving, np.where(slow, far.errors, near.errors))


def object_motion(now: TrackingFrame, before: TrackingFrame, flows: Sequence[ImageMotion],
                  rigid: Source | None = None) -> ObjectMotion | None:
    """
    Separate what moves by itself from what only the camera moves, in two frames of one size.

    `flows` lead from `now` back to `before`, from frame to frame. `rigid` is where each pixel was
    if nothing but the camera moved. Without it the camera's motion is taken to be the homography
    that most of the image follows (RANSAC, Fischler and Bolles 1981); None where most of the
    image, or of its margin, follows none.
    """
    height, width = flows[0].consistent.shape
    stride = max(1, round(width / _GRID_WIDTH))
    here = np.stack(np.meshgrid(np.arange(0, width, stride, dtype=np.float32),
                                np.arange(0, height, stride, dtype=np.float32)), axis=-1)
    backward, sure = _chained(flows, here)
    known = sure
    if rigid is None:
        camera = _homography_steps(here, backward, sure, width)
    else:
        camera, measured = _rigid_steps(here, rigid, now, width)
        known = sure & measured
    if camera is None:
        return None
    steps = backward - camera
    # Sources are whole pixels of the label image.
    rounding = 0.0 if rigid is None else _ROUNDING * width / now.shape[1]
    slack = np.float32(_STEP * width / _REFERENCE_WIDTH + rounding)
    differs = _length(steps) > slack + np.float32(_STEP_SHARE) * _length(camera)
    scale = np.float32(now.grey.shape[1] / width)
    seen = _sample(now.grey, here * scale)
    error, camera_error = (cv2.blur(np.abs(seen - _sample(before.grey, (here + way) * scale)),
                                    (_WINDOW, _WINDOW)) for way in (backward, camera))
    # What was hidden before may look like a place beside it, but that is still there.
    stays = cv2.remap(camera_error, (here + steps) / np.float32(stride), None, cv2.INTER_LINEAR,
                      borderMode=cv2.BORDER_REPLICATE)
    better = np.minimum(camera_error, stays) > _BETTER * error + _GREY_LEVELS
    still, moving = known & ~differs, known & differs & better
    if rigid is None and not _mostly(still, moving):
        return None
    return ObjectMotion(-steps / np.float32(width * len(flows)), moving, still,
                        np.stack([error, camera_error]), rigid is not None)


def _chained(flows: Sequence[ImageMotion], here: FloatArray) -> tuple[FloatArray, Mask]:
    """Return the steps from places back along all flows, and where all are consistent."""
    places, sure = here, np.ones(here.shape[:2], bool)
    for flow in flows:
        sure &= cv2.remap(flow.consistent.view(np.uint8), places, None,
                          cv2.INTER_NEAREST).view(bool)
        places = places + cv2.remap(flow.backward, places, None, cv2.INTER_LINEAR)
    return places - here, sure


def _mostly(still: Mask, moving: Mask) -> bool:
    """Return whether more stands still than moves, in the image and along its margin."""
    inner = tuple(slice(round(side * _MARGIN), side - round(side * _MARGIN))
                  for side in still.shape)
    margin = np.ones(still.shape, bool)
    margin[inner] = False
    return all(np.count_nonzero(still & part) > np.count_nonzero(moving & part)
               for part in (np.ones_like(margin), margin))


def _homography_steps(here: FloatArray, backward: FloatArray, sure: Mask,
                      width: int) -> FloatArray | None:
    """Return the steps that the homography most pixels agree on gives each position."""
    thin = max(1, int(np.sqrt(sure.size / _SAMPLES)))
    even = sure[::thin, ::thin]
    if np.count_nonzero(even) < _MINIMUM_SAMPLES:
        return None
    places = here[::thin, ::thin][even]
    homography, _ = cv2.findHomography(
        places, places + backward[::thin, ::thin][even], cv2.RANSAC,
        _STEP * width / _REFERENCE_WIDTH, maxIters=_TRIALS)
    if homography is None:
        return None
    moved = cv2.perspectiveTransform(here.reshape(-1, 1, 2), homography)
    return moved.reshape(here.shape) - here


def _rigid_steps(here: FloatArray, rigid: Source, now: TrackingFrame,
                 width: int) -> tuple[FloatArray, Mask]:
    """Return the steps that the camera's motion gives each position, and where it is known."""
    assert now.depth is not None
    scale = now.shape[1] / width
    columns, rows = (np.rint(here[..., axis] * scale).astype(np.int32).clip(0, side - 1)
                     for axis, side in ((0, now.shape[1]), (1, now.shape[0])))
    index = rigid.index[rows, columns]
    from_rows, from_columns = np.divmod(index, np.int32(now.shape[1]))
    steps = np.stack([from_columns - columns, from_rows - rows], axis=-1).astype(np.float32)
    steps /= np.float32(scale)
    # What has no depth or was out of view comes from place 0.
    return steps, (index > 0) & _smooth(now.depth[rows, columns])


def _smooth(depth: DepthImage) -> Mask:
    """Return where depth is known and does not jump; at a jump motion is that of either side."""
    metres = np.where(np.isfinite(depth), depth, np.float32(0))
    around = np.ones((_AROUND, _AROUND), np.uint8)
    return cv2.dilate(metres, around) - cv2.erode(metres, around) < _JUMP * metres


def _sample(image: npt.NDArray[np.uint8], positions: FloatArray) -> FloatArray:
    sampled = cv2.remap(image, positions, None, cv2.INTER_LINEAR,
                        borderMode=cv2.BORDER_REPLICATE)
    return sampled.astype(np.float32)


def _length(steps: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    return np.hypot(steps[..., 0], steps[..., 1])


class MotionGrouper:
    """
    Finds which tracks move by themselves, and which of them move as one.

    A track moves if lately enough of its pixels did, and that explains its brightness: waves,
    flicker and shadows do not move. Two are one object if both move by the same mean step, beside
    each other along a border long for their size, for several frames more than not. Of the two,
    one may have its brightness explained less well.
    """

    def __init__(self) -> None:
        self._numbers: Table = np.full(CAPACITY, -1, np.int32)
        self._frames, self._stepped = np.zeros((2, CAPACITY), np.int32)
        # Of each slot: share of its pixels that move, stand still, are undecided; the mean step;
        # the mean difference in brightness that the flow and the camera's motion leave.
        self._shares = np.zeros((CAPACITY, 3))
        self._steps, self._errors = np.zeros((2, CAPACITY, 2))
        self._votes: dict[tuple[int, int], int] = {}

    @property
    def moving(self) -> Mask:
        """Which of the (CAPACITY,) slots move."""
        return self._move(_EXPLAINED)

    def _move(self, explained: float) -> Mask:
        explains = self._errors[:, 0] <= (1 - explained) * self._errors[:, 1]
        return ((self._frames >= _LEAST_FRAMES) & explains
                & (self._moving_share() >= _MOVING_SHARE))

    @property
    def still(self) -> Mask:
        """Which of the (CAPACITY,) slots stand still; some do neither."""
        most = self._shares[:, 1] >= self._shares.sum(axis=1) / 2
        return ((self._frames >= _LEAST_FRAMES) & most
                & (self._moving_share() < _STILL_SHARE))

    def skip(self) -> None:
        """Take in a frame without evidence: what is known gets old."""
        np.maximum(self._frames - 1, 0, out=self._frames)

    def update(self, motion: ObjectMotion, slots: SlotImage, numbers: Table) -> Pairs:
        """Take in a frame's (H, W) slots; return the pairs that move as one, each pair once."""
        self.forget_replaced(numbers)
        small = resize_nearest(slots, motion.moving.shape)
        sizes = np.bincount(small.ravel(), minlength=CAPACITY)
        self._measure(motion, small, sizes)
        pairs = _neighbours(small, sizes)
        pairs = pairs[self.moving[pairs].any(axis=1)
                      & self._move(_PARTLY_EXPLAINED)[pairs].all(axis=1)]
        if (self._scattered(motion, small)
                or not motion.measured and self._layered(pairs, sizes)):
            return []
        agree = set(map(tuple, pairs[self._alike(pairs)].tolist()))
        ripe = []
        for pair in agree | {pair for pair in self._votes if sizes[list(pair)].all()}:
            votes = self._votes.pop(pair, 0) + (1 if pair in agree else -1)
            if votes >= _TOGETHER_FRAMES:
                ripe.append(pair)
            elif votes > 0:
                self._votes[pair] = votes
        return sorted(ripe)

    def forget_replaced(self, numbers: Table) -> None:
        """Drop what is known of slots that stand for another track now."""
        changed = numbers != self._numbers
        self._numbers = numbers
        self._frames[changed] = self._stepped[changed] = 0
        self._shares[changed] = self._steps[changed] = self._errors[changed] = 0
        self._votes = {pair: votes for pair, votes in self._votes.items()
                       if not changed[list(pair)].any()}

    def _measure(self, motion: ObjectMotion, slots: SlotImage, sizes: Indices) -> None:
        """Average in how much of each track moves, and how far."""
        flat, where = slots.ravel(), motion.moving
        movers = slots[where]
        moving = np.bincount(movers, minlength=CAPACITY)
        still = np.bincount(slots[motion.still], minlength=CAPACITY)
        seen = sizes >= _LEAST_CELLS
        shares = np.stack([moving, still, sizes - moving - still], axis=1)[seen]
        shares = shares / sizes[seen, None]
        self._frames[seen] = np.minimum(self._frames[seen] + 1, _MEMORY)
        # A mean over all frames at first, over about the last ones later.
        new = 1 / self._frames[seen, None]
        self._shares[seen] += new * (shares - self._shares[seen])
        errors = np.stack([np.bincount(flat, part.ravel(), CAPACITY) for part in motion.errors],
                          axis=1)[seen] / sizes[seen, None]
        self._errors[seen] += new * (errors - self._errors[seen])
        goes = seen & (moving > 0)
        self._stepped[goes] += 1
        new = 1 / np.minimum(self._stepped[goes], _MEMORY)[:, None]
        mean = np.stack([np.bincount(movers, motion.steps[where, axis], CAPACITY)[goes]
                         for axis in (0, 1)], axis=1) / moving[goes, None]
        self._steps[goes] += new * (mean - self._steps[goes])

    def _moving_share(self) -> npt.NDArray[np.float64]:
        """Return the share of each slot that moves; what is undecided counts half."""
        weight = self._shares @ np.array([1, 1, _UNDECIDED_WEIGHT])
        return self._shares[:, 0] / np.maximum(weight, 1e-9)

    def _scattered(self, motion: ObjectMotion, slots: SlotImage) -> bool:
        """Return whether too much moves on tracks that do not: then it is the camera's motion."""
        rest = ~self.moving.take(slots)
        moving, still = (np.count_nonzero(part & rest) for part in (motion.moving, motion.still))
        return moving > _ELSEWHERE * (moving + still)

    def _layered(self, pairs: Indices, sizes: Indices) -> bool:
        """Return whether separate objects move one way, as near surfaces seem to by parallax."""
        slots = np.flatnonzero(self.moving & (sizes >= _LEAST_CELLS))
        if len(slots) < 2:
            return False
        beside = np.zeros((CAPACITY, CAPACITY), bool)
        beside[pairs[:, 0], pairs[:, 1]] = True
        count, group = connected_components(beside[np.ix_(slots, slots)], directed=False)
        weight = np.bincount(group, sizes[slots])
        steps = np.stack([np.bincount(group, sizes[slots] * self._steps[slots, axis])
                          for axis in (0, 1)], axis=1) / weight[:, None]
        speeds = _length(steps)
        alike = steps @ steps.T > _LAYER_COSINE * np.outer(speeds, speeds)
        return bool(alike[~np.eye(count, dtype=bool)].any())

    def _alike(self, pairs: Indices) -> Mask:
        """Return which of (N, 2) pairs of slots move by the same step."""
        steps = self._steps[pairs]
        apart = _length(steps[:, 0] - steps[:, 1])
        slower = _length(steps).min(axis=1)
        return apart <= _ALIKE_STEP + _ALIKE_SHARE * slower


def _neighbours(slots: SlotImage, sizes: Indices) -> Indices:
    """Return (N, 2) slots, the lower first, with a border that is long for the smaller."""
    keys = []
    for one, other in ((slots[:, :-1], slots[:, 1:]), (slots[:-1], slots[1:])):
        edge = one != other
        low, high = np.minimum(one[edge], other[edge]), np.maximum(one[edge], other[edge])
        keys.append(low.astype(np.int64) * CAPACITY + high)
    keys, lengths = np.unique(np.concatenate(keys), return_counts=True)
    pairs = np.stack(np.divmod(keys, CAPACITY), axis=1)
    smaller = sizes[pairs].min(axis=1)
    return pairs[(lengths >= _BORDER_SHARE * np.sqrt(smaller)) & (smaller >= _LEAST_CELLS)]
