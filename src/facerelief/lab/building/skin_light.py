"""Light in an albedo model: a measure of it, and its removal.

Inverse rendering with nine spherical harmonics cannot tell albedo that varies as a function of the normal
from light, and it knows no cast shadow. Averaged over many subjects, plain skin has no reason to depend on
the direction it faces or on how deep it lies: whatever a linear function of the harmonics of the mean's
normals (Ramamoorthi & Hanrahan 2001) and of ambient occlusion explains of it is light.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import ModelError
from facerelief.geometry.adjacency import graph_laplacian, vertex_links
from facerelief.geometry.normals import vertex_normals
from facerelief.morphable.front import front_model
from facerelief.morphable.model import FaceModel
from facerelief.rendering.lighting import LUMA
from facerelief.rendering.occlusion import seen_share
from facerelief.rendering.spherical_harmonics import sh_basis
from facerelief.typed import Bool, Float, Float32, Float64

DARKEST = 0.06
"""Least value of the mean albedo."""
CAVITY = 0.5
"""Ambient visibility below which colours on photos are shadows: nostrils, lid and lip lines."""


@dataclass(frozen=True, eq=False)
class SkinAreas:
    """Areas of the face's skin, masks over the vertices of `FaceModel.face_vertices` (F,)."""

    plain: Bool
    """Skin without brows, lips, lids and what surrounds the eyes, nostrils and beard: upper lip, chin, jaw
    and the cheeks below the corners of the mouth."""
    cavity: Bool
    """Nostrils and other places that little light reaches."""
    features: Float
    """(F, 10) nine spherical harmonics of the mean's normals, and ambient visibility."""


def skin_areas(model: FaceModel) -> SkinAreas:
    """Areas and light features of a model's mean face.

    Raises:
        ModelError: The model has no 68 landmarks.
    """
    if "ibug68" not in model.landmarks:
        raise ModelError(f"model {model.name!r} has no 68 landmarks: areas of its skin are not known")
    points = model.landmarks["ibug68"].of(model.mean)
    links = vertex_links(model.triangles, model.n_vertices)
    marked = model.region("brows", "lips", "lids", "eyes")
    for _ in range(2):
        marked = marked | (links @ marked > 0)
    front = front_model(model)
    kept = np.flatnonzero(model.face_vertices)
    visible = seen_share(front.mean, front.triangles, 96, 320)[front.face_vertices]
    if model.symmetry is not None:
        number = np.full(model.n_vertices, -1)
        number[kept] = np.arange(len(kept))
        other = number[model.symmetry[kept]]
        visible = 0.5 * (visible + np.where(other >= 0, visible[other], visible))
    normals = vertex_normals(model.mean, model.triangles)
    x, y = np.abs(model.mean[:, 0]), model.mean[:, 1]
    nose, corner = float(points[33, 1]), np.abs(points[[48, 54]]).mean(axis=0)[0]
    level = 0.5 * float(points[48, 1] + points[54, 1])
    beard = (y < level) | ((y < nose) & (x < 1.3 * corner))
    nostrils = (np.linalg.norm(model.mean - points[33], axis=1) < 17.0) & (normals[:, 1] < -0.35)
    nostrils = nostrils | (links @ nostrils > 0)
    cavity = (visible < CAVITY) | nostrils[kept]
    return SkinAreas(
        plain=~marked[kept] & ~beard[kept] & ~cavity & (normals[kept, 2] > 0.15),
        cavity=cavity,
        features=np.concatenate([sh_basis(normals[kept].astype(np.float64)), visible[:, None]], axis=1),
    )


@dataclass(frozen=True)
class LightShare:
    """Light left in a mean albedo."""

    explained: float
    """Share of the variance on plain skin that nine spherical harmonics and ambient visibility explain."""
    deviation: float
    """Standard deviation of the colours on plain skin."""
    asymmetry: float
    """Largest difference between left and right on the face."""
    darkest: float
    """Least value on the face."""


def light_share(model: FaceModel) -> LightShare:
    """Measure the light in a model's mean albedo, sRGB-coded colours in [0, 1].

    Raises:
        ModelError: The model lacks landmarks.
    """
    areas = skin_areas(model)
    face = np.flatnonzero(model.face_vertices)
    colors = model.albedo_mean[face].astype(np.float64)
    weight = vertex_areas(model)[face] * areas.plain
    centred = colors - (weight @ colors) / weight.sum()
    features = areas.features.astype(np.float64)
    fitted = features @ _weighted_fit(features, centred, weight)
    total = float((weight[:, None] * centred**2).sum())
    rest = float((weight[:, None] * (centred - fitted) ** 2).sum())
    asymmetry = 0.0
    if model.symmetry is not None:
        asymmetry = float(np.abs(model.albedo_mean[face] - model.albedo_mean[model.symmetry[face]]).max())
    return LightShare(
        1.0 - rest / max(total, 1e-12),
        float(np.sqrt(total / max(3.0 * weight.sum(), 1e-12))),
        asymmetry,
        float(colors.min()),
    )


def without_light(mean: Float, components: Float, areas: SkinAreas, weight: Float64) -> tuple[Float, Float]:
    """Remove light from an albedo model.

    The mean is divided by what the features explain of its brightness on plain skin, and each colour channel
    loses what is left of it; components lose what the features explain of them beside a constant, which is
    the tone.

    Args:
        mean: (F, 3) mean albedo.
        components: (F, 3, A) of one standard deviation.
        areas: Areas of the same vertices.
        weight: (F,) area of each vertex.

    Returns:
        Mean and components of the same shapes.
    """
    features = areas.features.astype(np.float64)
    # beyond plain skin the fitted function is only trusted within the range it was fitted in
    low, high = (np.percentile(features[areas.plain], q, axis=0) for q in (1, 99))
    inside = np.clip(features, low, high)
    w = weight * areas.plain
    luma = mean @ LUMA
    robust, fit = w.copy(), luma
    for _ in range(5):
        fit = inside @ _weighted_fit(inside, luma, robust)
        away = (luma / np.maximum(fit, 0.05) - 1) / 0.12
        robust = w / (1 + away**2) ** 2
    level = float((robust * fit).sum() / robust.sum())
    factor = np.clip(fit / level, 0.55, 1.6)[:, None]
    mean = mean / factor
    components = components / factor[:, :, None]
    flat = np.concatenate([mean[:, :, None], components], axis=2)
    for _ in range(2):
        tone = np.einsum("f,fca->ca", w, flat) / w.sum()
        values = (flat - tone).reshape(len(flat), -1)
        light = (inside @ _weighted_fit(inside, values, w)).reshape(flat.shape)
        light -= np.einsum("f,fca->ca", w, light) / w.sum()
        flat = flat - light
    return flat[:, :, 0], flat[:, :, 1:]


def filled_cavities(values: Float, links: NDArray[np.object_] | object, hidden: Bool) -> Float:
    """Values (F, C) whose hidden rows continue their surroundings smoothly.

    Args:
        values: Values of the face's vertices.
        links: (F, F) sparse links of these vertices, as `vertex_links` gives them.
        hidden: (F,) rows to be replaced.
    """
    from scipy.sparse import diags_array
    from scipy.sparse.linalg import splu

    laplacian = graph_laplacian(links)
    matrix = laplacian + diags_array(np.where(hidden, 1e-6, 1e4))
    right = np.where(hidden[:, None], 0.0, 1e4 * values)
    mean = values[~hidden].mean(axis=0)
    solved = splu(matrix.tocsc()).solve(right + 1e-6 * hidden[:, None] * mean)
    return np.where(hidden[:, None], solved, values)


def hair_free(albedo: Float, weight: Float32, areas: SkinAreas, sides: Bool) -> Float32:
    """Weights (P, F) of subjects' albedos without hair over the edges of the face.

    On forehead, temples and cheeks before the ears a colour much darker than the subject's own plain skin is
    hair.

    Args:
        albedo: (P, F, 3) colour of each subject.
        weight: (P, F) its weights.
        areas: Areas of the face.
        sides: (F,) vertices at the edge of the face, where hair hangs.
    """
    luma = albedo @ LUMA.astype(np.float32)
    middle = areas.plain & ~sides
    out = weight.copy()
    for row, (brightness, w) in enumerate(zip(luma, weight)):
        known = middle & (w > 0.2)
        if known.sum() < 50:
            continue
        tone, spread = np.median(brightness[known]), 0.12
        dark = np.clip((0.86 - brightness / max(float(tone), 1e-3)) / spread, 0.0, 1.0)
        out[row] = w * np.where(sides, 1.0 - dark, 1.0)
    return out


def vertex_areas(model: FaceModel) -> Float64:
    """(N,) a third of the triangles' areas around each vertex of the mean face, mm^2."""
    corners = model.mean[model.triangles].astype(np.float64)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 6
    found = np.bincount(model.triangles.ravel(), np.repeat(area, 3), model.n_vertices)
    return np.asarray(found, np.float64)


def _weighted_fit(features: Float64, values: Float, weight: Float64) -> Float64:
    """Coefficients of the weighted least squares of values on features, slightly damped."""
    matrix = features.T @ (weight[:, None] * features)
    matrix[np.diag_indices_from(matrix)] += 1e-9 * np.trace(matrix)
    return np.asarray(
        np.linalg.solve(matrix, features.T @ (weight[:, None] * values.reshape(len(values), -1))), np.float64
    ).reshape((features.shape[1], *values.shape[1:]))
