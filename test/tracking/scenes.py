"""Rooms of textured upright boards with exact depth, pose and truth, for tests of tracking."""

import cv2
from diffseg_ros.frame import Frame, Intrinsics
from diffseg_ros.segmentation.segmenter import Segments
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


def step(tracker, frame, segments, always=True):
    """Run one frame through a tracker; return the labels."""
    wanted = tracker.expect(frame)
    return (tracker.update(segments) if wanted or always else tracker.hold())[0]


def id_of(labels, truth, board):
    """Return the id that most of a board has."""
    return int(np.bincount(labels[truth == board]).argmax())
