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
COMPONENT_SIZE = 0.01
"""Most that one component may change the size, whatever the others do, as a standard deviation: what is seen
of a component that is mostly size is little, and its errors look like another subject."""


def identity_precision(model: FaceModel, deviation: float, size: float = SIZE_DEVIATION) -> Float64:
    """(K, K) precision of the identity coefficients.

    The size is narrow, which is one direction among the coefficients: a component that changes shape and size
    stays free as long as others keep the size.

    Args:
        model: Face model.
        deviation: Standard deviation assumed for every coefficient.
        size: Standard deviation assumed for the face's relative size; infinite for no limit.
    """
    change = model.size_change.astype(np.float64)
    out = np.eye(len(change)) / deviation**2
    if np.isfinite(size):
        out += np.outer(change, change) / size**2 + np.diag(np.square(change)) / COMPONENT_SIZE**2
    return out
