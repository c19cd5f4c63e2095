"""PNCC images (Zhu et al., CVPR 2016): the colour of each pixel of a face is its position on the mean face.

Tracking CoarseNet takes one of the previous frame's state as input.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from facerelief.geometry.boxes import bounds
from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.normals import triangle_ids
from facerelief.morphable.front import front_triangles
from facerelief.morphable.model import FaceModel
from facerelief.rendering.rasterizer import interpolate, rasterize
from facerelief.typed import Bool, Float32


def pncc_colors(mean: ArrayLike, shown: ArrayLike | None = None) -> Float32:
    """Vertex colours: x, y and z of the mean face, each stretched to [0, 1].

    Args:
        mean: (N, 3) model space, mm.
        shown: (N,) vertices that have a colour; all unless given.

    Returns:
        (N, 3); NaN for vertices that are not shown.

    Raises:
        ValueError: Shapes do not fit, or no vertex is shown.
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


class PnccRenderer:
    """Renders PNCC images of one mesh in many poses."""

    def __init__(self, triangles: ArrayLike, colors: ArrayLike) -> None:
        """Prepare the mesh.

        Args:
            triangles: (T, 3) vertex ids.
            colors: (N, 3) of `pncc_colors`. Triangles with a corner that is not shown are 0 and still hide
                those behind them.

        Raises:
            ValueError: A triangle's vertex has no colour.
        """
        code = np.asarray(colors, np.float32)
        self.triangles = triangle_ids(triangles, len(code))
        shown: Bool = np.asarray(np.isfinite(code).all(axis=1))
        self._code = np.where(shown[:, None], code, np.float32(0.0))
        self._colored = np.append(shown[self.triangles].all(axis=1), False)

    @classmethod
    def of_model(cls, model: FaceModel) -> PnccRenderer:
        """The renderer of a model's face: skin and eyeballs."""
        colors = pncc_colors(model.mean, model.face_vertices | model.eyeballs)
        return cls(front_triangles(model)[0], colors)

    def __call__(self, vertices: ArrayLike, camera: WeakPerspective, height: int, width: int) -> Float32:
        """Render one pose.

        Args:
            vertices: (N, 3) model space, mm.
            camera: Pose, in px of the result.
            height: Of the result, px.
            width: Of the result, px.

        Returns:
            (height, width, 3) in [0, 1], 0 where no face is visible.

        Raises:
            ValueError: Another number of vertices than of colours.
        """
        points = np.asarray(vertices)
        if self._code.shape != points.shape:
            raise ValueError(f"colors have shape {self._code.shape}, expected {points.shape}")
        fragments = rasterize(camera.project(points), self.triangles, height, width, cull_backfaces=True)
        image = interpolate(fragments, self.triangles, self._code)
        image *= self._colored[fragments.triangle][:, :, None]
        return np.clip(image, 0.0, 1.0, out=image)
