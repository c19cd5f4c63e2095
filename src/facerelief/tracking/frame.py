"""One frame of a followed face.

Tested by tests/tracking/test_tracker.py and test_capture.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from facerelief.face.reconstruction import Reconstruction

TrackState = Literal["none", "found", "tracked"]
"""No face; a face just detected, with an estimate by CoarseNet; a face followed from the frame before."""


@dataclass(frozen=True, eq=False)
class TrackedFrame:
    """One frame of a video with its followed face."""

    index: int
    """Number of the frame in its source, from 0; frames that cannot be decoded have numbers too."""
    time: float
    """Seconds since the first frame, rising."""
    image: NDArray[np.uint8]
    """(H, W, 3) RGB."""
    state: TrackState
    face: Reconstruction | None
    """The followed face, whose `image` is the frame; None where there is none."""
    timings_ms: dict[str, float] = field(default_factory=dict[str, float])
