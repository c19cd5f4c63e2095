"""Distances between the neutral shapes of identities; they share frame and size, so nothing is aligned."""

from __future__ import annotations

import functools

import numpy as np

from facerelief.morphable.model import FaceModel
from facerelief.typed import Float


@functools.lru_cache(maxsize=4)
def shape_gram(model: FaceModel) -> Float:
    """(K, K) matrix of the distance between neutral shapes; cached, not to be changed in place.

    `(a - b) @ gram @ (a - b)` is the mean square distance, mm^2, of the neutral shapes of two identities over
    the face's vertices, in model space.
    """
    basis = model.identity[model.face_vertices].reshape(-1, model.n_identity)
    return (basis.T @ basis).astype(np.float64) / int(model.face_vertices.sum())


def shape_distances(first: Float, second: Float, gram: Float) -> Float:
    """(P, Q) mm: root mean square distance between the neutral shapes of identities (P, K) and (Q, K)."""
    apart = np.asarray(first, np.float64)[:, None] - np.asarray(second, np.float64)[None]
    return np.sqrt(np.maximum(np.einsum("ijk,kl,ijl->ij", apart, gram, apart, optimize=True), 0))


def shape_distance(model: FaceModel, first: Float, second: Float) -> float:
    """Root mean square distance of two identities' (K,) neutral shapes over the face, model space, mm."""
    return float(shape_distances(np.asarray(first)[None], np.asarray(second)[None], shape_gram(model))[0, 0])
