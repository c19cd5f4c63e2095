"""Prior of light on portraits: a Gaussian over the 27 coefficients of a spherical-harmonic light.

The three channels are taken as one grey light and two colour differences, since light varies in brightness
and direction far more than in colour. Coefficients are channel-major here, (27,) = nine of red,
then green, then blue.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facerelief.rendering.spherical_harmonics import K0, K1, K2
from facerelief.typed import Float64

N_LIGHT = 27
MEAN = (0.80, -0.03, 0.15, 0.0, 0.0, -0.05, 0.05, 0.0, 0.0)
"""Grey light of a usual portrait, nine coefficients: from the front and a little above, 1.0 on skin that
faces the camera. About the mean over 500 studio portraits."""
# orthonormal: brightness, red against green and blue, green against blue
_MIX = np.array([[1, 1, 1], [2, -1, -1], [0, 1, -1]]) / np.sqrt([[3.0], [6.0], [2.0]])

# basis averaged over the directions that a surface seen from the front shows, by projected area: the mean
# brightness that a light gives to a face (E z = 2/3, E z^2 = 1/2)
_ON_FACE = np.array([K0, 0, K1 * 2 / 3, 0, 0, 0, K2 / (2 * np.sqrt(3)) * 0.5, 0, 0])


@dataclass(frozen=True)
class LightPrior:
    """Standard deviations of light, as shares of full light."""

    level: float = 0.05
    """Of the mean brightness of a face. One face alone does not determine both its skin tone and its light's
    brightness: less of this reads a dark image as dark skin, more reads dark skin as a dark image."""
    direction: float = 0.20
    """Of each coefficient of the grey light."""
    colour: float = 0.04
    """Of the mean colour differences of a face."""
    colour_direction: float = 0.04
    """Of each coefficient's colour differences."""

    def mean(self) -> Float64:
        """(27,) the usual light."""
        return np.tile(np.array(MEAN, np.float64), 3)

    def precision(self) -> Float64:
        """(27, 27) inverse covariance."""
        out = np.zeros((N_LIGHT, N_LIGHT))
        whole = np.outer(_ON_FACE, _ON_FACE)
        for k, row in enumerate(_MIX):
            each, on_face = (self.direction, self.level) if k == 0 else (self.colour_direction, self.colour)
            # a grey light of size g has g in each channel, that is root 3 g along the first row
            block = (np.eye(9) / each**2 + whole / on_face**2) / 3.0
            out += np.kron(np.outer(row, row), block)
        return out
