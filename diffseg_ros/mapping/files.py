"""The files that a map is written to."""

from __future__ import annotations

from pathlib import Path

import cv2
from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.ply import write_ply
from diffseg_ros.mapping.picture import map_picture
from diffseg_ros.mapping.voxel_map import FusedCloud
import numpy as np
import numpy.typing as npt


def write_map(path: Path, fused: FusedCloud, pose: npt.NDArray[np.float64]) -> Path:
    """
    Write the points as PLY, draw the picture beside them, and return the picture's path.

    Parameters
    ----------
    path
        Of the PLY file; the picture has the suffix .png in its place.
    fused
        What is written.
    pose
        (4, 4) camera-to-world transform of the camera from which the picture is seen.

    Raises
    ------
    DiffsegError
        A file cannot be written.

    """
    write_ply(path, fused.cloud, fused.confidence)
    picture = path.with_suffix('.png')
    image = cv2.cvtColor(map_picture(fused, pose), cv2.COLOR_RGB2BGR)
    if not cv2.imwrite(str(picture), image):
        raise DiffsegError(f'{picture}: cannot be written; is the disk full?')
    return picture
