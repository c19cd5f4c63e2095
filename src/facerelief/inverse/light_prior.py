"""What light on portraits is like: a Gaussian over the 27 coefficients of a spherical-harmonic light.

The three channels are told apart as one grey light and two colour differences, since light varies in
brightness and direction far more than in colour. Coefficients are channel-major here, (27,) = nine of red,
then green, then blue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerelief.rendering.lighting import BAND

# NumPy's annotations widen float32 in mixed arithmetic: these names say what arrays hold, unchecked
Float64 = NDArray[Any]

N_LIGHT = 27
MEAN = (0.80, -0.03, 0.15, 0.0, 0.0, -0.05, 0.05, 0.0, 0.0)
"""Grey light of a usual portrait, nine coefficients: from the front and a little above, 1.0 on skin that
faces the camera. About the mean over 500 studio portraits."""
# orthonormal: brightness, red against green and blue, green against blue
_MIX = np.array([[1, 1, 1], [2, -1, -1], [0, 1, -1]]) / np.sqrt([[3.0], [6.0], [2.0]])


@dataclass(frozen=True)
class LightPrior:
    """Standard deviations of light, as shares of full light."""

    level: float = 0.10
    """Of brightness. Skin tone and brightness cannot be told apart by a face alone: less of this reads a dark
    picture as dark skin, more reads dark skin as a dark picture."""
    direction: float = 0.20
    """Of the uneven parts (bands 1 and 2) of the grey light."""
    colour: float = 0.05
    """Of the even part's colour differences."""
    colour_direction: float = 0.04
    """Of the uneven parts' colour differences."""

    def mean(self) -> Float64:
        """(27,) the usual light."""
        return np.tile(np.array(MEAN, np.float64), 3)

    def precision(self) -> Float64:
        """(27, 27) inverse covariance."""
        band = np.array(BAND)
        grey = np.where(band == 0, self.level, self.direction)
        tint = np.where(band == 0, self.colour, self.colour_direction)
        out = np.zeros((N_LIGHT, N_LIGHT))
        for row, deviation in zip(_MIX, (grey, tint, tint)):
            # a grey light of size g has g in each channel, that is root 3 g along the first row
            size = deviation * np.sqrt(3.0)
            out += np.kron(np.outer(row, row), np.diag(1.0 / size**2))
        return out
