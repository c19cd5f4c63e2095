# pyright: basic
"""Smooth functions on meshes: a sparse solve. SciPy is imported on use.

Tested by tests/rendering/test_texture.py.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facerelief.geometry.adjacency import graph_laplacian, vertex_links
from facerelief.typed import Float64

_CELL_MM = 6.0
"""Vertices in one cube of this side have one value in the coarse solution."""
_SOFTER = 0.5
"""Steps between groups weigh more than the slopes that they stand for."""
_SWEEPS = 20


class SurfaceSmoother:
    """Smooth functions on the vertices of a mesh, from values known on some of them.

    A least squares fit with the squares of the differences along edges, solved on groups of near vertices and
    then smoothed on the vertices themselves.

    Args:
        triangles: (T, 3)
        vertices: (N, 3) mm.
    """

    def __init__(self, triangles: NDArray[np.int32], vertices: NDArray[np.floating]) -> None:
        from scipy.sparse import csr_array

        count = len(vertices)
        self._laplacian = graph_laplacian(vertex_links(triangles, count)).tocsr()
        cells = np.floor((vertices - vertices.min(axis=0)) / _CELL_MM).astype(np.int64)
        _, group = np.unique(cells @ [1_000_000, 1_000, 1], return_inverse=True)
        rows = np.arange(count)
        self._groups = csr_array((np.ones(count), (rows, group.ravel())), (count, int(group.max()) + 1))
        self._coarse = (self._groups.T @ self._laplacian @ self._groups) * _SOFTER

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
        held = weight + 1e-4
        known = (values - mean) * weight[:, None]
        matrix = (self._coarse + diags_array(self._groups.T @ held)).tocsc()
        factors = splu(
            matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}, diag_pivot_thresh=0.0
        )
        out = self._groups @ factors.solve(self._groups.T @ known)
        # damped Jacobi steps smooth away the groups' steps
        fine = self._laplacian + diags_array(held)
        step = (0.7 / fine.diagonal())[:, None]
        for _ in range(_SWEEPS):
            out += step * (known - fine @ out)
        return mean + out
