"""Parts of a head: the front that is fitted, what lies behind lips and lids, the lashes."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from facerelief.morphable.model import FaceModel


@functools.lru_cache(maxsize=4)
def front_triangles(model: FaceModel) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Triangles (K, 3) of face and eyes and two rings around them, and (K + 1,) their indices
    among the model's; the last entry, for pixels without triangle, is -1.

    The rest of a head lies behind or beside its face in all poses that show the face.
    """
    near = _front_vertices(model)
    return _numbered(model, np.asarray(near[model.triangles].all(axis=1)))


@functools.lru_cache(maxsize=4)
def front_model(model: FaceModel) -> FaceModel:
    """A model of face and eyes and two rings around them, with the same coefficients.

    Models without inner parts (mouth, teeth) are returned as they are.
    """
    return model.restricted(_front_vertices(model)) if model.region("mouth", "teeth").any() else model


def linings(model: FaceModel) -> NDArray[np.bool_]:
    """(N,) vertices of the parts behind lips and lids; the rims of both openings are skin too."""
    return model.region("mouth", "teeth", "gums", "tongue", "eye_sockets")


@functools.lru_cache(maxsize=4)
def lining_triangles(model: FaceModel) -> NDArray[np.bool_]:
    """(T,) triangles of the parts behind lips and lids."""
    return np.asarray(linings(model)[model.triangles].all(axis=1))


@functools.lru_cache(maxsize=4)
def solid_triangles(model: FaceModel) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Triangles (K, 3) without the lashes, which hide nothing behind them; (K + 1,) as `front_triangles`."""
    return _numbered(model, np.asarray(~model.region("lashes")[model.triangles].any(axis=1)))


def _numbered(model: FaceModel, chosen: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    ids = np.flatnonzero(chosen).astype(np.int32)
    kept = np.array(model.triangles[ids], np.int32)
    kept.setflags(write=False)  # rendered again and again: checked once
    return kept, np.append(ids, np.int32(-1))


def _front_vertices(model: FaceModel) -> NDArray[np.bool_]:
    near = model.face_vertices | model.eyeballs
    for _ in range(2):
        touched = model.triangles[near[model.triangles].any(axis=1)]
        near = near.copy()
        near[touched] = True
    return near
