"""Prior of the identity coefficients: standard normal, and narrow along the face's size.

No weak-perspective image shows how large a face is. What a fit makes of size is noise, and as the first
components of face models are mostly size, it hides whose face it is.
"""

from __future__ import annotations

import numpy as np

from facerelief.morphable.model import FaceModel
from facerelief.typed import Float64

SIZE_DEVIATION = 0.003
"""Standard deviation assumed for a face's relative size."""


def identity_precision(model: FaceModel, deviation: float, size: float = SIZE_DEVIATION) -> Float64:
    """(K, K) precision of the identity coefficients.

    The size alone is narrow, one direction among the coefficients: a component that changes shape and size
    stays free as long as others keep the size.

    Args:
        model: Face model.
        deviation: Standard deviation assumed for every coefficient.
        size: Standard deviation assumed for the face's relative size.
    """
    change = model.size_change.astype(np.float64)
    return np.eye(len(change)) / deviation**2 + np.outer(change, change) / size**2
