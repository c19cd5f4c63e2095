"""The toy head with what only scan-based models have: correctives, quads, inner parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from facerelief.morphable.model import Contour, Corrective, FaceModel


def with_correctives(model: FaceModel, seed: int = 0) -> FaceModel:
    """Both blinks and jawOpen change with identity, at the vertices that they move, by up to a mm or so."""
    rng = np.random.default_rng(seed)
    found = []
    for name in ("eyeBlinkLeft", "eyeBlinkRight", "jawOpen"):
        unit = model.expression_names.index(name)
        moved = np.flatnonzero(np.abs(model.expression[:, :, unit]).max(axis=(1)) > 0.1)
        basis = rng.normal(0, 0.4, (len(moved), 3, model.n_identity))
        found.append(Corrective(unit, rng.permutation(moved).astype(np.int32), basis.astype(np.float32)))
    return replace(model, correctives=tuple(found))


def with_quads(model: FaceModel) -> FaceModel:
    """Triangles in the order that `FaceModel.quads` asks for; the caps at the poles stand alone."""
    alone = 2 * int((model.triangles >= model.n_vertices - 2).any(axis=1).sum() // 2)
    quads = (len(model.triangles) - alone) // 2
    pairs = np.arange(2 * quads).reshape(2, quads).T.reshape(-1)
    order = np.append(pairs, np.arange(2 * quads, len(model.triangles)))
    return replace(
        model, triangles=model.triangles[order], uv_triangles=model.uv_triangles[order], quads=quads
    )


def with_inner_parts(model: FaceModel) -> FaceModel:
    """The back of the head stands for the mouth: fits and renders of the face can do without it."""
    return replace(model, regions={**model.regions, "mouth": model.mean[:, 2] < -60})


def with_outline(model: FaceModel) -> FaceModel:
    """Outline landmarks 3, 8 and 13 with candidates near them on the face, and 1 with some on its back."""
    at = model.landmarks["ibug68"].of(model.mean)
    rows = [np.linalg.norm(model.mean - at[k], axis=1).argsort()[:5] for k in (3, 8, 13)]
    rows.append(model.mean[:, 2].argsort()[:5])
    return replace(
        model, contours={"ibug68": Contour(np.array([3, 8, 13, 1], np.int32), np.array(rows, np.int32))}
    )


def full_model(model: FaceModel) -> FaceModel:
    """The toy head with all of these."""
    return with_outline(with_inner_parts(with_quads(with_correctives(model))))
