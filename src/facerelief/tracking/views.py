"""The best frames of a track from several sides: texture and relief are made of them together."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from facerelief.face.reconstruction import Reconstruction
from facerelief.facefolder.relief_merge import with_merged_relief
from facerelief.morphable.shape_distance import shape_distance
from facerelief.typed import Image

_YAW_DEG = (-25.0, -8.0, 8.0, 25.0)
"""Limits of the sides from which a face is seen."""
_KEPT = (1, 1, 2, 1, 1)
"""Frames that are kept of each side."""
_APART_S = 0.5
"""Frames nearer in time than this show the same: the better one is kept."""
_FACE_PX = 128
"""Height of the face at which sharpness is measured, px."""
_OTHER_MM = 0.8
"""A frame whose neutral shape differs from the best one's by more (root mean square over the face), as after
a cut to somebody else, is not merged with it."""


@dataclass(frozen=True, eq=False)
class _View:
    face: Reconstruction
    time: float
    merit: float


@dataclass
class BestViews:
    """Keeps the sharpest, largest and surest frames of each side, apart in time; 6 images at most."""

    _sides: list[list[_View]] = field(default_factory=lambda: [[] for _ in _KEPT])

    def add(self, face: Reconstruction, time: float, merit: float) -> None:
        """Offer a frame.

        Args:
            face: Its face.
            time: Seconds.
            merit: Size, certainty and view of the face; its sharpness is measured here.
        """
        side = int(np.searchsorted(_YAW_DEG, np.degrees(face.camera.yaw)))
        kept, room = self._sides[side], _KEPT[side]
        near = [view for view in kept if abs(view.time - time) < _APART_S]
        rivals = near or (kept if len(kept) >= room else [])
        least = min((view.merit for view in rivals), default=0.0)
        if merit <= least or merit <= 0:  # sharpness is at most 1
            return
        merit *= sharpness(face)
        if merit <= least:
            return
        if rivals:
            kept.remove(min(rivals, key=lambda view: view.merit))
        kept.append(_View(face, time, merit))

    def of(self, best: Reconstruction) -> list[Reconstruction]:
        """The kept frames that show the subject of a face, that one left out; the best first."""
        views = sorted((view for side in self._sides for view in side), key=lambda view: -view.merit)
        return [
            view.face
            for view in views
            if view.face is not best
            and view.face.model is best.model
            and shape_distance(best.model, best.identity, view.face.identity) <= _OTHER_MM
        ]


def merged_views(best: Reconstruction, views: BestViews) -> list[Reconstruction]:
    """The best face and those of the other views, with the relief that all show; the best one first."""
    return with_merged_relief([best, *views.of(best)])


def sharpness(face: Reconstruction) -> float:
    """Sharpness of a face in its image, 0 to 1: contrast of neighbouring pixels over that of the whole face,
    at a face 128 px high. Motion and a lens out of focus take it away, size and light do not."""
    import cv2

    height, width = face.image.shape[:2]
    left, top = (int(np.clip(x, 0, n)) for x, n in zip(face.box[:2], (width, height)))
    right, bottom = (int(np.clip(x, 0, n)) for x, n in zip(face.box[2:], (width, height)))
    window: Image = face.image[top:bottom, left:right]
    if min(window.shape[:2]) < 8:
        return 0.0
    size = max(round(_FACE_PX * window.shape[1] / window.shape[0]), 8), _FACE_PX
    small = cv2.resize(np.ascontiguousarray(window), size, interpolation=cv2.INTER_AREA)
    luma = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.float32)
    fine = luma - np.asarray(cv2.GaussianBlur(luma, (0, 0), 1.5), np.float32)
    return float(np.clip(fine.std() / max(float(luma.std()), 1.0), 0, 1))
