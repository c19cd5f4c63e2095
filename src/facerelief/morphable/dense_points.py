"""Dense points of a head: vertices spread over face, jaw and the fronts of the ears, in mirrored pairs.

The landmark net (`inference.landmark_net`) finds them in images. Its file names the vertices that it was
trained on; this choice is made when training data are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import ModelError
from facerelief.morphable.model import FaceModel
from facerelief.typed import Float64, Int32

POINTS = 720
"""Usual number of points."""
_DENSITY = (("brows", 1.3), ("nose", 1.4), ("lips", 1.9), ("lids", 2.4), ("ears", 0.9))
"""Regions whose points are nearer to each other than elsewhere, by this factor; the last one that holds a
vertex counts."""
_EAR_FRONT = -86.0
"""Ears are taken from this z on, mm behind the origin of the model."""


def dense_points(model: FaceModel, count: int = POINTS) -> Int32:
    """Ids of vertices spread evenly over the skin that photos of a face show, denser at lids, lips and nose.

    Farthest-point sampling (Gonzalez 1985) of one half of the face, begun with the vertices of the 68 iBUG
    landmarks; each chosen vertex brings its mirror image along. The choice depends on the mean shape alone.

    Args:
        model: A model with a mirror and the regions of the embedded models.
        count: Least number of points; the last pair may add one.

    Returns:
        (N,) ascending vertex ids.

    Raises:
        ModelError: The model has no mirror or no "ibug68" landmarks.
        ValueError: Fewer candidates than `count`.
    """
    if model.symmetry is None or "ibug68" not in model.landmarks:
        raise ModelError(f"model {model.name!r}: dense points need mirrored vertices and 68 landmarks")
    mirror = model.symmetry
    hidden = model.region("eye_sockets", "teeth", "gums", "tongue", "eyeballs", "lashes")
    hidden |= model.region("mouth") & ~model.region("lips")
    ears = model.region("ears") & (model.mean[:, 2] > _EAR_FRONT)
    skin = (model.region("face", "narrow_face") | ears) & ~hidden
    if int(skin.sum()) < count:
        raise ValueError(f"{count} points asked of {int(skin.sum())} vertices")
    density = np.ones(model.n_vertices)
    for name, factor in _DENSITY:
        density[model.region(name)] = factor
    marks = model.landmarks["ibug68"]
    first = marks.vertices[np.arange(len(marks)), marks.weights.argmax(axis=1)]
    chosen = np.unique(np.concatenate([first, mirror[first]]))
    # one half of the face: the person's left and the middle
    half = np.flatnonzero(skin & (model.mean[:, 0] >= -1e-3))
    return _farthest(model.mean.astype(np.float64), half, density, chosen, mirror, count)


def _farthest(
    points: Float64,
    candidates: NDArray[np.intp],
    density: Float64,
    chosen: NDArray[np.int32],
    mirror: Int32,
    count: int,
) -> Int32:
    """The chosen ids and, pair by pair, the candidates farthest from all of them, until there are `count`."""
    ids = list(map(int, chosen))
    place, weight = points[candidates], density[candidates]
    apart = np.full(len(candidates), np.inf)
    for id_ in ids:
        np.minimum(apart, np.linalg.norm(place - points[id_], axis=1), out=apart)
    while len(ids) < count:
        id_ = int(candidates[int(np.argmax(apart * weight))])
        for new in {id_, int(mirror[id_])}:
            ids.append(new)
            np.minimum(apart, np.linalg.norm(place - points[new], axis=1), out=apart)
    return np.array(sorted(ids), np.int32)
