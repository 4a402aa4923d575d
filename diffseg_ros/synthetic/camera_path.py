"""Where the camera is: a hand-held walk round the middle of a room."""

from __future__ import annotations

from diffseg_ros.synthetic.scene import Scene
import numpy as np
import numpy.typing as npt


def camera_path(scene: Scene, times: npt.NDArray[np.floating],
                seed: int = 0) -> npt.NDArray[np.float64]:
    """
    Return smooth poses that look at the scene's focus from changing sides.

    Parameters
    ----------
    scene
        Gives the focus and the walls to stay inside of.
    times
        (N,) seconds.
    seed
        Gives another walk of the same kind.

    Returns
    -------
    numpy.ndarray
        (N, 4, 4) camera-to-world; camera x right, y down, z forward; world z up.

    """
    rng = np.random.default_rng([seed, 1])
    times = np.asarray(times, float)
    phase = rng.uniform(0, 2 * np.pi, 8)
    swing = rng.uniform(0.42, 0.55) * np.sin(2 * np.pi * times / 12.0 + phase[0])
    turn = swing + 0.12 * np.sin(2 * np.pi * times / 5.3 + phase[1])
    distance = rng.uniform(2.1, 2.25) + 0.12 * np.sin(2 * np.pi * times / 9.1 + phase[2])
    rise = rng.uniform(0.8, 0.95) + 0.13 * np.sin(2 * np.pi * times / 7.7 + phase[3])
    focus = np.asarray(scene.focus)
    offset = np.stack([np.sin(turn) * distance, -np.cos(turn) * distance, rise], axis=-1)
    inside = np.array([scene.size[0] / 2, scene.size[1] / 2, scene.size[2]]) - 0.25
    position = np.clip(focus + offset, -inside, inside)
    drift = np.stack([0.12 * np.sin(2 * np.pi * times / 6.1 + phase[4]), 0 * times,
                      0.05 * np.sin(2 * np.pi * times / 4.7 + phase[5])], axis=-1)
    tremor = 0.004 * np.sin(2 * np.pi * times[:, None] * [1.7, 2.3, 2.9] + phase[5:])
    return look_at(position, focus + drift + tremor)


def look_at(position: npt.NDArray[np.floating],
            target: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return (N, 4, 4) camera-to-world poses at (N, 3) positions that look at (N, 3) targets."""
    forward = target - position
    forward = forward / np.linalg.norm(forward, axis=-1, keepdims=True)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right, axis=-1, keepdims=True)
    down = np.cross(forward, right)
    poses = np.tile(np.eye(4), (len(position), 1, 1))
    poses[:, :3, :3] = np.stack([right, down, forward], axis=-1)
    poses[:, :3, 3] = position
    return poses
