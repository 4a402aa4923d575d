"""Parts of the view that no output shows, such as the robot's own body."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.label_images import resize_labels
from diffseg_ros.io.image_files import decode_rgb, read_bytes
from diffseg_ros.types import Frame, UNLABELLED
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from diffseg_ros.types import Result

_ASPECT_TOLERANCE = 0.01


class StaticMask:
    """A region fixed in the image, scaled by nearest neighbour to what it is laid upon."""

    def __init__(self, excluded: npt.NDArray[np.bool_], name: str = 'static mask') -> None:
        """
        Keep the mask.

        Parameters
        ----------
        excluded
            (H, W), True where the view is left out.
        name
            What errors call it.

        Raises
        ------
        DiffsegError
            Nothing of the view is left.

        """
        if excluded.all():
            raise DiffsegError(f'{name}: no pixel is black, so nothing of the view is left; '
                               'paint black what is to be seen')
        self._name = name
        self._excluded = excluded
        self._at = lru_cache(maxsize=4)(self._scaled)

    @classmethod
    def from_file(cls, path: str) -> StaticMask | None:
        """
        Return the mask in an image file, whose pixels other than black are excluded.

        Without a path there is none.

        Raises
        ------
        DiffsegError
            The file is missing or no image, or nothing of the view is left.

        """
        if not path:
            return None
        file = Path(path).expanduser()
        name = f'parameter static_mask: {file}'
        try:
            data = read_bytes(file)
        except DiffsegError as error:
            raise DiffsegError(f'parameter static_mask: {error}') from error
        return cls(np.asarray(decode_rgb(data, name).any(axis=2)), name)

    def at(self, height: int, width: int) -> npt.NDArray[np.bool_]:
        """
        Return the (height, width) mask of an image of the same view.

        Raises
        ------
        DiffsegError
            The image has another shape than the mask.

        """
        return self._at(height, width)

    def _scaled(self, height: int, width: int) -> npt.NDArray[np.bool_]:
        rows, columns = self._excluded.shape
        if abs(columns * height - rows * width) > _ASPECT_TOLERANCE * rows * width:
            raise DiffsegError(f'{self._name}: {columns}x{rows} pixels do not fit the image, '
                               f'{width}x{height}; make the mask from an image of this camera')
        return resize_labels(self._excluded, height, width)

    def on_frame(self, frame: Frame) -> Frame:
        """Return the frame without depth under the mask."""
        if frame.depth is None:
            return frame
        excluded = self.at(*frame.depth.shape)
        return replace(frame, depth=np.where(excluded, np.float32(np.nan), frame.depth))

    def on_result(self, result: Result) -> Result:
        """Return the result unlabelled, without confidence and without depth under the mask."""
        excluded = self.at(*result.labels.shape)
        return replace(result, frame=self.on_frame(result.frame),
                       labels=np.where(excluded, np.int32(UNLABELLED), result.labels),
                       confidence=np.where(excluded, np.uint8(0), result.confidence))
