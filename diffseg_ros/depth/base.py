"""What depth needs from a model that predicts it, what is known besides, and the settings."""

from __future__ import annotations

from enum import Enum
from typing import Literal, NamedTuple, Protocol

from diffseg_ros.settings import setting, Settings
from diffseg_ros.types import RgbImage
import numpy as np
import numpy.typing as npt


class DepthSettings(Settings):
    """Depth predicted from the colour image, where the camera gives none."""

    model: str = setting(
        '', "model that predicts depth: '' is off; or a folder or hub id of a Marigold pipeline "
        'of diffusers, or of a depth model of transformers, such as Depth Anything V2',
        live=False)
    use: Literal['missing', 'fill', 'always'] = setting(
        'missing', 'where predicted depth is used: missing is in frames that have no depth, fill '
        'also where pixels of the depth image are invalid, always is everywhere')
    steps: int = setting(
        0, 'denoising steps of a diffusion model; 0 is what the model says', 0, 50,
        live=False)
    sparse_topic: str = setting(
        '', 'topic of a sensor_msgs/PointCloud2 or LaserScan, with TF to the camera, that gives '
        "relative depth its scale; '' is none", live=False)
    camera_height: float = setting(
        0.0, 'height of the camera above the ground in metres, which gives relative depth its '
        'scale where the ground is in view and the tilt of the camera is known by TF, pose or '
        'base_to_camera: else it is taken as level; 0 is unknown', 0.0, 1000.0)
    in_points: bool = setting(
        True, 'predicted pixels become points of clouds, boxes and maps too, with their '
        'confidence; without it they are in ~/depth alone')


class DepthKind(str, Enum):
    """
    What the values of a model are.

    METRIC are metres. AFFINE and INVERSE become metres, or 1 / metres, by a scale above 0 and a
    shift that the model does not know and that change from image to image.
    """

    METRIC = 'metric'
    AFFINE = 'affine'
    INVERSE = 'inverse'


class DepthModel(Protocol):
    """A model that predicts the depth of a colour image."""

    @property
    def name(self) -> str:
        """Name of the model, for reports."""

    @property
    def kind(self) -> DepthKind:
        """What its values are."""

    def predict(self, rgb: RgbImage) -> npt.NDArray[np.float32]:
        """
        Return (H, W) float32 values at the image's size, NaN where the model has none.

        The same image gives the same values, on the same device.
        """


class KnownDepth(NamedTuple):
    """
    Depth that is known at some pixels of an image.

    Attributes
    ----------
    rows, columns
        (N,) intp pixels.
    metres
        (N,) float32, above 0; some may be wrong.

    """

    rows: npt.NDArray[np.intp]
    columns: npt.NDArray[np.intp]
    metres: npt.NDArray[np.float32]
