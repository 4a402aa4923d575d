"""Pictures of fused clouds."""

from __future__ import annotations

from dataclasses import replace

from diffseg_ros.mapping.voxel_map import FusedCloud
from diffseg_ros.viz.cloud_picture import fit_view, render_cloud
from diffseg_ros.viz.colours import label_colours
import numpy as np
import numpy.typing as npt

_MARGIN = 1.1


def map_picture(fused: FusedCloud, pose: npt.NDArray[np.float64], width: int = 800,
                height: int = 600, *, yaw: float = 15.0,
                pitch: float = 20.0) -> npt.NDArray[np.uint8]:
    """
    Draw the map twice, obliquely from above: left in its own colours, right by label.

    Parameters
    ----------
    fused
        What is drawn.
    pose
        (4, 4) camera-to-world transform of the camera over whose head one looks.
    width, height
        Size in pixels of one of the two pictures.
    yaw, pitch
        Degrees to the right of that camera, and above it.

    Returns
    -------
    numpy.ndarray
        (height, 2 * width, 3) uint8 RGB; points without a label are grey.

    """
    seen = ((fused.cloud.points - pose[:3, 3]) @ pose[:3, :3]).astype(np.float32)
    view = fit_view(seen, width, height, yaw=yaw, pitch=pitch)
    view = replace(view, distance=_MARGIN * view.distance)
    return np.hstack([render_cloud(seen, colours, width, height, view=view,
                                   point_size=fused.voxel_size)
                      for colours in (fused.cloud.rgb, label_colours(fused.cloud.labels))])
