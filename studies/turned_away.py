"""
A generated room whose camera turns to the wall behind it and returns, as a sequence folder.

`python -m studies.turned_away SEED FOLDER` writes 92 frames at 10 Hz: two seconds of the walk, a
turn by 150 degrees, 1.6 seconds away, the turn back, and the walk again.
"""

from __future__ import annotations

from pathlib import Path
import sys

from diffseg_ros.synthetic.camera_path import camera_path
from diffseg_ros.synthetic.mesh import rigid
from diffseg_ros.synthetic.scene import Scene
from diffseg_ros.synthetic.sequence_writer import render_sequence
import numpy as np
import numpy.typing as npt

BEFORE, TURN, AWAY, AFTER = 20, 12, 16, 32
FRAMES = BEFORE + TURN + AWAY + TURN + AFTER
ANGLE = np.radians(150)


def walk(scene: Scene, times: npt.NDArray[np.floating], seed: int) -> npt.NDArray[np.float64]:
    """Return the (FRAMES, 4, 4) camera-to-world poses of the walk with the turn."""
    ramp = ANGLE * np.arange(1, TURN + 1) / (TURN + 1)
    angles = np.concatenate([np.zeros(BEFORE), ramp, np.full(AWAY, ANGLE), ramp[::-1],
                             np.zeros(AFTER)])
    poses = camera_path(scene, times, seed).copy()
    turns = np.stack([rigid((0, 0, 0), angle)[:3, :3] for angle in angles])
    poses[:, :3, :3] = turns @ poses[:, :3, :3]
    return poses


def main() -> None:
    """Write the room."""
    seed, folder = sys.argv[1:]
    for _ in render_sequence(Path(folder), FRAMES, int(seed), walk=walk):
        pass


if __name__ == '__main__':
    main()
