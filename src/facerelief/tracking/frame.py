"""One frame of a followed face."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from facerelief.face.reconstruction import Reconstruction

TrackState = Literal["none", "found", "tracked"]
"""No face; a face that was just detected, where its own net looked at the frame afresh; one that was followed
from the frame before."""


@dataclass(frozen=True, eq=False)
class TrackedFrame:
    """What is known of one frame of a video."""

    index: int
    """Number of the frame in its source, from 0; frames that could not be decoded have numbers too."""
    time: float
    """Seconds since the first frame, rising."""
    image: NDArray[np.uint8]
    """(H, W, 3) RGB."""
    state: TrackState
    face: Reconstruction | None
    """The followed face, whose `image` is the frame; None where there is none."""
    timings_ms: dict[str, float] = field(default_factory=dict[str, float])
