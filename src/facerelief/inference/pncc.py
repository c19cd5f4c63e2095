"""PNCC pictures (Zhu et al.): each pixel of a face has the place it shows on the mean face as its colour.

A network that follows a face sees by such a picture where it was in the last frame; training and use must
draw it alike, so both do it here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facerelief.geometry.boxes import bounds
from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.normals import triangle_ids
from facerelief.inference.crops import SquareCrop
from facerelief.rendering.rasterizer import interpolate, rasterize
from facerelief.typed import Float32

TRACK_SIZE = 224
"""Side of the crop in which a face is followed, px."""
TRACK_MARGIN = 1.25
"""Side of that crop over the longer side of the face's box in the previous frame."""


def tracking_crop(
    vertices: ArrayLike, shown: ArrayLike, camera: WeakPerspective, size: int = TRACK_SIZE
) -> SquareCrop:
    """The upright square of a picture in which a face is looked for that was last seen so.

    vertices (N, 3) model space, mm, and camera: the previous frame's; shown (N,) bool: the face
    (`FaceModel.face_vertices`). Raises ValueError where nothing is shown.
    """
    points = np.asarray(vertices)[np.asarray(shown, np.bool_)]
    if not len(points):
        raise ValueError("no vertex is shown, expected a face")
    low, high = bounds(camera.project(points)[:, :2].astype(np.float64))
    u, v = (float(x) for x in (low + high) / 2)
    return SquareCrop(u, v, TRACK_MARGIN * float((high - low).max()), size)


def pncc_colors(mean: ArrayLike, shown: ArrayLike | None = None) -> Float32:
    """(N, 3) vertex colours: the mean's x, y and z, each stretched to [0, 1]; NaN for what is not shown.

    mean (N, 3) model space, mm. shown (N,) bool: what is drawn and stretched over, skin and eyes of the face
    as a rule (`FaceModel.face_vertices` and the region "eyeballs"); all by default. Raises ValueError for
    shapes that do not fit or nothing to show.
    """
    points = np.asarray(mean, np.float32)
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"mean has shape {points.shape}, expected (N, 3)")
    mask = np.ones(len(points), np.bool_) if shown is None else np.asarray(shown, np.bool_)
    if mask.shape != (len(points),) or not mask.any():
        raise ValueError(f"shown has shape {mask.shape}, expected ({len(points)},) with something to show")
    low, high = bounds(points[mask])
    colors = (points - low) / np.maximum(high - low, np.float32(1e-6))
    colors[~mask] = np.nan
    return colors.astype(np.float32)


class PnccDrawer:
    """Draws PNCC pictures of one mesh in many poses.

    triangles (T, 3) vertex ids; colors (N, 3) of `pncc_colors`: triangles with a corner that is not shown
    hide what is behind them, and stay 0 themselves. Raises ValueError for ids without a colour.
    """

    def __init__(self, triangles: ArrayLike, colors: ArrayLike) -> None:
        code = np.asarray(colors, np.float32)
        self.triangles = triangle_ids(triangles, len(code))
        shown: NDArray[np.bool_] = np.asarray(np.isfinite(code).all(axis=1))
        self._code = np.where(shown[:, None], code, np.float32(0.0))
        self._drawn = np.append(shown[self.triangles].all(axis=1), False)

    def __call__(self, vertices: ArrayLike, camera: WeakPerspective, height: int, width: int) -> Float32:
        """(height, width, 3) float32 in [0, 1], 0 where the face is not seen.

        vertices (N, 3) model space, mm; camera: of the picture or crop that is drawn
        (`WeakPerspective.in_crop`). Raises ValueError for shapes that do not fit.
        """
        points = np.asarray(vertices)
        if self._code.shape != points.shape:
            raise ValueError(f"colors have shape {self._code.shape}, expected {points.shape}")
        fragments = rasterize(camera.project(points), self.triangles, height, width, cull_backfaces=True)
        picture = interpolate(fragments, self.triangles, self._code)
        picture *= self._drawn[fragments.triangle][:, :, None]
        return np.clip(picture, 0.0, 1.0, out=picture)


def render_pncc(
    vertices: ArrayLike,
    triangles: ArrayLike,
    colors: ArrayLike,
    camera: WeakPerspective,
    height: int,
    width: int,
) -> Float32:
    """One PNCC picture; see `PnccDrawer`, which is quicker for many."""
    if np.shape(colors) != np.shape(vertices):
        raise ValueError(f"colors have shape {np.shape(colors)}, expected {np.shape(vertices)}")
    return PnccDrawer(triangles, colors)(vertices, camera, height, width)
