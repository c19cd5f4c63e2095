# pyright: basic
"""Smooth functions on meshes: a sparse solve. SciPy is imported on use.

Tested by tests/rendering/test_texture.py.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facerelief.geometry.adjacency import graph_laplacian, vertex_links
from facerelief.typed import Float64


class SurfaceSmoother:
    """Smooth functions on the vertices of a mesh, from values known on some of them."""

    def __init__(self, triangles: NDArray[np.int32], count: int, smoothness: float = 1.0) -> None:
        self._laplacian = graph_laplacian(vertex_links(triangles, count)) * smoothness

    def fit(self, values: Float64, weight: Float64) -> Float64:
        """Fit a smooth function to weighted values.

        Args:
            values: (N, 3).
            weight: (N,) non-negative; 0 where the value is unknown.

        Returns:
            (N, 3) float64; the weighted mean on parts of the mesh without any weight.
        """
        from scipy.sparse import diags_array
        from scipy.sparse.linalg import splu

        total = float(weight.sum())
        if total <= 0:
            return np.zeros_like(values)
        mean = weight @ values / total
        anchor = 1e-4
        matrix = (self._laplacian + diags_array(weight + anchor)).tocsc()
        factors = splu(
            matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}, diag_pivot_thresh=0.0
        )
        return mean + np.asarray(factors.solve((values - mean) * weight[:, None]))
