"""Rooms of textured upright boards with exact depth, pose and truth, for tests of tracking."""

import cv2
from diffseg_ros.types import Frame, Intrinsics, Segments
import numpy as np

CAMERA = Intrinsics(160, 120, 140.0, 140.0, 79.5, 59.5)
CHANNELS = 16


def pose(x=0.0, y=0.0, z=0.0, yaw=0.0):
    """Return a camera-to-world transform; yaw in radians about the camera's vertical."""
    result = np.eye(4)
    result[:3, :3] = cv2.Rodrigues(np.array([0.0, yaw, 0.0]))[0]
    result[:3, 3] = x, y, z
    return result


class Room:
    """A wall behind boards; every board is (left, top, right, bottom, distance) in metres."""

    def __init__(self, boards=None, seed=0):
        self.boards = boards if boards is not None else [
            (-0.9, -0.5, -0.3, 0.1, 2.0), (0.0, -0.4, 0.5, 0.2, 2.2), (0.6, -0.1, 1.0, 0.6, 1.8),
            (-0.5, 0.2, 0.1, 0.6, 1.9)]
        rng = np.random.default_rng(seed)
        count = len(self.boards) + 1
        self.colours = rng.uniform(60, 190, (count, 3))
        noise = rng.uniform(-160, 160, (count, 256, 256)).astype(np.float32)
        self.textures = [cv2.GaussianBlur(layer, (0, 0), 1.5) for layer in noise]
        self.embeddings = rng.standard_normal((count, CHANNELS)).astype(np.float32)
        self.embeddings /= np.linalg.norm(self.embeddings, axis=1, keepdims=True)

    def frame(self, where, stamp=0, camera=CAMERA, with_depth=True, with_pose=True):
        """Return a frame and the (H, W) number of the board in every pixel; 0 is the wall."""
        rays = np.stack(np.meshgrid((np.arange(camera.width) - camera.cx) / camera.fx,
                                    (np.arange(camera.height) - camera.cy) / camera.fy), axis=-1)
        rays = np.concatenate([rays, np.ones((*rays.shape[:2], 1))], axis=-1) @ where[:3, :3].T
        depth = np.full(rays.shape[:2], np.inf)
        truth = np.zeros(rays.shape[:2], int)
        rgb = np.zeros(rays.shape)
        surfaces = [(-9.0, -9.0, 9.0, 9.0, 3.0), *self.boards]
        for number, (left, top, right, bottom, distance) in enumerate(surfaces):
            with np.errstate(divide='ignore'):
                scale = (distance - where[2, 3]) / rays[..., 2]
            x, y = (where[axis, 3] + rays[..., axis] * scale for axis in (0, 1))
            hit = (scale > 0) & (scale < depth)
            hit &= (x > left) & (x < right) & (y > top) & (y < bottom)
            depth[hit], truth[hit] = scale[hit], number
            u, v = (((value[hit] - corner) * 64).astype(int) % 256
                    for value, corner in ((x, left), (y, top)))
            rgb[hit] = self.colours[number] + self.textures[number][v, u][:, None]
        frame = Frame(rgb.clip(0, 255).astype(np.uint8), stamp, 'camera',
                      np.where(np.isfinite(depth), depth, np.nan).astype(np.float32)
                      if with_depth else None, camera, where if with_pose else None)
        return frame, truth

    def segments(self, truth, groups=None):
        """Return perfect segments, or those in which `groups` of boards are one."""
        labels = truth.copy()
        for group in groups or ():
            labels[np.isin(truth, group)] = group[0]
        present, numbered = np.unique(labels, return_inverse=True)
        return Segments(numbered.reshape(truth.shape).astype(np.int32),
                        np.full(truth.shape, 255, np.uint8), self.embeddings[present])


class Passage:
    """A thing of several colours passes in front of a patterned wall; both can be shifted."""

    def __init__(self, parts=3, seed=0, width=320, height=240):
        self.shape = height, width
        rng = np.random.default_rng(seed)
        self.wall = self._pattern(rng, (height, 3 * width), cells=40)
        self.thing = self._pattern(rng, (90, 40 * parts), cells=0)
        self.thing += np.repeat(rng.uniform(-50, 50, (parts, 3)), 40, axis=0)
        self.parts = parts
        self.embeddings = rng.standard_normal((8, CHANNELS)).astype(np.float32)
        self.embeddings /= np.linalg.norm(self.embeddings, axis=1, keepdims=True)

    @staticmethod
    def _pattern(rng, shape, cells):
        noise = cv2.GaussianBlur(rng.uniform(-250, 250, (*shape, 1)).astype(np.float32), (0, 0), 2)
        columns = np.arange(shape[1]) // cells if cells else np.zeros(shape[1], int)
        tint = rng.uniform(-20, 20, (columns.max() + 1, 3))[columns]
        return 120 + noise[..., None] + tint

    def frame(self, pan=0, at=60, stamp=0, with_depth=False):
        """Return a frame, and truth: 0 the wall's left half, 1 its right half, 2... the parts."""
        height, width = self.shape
        left = width + int(pan)
        rgb = self.wall[:, left:left + width].copy()
        truth = np.tile((np.arange(left, left + width) >= 1.5 * width).astype(int), (height, 1))
        depth = np.full(self.shape, 3, np.float32)
        top, end = 80, at + self.thing.shape[1]
        rgb[top:top + len(self.thing), at:end] = self.thing
        truth[top:top + len(self.thing), at:end] = 2 + np.arange(end - at) // 40
        depth[top:top + len(self.thing), at:end] = 2
        camera = Intrinsics(width, height, 280.0, 280.0, (width - 1) / 2, (height - 1) / 2)
        frame = Frame(rgb.clip(0, 255).astype(np.uint8), stamp, 'camera',
                      depth if with_depth else None, camera if with_depth else None,
                      pose() if with_depth else None)
        return frame, truth

    def segments(self, truth):
        """Return every part and both halves of the wall as segments of their own."""
        present, numbered = np.unique(truth, return_inverse=True)
        return Segments(numbered.reshape(truth.shape).astype(np.int32),
                        np.full(truth.shape, 255, np.uint8), self.embeddings[present])


def step(tracker, frame, segments, always=True):
    """Run one frame through a tracker; return the labels."""
    prediction = tracker.predict(frame)
    return tracker.update(prediction, segments if prediction.keyframe or always else None)[0]


def id_of(labels, truth, board):
    """Return the id that most of a board has."""
    return int(np.bincount(labels[truth == board]).argmax())
