"""Parts of the view that no output shows, such as the robot's own body."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.label_images import resize_labels
from diffseg_ros.io.images import decode_rgb, read_bytes
from diffseg_ros.postprocessing.segment_filter import filtered_depth
from diffseg_ros.types import Mask, Result, UNLABELLED
import numpy as np

_ASPECT_TOLERANCE = 0.01


class StaticMask:
    """
    A region fixed in the image, scaled by nearest neighbour to the images it is applied to.

    Raises
    ------
    DiffsegError
        The file is missing or no image, or the whole view is excluded.

    """

    def __init__(self, path: str) -> None:
        """Read an image file whose pixels other than black are excluded."""
        file = Path(path).expanduser()
        self._name = f'parameter static_mask: {file}'
        try:
            data = read_bytes(file)
        except DiffsegError as error:
            raise DiffsegError(f'parameter static_mask: {error}') from error
        self._excluded = np.asarray(decode_rgb(data, self._name).any(axis=2))
        if self._excluded.all():
            raise DiffsegError(f'{self._name}: no pixel is black, so nothing of the view is left; '
                               'paint black what is to be seen')

    def excluded(self, height: int, width: int) -> Mask:
        """
        Return the (height, width) mask of an image of the same view, True where excluded.

        Raises
        ------
        DiffsegError
            The image has another aspect ratio than the mask.

        """
        rows, columns = self._excluded.shape
        if abs(columns * height - rows * width) > _ASPECT_TOLERANCE * rows * width:
            raise DiffsegError(f'{self._name}: {columns}x{rows} pixels do not fit the image, '
                               f'{width}x{height}; make the mask from an image of this camera')
        return resize_labels(self._excluded, height, width)

    def apply(self, result: Result) -> Result:
        """Return the result unlabelled, without confidence and without depth under the mask."""
        excluded, frame = self.excluded(*result.labels.shape), result.frame
        target = result.target
        if target is not None:
            target = replace(target, mask=target.mask & ~excluded)
        if frame.depth is not None:
            frame = replace(frame, depth=filtered_depth(
                frame.depth, self.excluded(*frame.depth.shape)))
        return replace(result, frame=frame, target=target,
                       labels=np.where(excluded, np.int32(UNLABELLED), result.labels),
                       confidence=np.where(excluded, np.uint8(0), result.confidence))
