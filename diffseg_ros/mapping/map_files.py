"""The files that a map is written to: points as PLY and a picture beside them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from diffseg_ros.io.images import write_image
from diffseg_ros.io.ply import write_ply
from diffseg_ros.mapping.voxel_map import FusedCloud
from diffseg_ros.types import Matrix, RgbImage
from diffseg_ros.viz.cloud_picture import fit_view, render_cloud
from diffseg_ros.viz.colours import label_colours
import numpy as np

_WIDTH, _HEIGHT = 800, 600
_YAW, _PITCH = 15.0, 20.0
_MARGIN = 1.1


def write_map(path: Path, fused: FusedCloud, pose: Matrix) -> Path:
    """
    Write the points as PLY and a picture of them beside it; return the picture's path.

    Parameters
    ----------
    path
        Of the PLY file; the picture has the suffix .png in its place.
    fused
        The map's points.
    pose
        (4, 4) camera-to-world transform of the camera that the picture is seen from.

    Raises
    ------
    DiffsegError
        A file cannot be written.

    """
    write_ply(path, fused.cloud, fused.confidence)
    picture = path.with_suffix('.png')
    write_image(picture, map_picture(fused, pose))
    return picture


def map_picture(fused: FusedCloud, pose: Matrix) -> RgbImage:
    """
    Draw the map twice, obliquely from above a camera: in its own colours and by label.

    Points without a label are grey. `pose` is the camera's (4, 4) camera-to-world transform.
    """
    seen = ((fused.cloud.points - pose[:3, 3]) @ pose[:3, :3]).astype(np.float32)
    view = fit_view(seen, _WIDTH, _HEIGHT, yaw=_YAW, pitch=_PITCH)
    view = replace(view, distance=_MARGIN * view.distance)
    return np.hstack([render_cloud(seen, colours, _WIDTH, _HEIGHT, view=view,
                                   point_size=fused.voxel_size)
                      for colours in (fused.cloud.rgb, label_colours(fused.cloud.labels))])
