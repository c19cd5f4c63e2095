"""Confidence in a followed face, and cuts of the film.

A track that has lost its face may be steady and like itself all the same. So confidence comes from what does
not depend on the track's past: the detector and its landmarks at every check, a fresh estimate of identity,
and the error that the network states for each frame; likeness to earlier frames can only lower it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facerelief.typed import Float32, Image

_THUMBNAIL = 32
"""Side of the image by which successive frames are compared, px."""
AGREEMENT_MM = 6.0
"""Distance of tracked from detected landmarks, mm, that halves the confidence; speech gives up to 5."""
STATED_MM = (3.8, 6.5)
"""Errors that the networks state, mm, from which confidence falls, and at which it is least. A face followed
rightly has 3.2 to 3.7, one half covered 4.2 to 4.6, another one or none 5.5 and more."""
IDENTITY_MM = (1.0, 1.7)
"""Likewise for the distance of a fresh estimate's neutral landmarks from the followed face's."""
_LEAST = 0.2
"""Confidence left by the worst stated error, or identity."""


@dataclass(frozen=True)
class Check:
    """A followed face beside what the detector and CoarseNet see in the same frame."""

    score: float
    """Product of the detector's and the landmark network's confidence."""
    spread_mm: float
    """Distance of the face's landmarks from the detected ones, robust root mean square, mm."""
    identity_mm: float = 0.0
    """Mean distance of the neutral landmarks of a fresh estimate from the followed face's, mm."""

    @property
    def confidence(self) -> float:
        """0..1"""
        agreement = 1.0 / (1.0 + (self.spread_mm / AGREEMENT_MM) ** 4)
        return self.score * agreement * _falling(self.identity_mm, *IDENTITY_MM)


def frame_confidence(check: Check, stated_mm: float, likeness: float) -> float:
    """Confidence in the face of a frame, 0..1.

    Args:
        check: The last check.
        stated_mm: Error that the network states for the frame, mm.
        likeness: Correlation of the skin's brightness with that of earlier frames.
    """
    value = check.confidence * _falling(stated_mm, *STATED_MM) * min(max(likeness, 0.0), 1.0)
    return float(np.clip(np.nan_to_num(value), 0.0, 1.0))


def _falling(value: float, start: float, end: float) -> float:
    """Smoothstep from 1 at `start` to `_LEAST` at `end`."""
    t = float(np.clip((value - start) / (end - start), 0.0, 1.0))
    return 1.0 - (1.0 - _LEAST) * t * t * (3.0 - 2.0 * t)


class FrameSimilarity:
    """Correlation of the edges of successive frames, much reduced.

    It is above 0.86 within a shot at 25 frames a second, and below 0.5 across nearly all cuts; between two
    portraits with the same light and framing it is 0.6 to 0.84.
    """

    def __init__(self) -> None:
        self._before: Float32 | None = None

    def __call__(self, image: Image) -> float:
        """Correlation with the frame before, 1 for the first one; image (H, W, 3)."""
        import cv2

        step = max(1, min(image.shape[:2]) // (4 * _THUMBNAIL))
        small = cv2.resize(image[::step, ::step], (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA)
        grey = np.asarray(small, np.float32).mean(axis=2)
        edges = np.stack([cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)])
        edges -= edges.mean()
        before, self._before = self._before, edges
        if before is None:
            return 1.0
        norm = float(np.sqrt((edges * edges).sum() * (before * before).sum()))
        return float((edges * before).sum()) / norm if norm > 1e-3 else 1.0
