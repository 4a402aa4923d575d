"""What a structured-light depth camera makes of exact depth."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class DepthSensor:
    """
    A projector beside an infrared camera, matched in steps of part of a pixel.

    Attributes
    ----------
    baseline
        Metres from the camera to the projector on its right.
    disparity_step
        Pixels between two disparities that the matcher tells apart.
    disparity_noise
        Deviation of the disparity in pixels; makes depth noise grow with depth squared.
    lateral_noise
        Deviation in pixels of the place that is measured, which frays outlines.
    minimum, maximum
        Range in metres.
    grazing
        Cosine of incidence below which the pattern is mostly lost.
    dark
        Reflectance below which the pattern is mostly lost.

    """

    baseline: float = 0.075
    disparity_step: float = 0.125
    disparity_noise: float = 0.09
    lateral_noise: float = 0.5
    minimum: float = 0.4
    maximum: float = 6.0
    grazing: float = 0.14
    dark: float = 0.012

    def measure(self, depth: FloatArray, incidence: FloatArray, reflectance: FloatArray,
                focal: float, seed: int) -> FloatArray:
        """
        Return measured depth with noise, steps and holes.

        Parameters
        ----------
        depth
            (H, W) float32 exact metres along the optical axis, NaN where there is nothing.
        incidence
            (H, W) float32 cosine between surface normal and line of sight.
        reflectance
            (H, W) float32 diffuse reflectance, 0 to 1.
        focal
            Focal length in pixels.
        seed
            Of all that is random.

        Returns
        -------
        numpy.ndarray
            (H, W) float32 metres, NaN in holes.

        """
        rng = np.random.default_rng([seed, 3])
        scale = np.float32(focal * self.baseline)
        seen = self._displace(depth, rng)
        disparity = scale / seen
        # A matching window sees several pixels, so neighbours share most of the error.
        error = cv2.GaussianBlur(rng.standard_normal(depth.shape, np.float32), (0, 0), 1.2)
        error *= np.float32(self.disparity_noise) / error.std()
        disparity = np.rint((disparity + error) / self.disparity_step) * self.disparity_step
        with np.errstate(divide='ignore', invalid='ignore'):
            measured = (scale / disparity).astype(np.float32)
            lost = ~((measured >= self.minimum) & (measured <= self.maximum))
        lost |= self._shadow(depth, scale)
        lost |= self._weak(incidence, reflectance, rng)
        lost |= self._torn(depth, rng)
        measured[lost] = np.nan
        return measured

    def _displace(self, depth: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Return depth at places that are off by a fraction of a pixel."""
        rows, columns = np.indices(depth.shape, dtype=np.float32)
        shift = rng.standard_normal((2, *depth.shape), np.float32) * self.lateral_noise
        return cv2.remap(depth, columns + shift[0], rows + shift[1], cv2.INTER_NEAREST,
                         borderMode=cv2.BORDER_REPLICATE)

    def _shadow(self, depth: FloatArray, scale: np.float32) -> npt.NDArray[np.bool_]:
        """Return what the projector cannot reach: columns overtaken by nearer ones."""
        columns = np.arange(depth.shape[1], dtype=np.float32)
        lit = np.where(np.isfinite(depth), columns - scale / depth, np.inf)
        nearest = np.minimum.accumulate(lit[:, ::-1], axis=1)[:, ::-1]
        return lit > nearest + 1.0

    def _weak(self, incidence: FloatArray, reflectance: FloatArray,
              rng: np.random.Generator) -> npt.NDArray[np.bool_]:
        """Return where too little of the pattern comes back."""
        patchy = cv2.GaussianBlur(rng.standard_normal(incidence.shape, np.float32), (0, 0), 2.0)
        patchy /= patchy.std()
        weak = incidence < self.grazing * (1 + 0.3 * patchy)
        return weak | (reflectance < self.dark * (1 + 0.5 * patchy))

    def _torn(self, depth: FloatArray, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
        """Return a random part of the pixels at depth steps."""
        filled = np.nan_to_num(depth, nan=100.0)
        kernel = np.ones((3, 3), np.uint8)
        step = cv2.dilate(filled, kernel) - cv2.erode(filled, kernel)
        return (step > 0.04 * filled) & (rng.random(depth.shape, np.float32) < 0.45)
