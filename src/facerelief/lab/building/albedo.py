"""Skin colours of the open model, learned from photos by the package's own inverse rendering.

Each fitted photo gives colours at the model's visible vertices. Dividing them by the light leaves albedo; a
robust principal component analysis over subjects, completed by symmetry, gives the model; with the new model
light is found again, and so on. Many photos separate what single ones cannot:

- skin tone from brightness: photos of one studio share their light (`Skin.studio`), so there all difference
  between subjects is albedo;
- albedo that varies over the face from uneven light: on average over subjects, plain skin must not depend on
  the direction it faces or on how deep it lies (`skin_light.without_light`).

Hair over the edges of the face and shadows of cavities are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import ModelError
from facerelief.geometry.adjacency import graph_laplacian, vertex_links
from facerelief.geometry.normals import vertex_normals
from facerelief.inverse.image_level import image_level
from facerelief.inverse.landmark_fit import FaceState
from facerelief.inverse.light_prior import N_LIGHT, LightPrior
from facerelief.lab.building.skin_light import (
    DARKEST,
    filled_cavities,
    hair_free,
    skin_areas,
    vertex_areas,
    without_light,
)
from facerelief.morphable.front import front_model
from facerelief.morphable.model import FaceModel
from facerelief.rendering.rasterizer import rasterize, visible_vertices
from facerelief.rendering.spherical_harmonics import sh_basis
from facerelief.runtime.threads import single_thread
from facerelief.typed import Bool, Float, Float16, Float32, Float64

_FACE_PX = 230
"""Photos are resampled to this face size: about a pixel for each vertex."""
SEEN_LEAST = 0.02
"""Vertices that fewer subjects show continue their surroundings."""
SIDE_MM = 52.0
TOP_MM = 48.0
"""Skin further to the side or higher may be covered by hair, mm in the model's frame."""


@dataclass(frozen=True)
class AlbedoConfig:
    """Size and weights of the albedo model's learning."""

    components: int = 100
    """Components to keep."""
    rounds: int = 5
    """Rounds of light, then model, at most."""
    settled: float = 0.002
    """Rounds end when the mean albedo changes by less (root mean square)."""
    imputations: int = 5
    """Rounds of completion within each analysis."""
    robust: float = 0.08
    """Colour residuals beyond this lose influence (Geman-McClure)."""
    regularisation: float = 5e-5
    """Weight of squared coefficients beside the mean squared colour difference, as in the photometric fit."""
    prior: LightPrior = field(default_factory=LightPrior)
    """Of the light of photos that come from no studio."""


@dataclass(frozen=True, eq=False)
class Skin:
    """One photo's colours at the face's vertices, in the order of `np.flatnonzero(model.face_vertices)`."""

    person: str
    studio: str
    """Photos of one studio share their light; empty for a photo on its own."""
    color: Float16
    """(F, 3) sRGB in [0, 1], float16."""
    normal: Float16
    """(F, 3) camera space, float16."""
    weight: Float16
    """(F,) 0 where not seen, rising to 1 where the surface faces the camera, float16."""


@dataclass(frozen=True, eq=False)
class AlbedoStatistics:
    """A learned albedo model over the face's vertices."""

    mean: Float32
    """(F, 3)"""
    components: Float32
    """(F, 3, A) of one standard deviation each."""
    persons: int
    """Number of subjects that it was learned from."""

    def truncated(self, count: int) -> AlbedoStatistics:
        return replace(self, components=self.components[:, :, :count])


def observe_skin(
    model: FaceModel,
    image: NDArray[np.uint8],
    box: tuple[float, float, float, float],
    state: FaceState,
    person: str = "",
    studio: str = "",
) -> Skin:
    """Colours of the visible skin in a fitted photo.

    Args:
        model: Face model of the fit.
        image: (H, W, 3) uint8 RGB.
        box: (left, top, right, bottom) of the face, px.
        state: Fitted pose and shape.
        person: Name of the subject.
        studio: Name of the studio, empty for a photo on its own.
    """
    import cv2

    model = front_model(model)
    level = image_level(image, box, _FACE_PX)
    camera = level.camera(state.camera)
    vertices = model.shape(state.identity, state.expression)
    uvz = camera.project(vertices)
    height, width = level.color.shape[:2]
    fragments = rasterize(uvz, model.triangles, height, width, cull_backfaces=True)
    normals = vertex_normals(camera.to_camera(vertices), model.triangles)
    face = np.flatnonzero(model.face_vertices)
    seen = visible_vertices(uvz, model.triangles, fragments, normals)[face]
    # beside the outline of the rendered face the photo may show something else
    inner = np.pad((fragments.triangle >= 0).astype(np.uint8), 1)
    edge = np.asarray(cv2.distanceTransform(inner, cv2.DIST_L2, 5))[1:-1, 1:-1]
    place = [np.clip(uvz[face, k], 0, size - 1).astype(int) for k, size in ((1, height), (0, width))]
    inside = np.zeros((height, width), bool)
    inside[level.inside] = True
    u, v = (np.ascontiguousarray(uvz[face, k] - 0.5, np.float32) for k in range(2))
    color = np.asarray(cv2.remap(level.color, u[:, None], v[:, None], cv2.INTER_LINEAR))[:, 0]
    facing = np.clip((normals[face, 2] - 0.2) / 0.5, 0, 1) * np.clip((edge[*place] - 1) / 4, 0, 1)
    weight = seen * inside[*place] * facing
    return Skin(
        person,
        studio,
        np.nan_to_num(color).astype(np.float16),
        normals[face].astype(np.float16),
        weight.astype(np.float16),
    )


class AlbedoLearner:
    """Lights of photos and the albedo model of their subjects, found in turns."""

    def __init__(
        self,
        model: FaceModel,
        photos: Sequence[Skin],
        config: AlbedoConfig | None = None,
        progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Raises ModelError for a model without mirror symmetry or fewer persons than components."""
        if model.symmetry is None:
            raise ModelError(f"model {model.name!r} has no mirror symmetry: its albedo cannot be learned")
        self.config, self.photos, self.progress = config or AlbedoConfig(), list(photos), progress
        self.persons = sorted({photo.person for photo in photos})
        if 2 * len(self.persons) < self.config.components:
            raise ModelError(
                f"{len(self.persons)} persons are too few for {self.config.components} albedo components; "
                "give more photos"
            )
        self.face = np.flatnonzero(model.face_vertices)
        number = np.full(model.n_vertices, -1)
        number[self.face] = np.arange(len(self.face))
        self.mirror = number[model.symmetry[self.face]]
        if (self.mirror < 0).any():
            raise ModelError(f"model {model.name!r}: the face's region is not symmetric")
        self.area = vertex_areas(model)[self.face]
        self.areas = skin_areas(model)
        at = model.mean[self.face]
        self.sides: Bool = (np.abs(at[:, 0]) > SIDE_MM) | (at[:, 1] > TOP_MM)
        self.links = vertex_links(model.triangles, model.n_vertices)[self.face][:, self.face]
        self.statistics = AlbedoStatistics(model.albedo_mean[self.face], model.albedo[self.face], 0)
        self.lights = np.tile(self.config.prior.mean(), (len(photos), 1))
        self.coefficients = np.zeros((len(photos), model.n_albedo))

    def learn(self) -> AlbedoStatistics:
        """All rounds."""
        with single_thread():
            for round_ in range(self.config.rounds):
                self.find_lights()
                self.progress(f"albedo round {round_ + 1} of {self.config.rounds}, before: {self.rms():.4f}")
                before = self.statistics.mean
                self.analyse()
                if float(np.sqrt(((self.statistics.mean - before) ** 2).mean())) < self.config.settled:
                    break
        return self.statistics

    def find_lights(self) -> None:
        """Light of every photo and albedo coefficients under the present model; studios share theirs."""
        self.coefficients = np.zeros((len(self.photos), self.statistics.components.shape[2]))
        for k, photo in enumerate(self.photos):
            if not photo.studio:
                self.lights[k], self.coefficients[k] = self.explain(photo, self.lights[k])
        for studio in sorted({photo.studio for photo in self.photos if photo.studio}):
            members = [k for k, photo in enumerate(self.photos) if photo.studio == studio]
            for _ in range(3):
                light = self._shared_light(members)
                for k in members:
                    self.lights[k] = light
                    _, self.coefficients[k] = self.explain(self.photos[k], light, fixed_light=True)

    def explain(
        self, photo: Skin, light: Float64 | None = None, *, fixed_light: bool = False, rounds: int = 4
    ) -> tuple[Float64, Float64]:
        """(27,) light and (A,) albedo coefficients of one photo under the present model.

        Minimises the robust mean squared colour difference with both priors by Gauss-Newton, on about 1,500
        vertices.
        """
        prior, mean_light = self.config.prior.precision(), self.config.prior.mean()
        light = (mean_light if light is None else light).copy()
        use = np.flatnonzero(np.asarray(photo.weight) > 0.05)
        use = use[:: max(len(use) // 1500, 1)]
        count = self.statistics.components.shape[2]
        coefficients = np.zeros(count)
        if len(use) < 50:
            return light, coefficients
        color = photo.color[use].astype(np.float64)
        weight = photo.weight[use].astype(np.float64) * self.area[use]
        weight /= weight.sum()
        harmonics = sh_basis(photo.normal[use].astype(np.float64))
        mean = self.statistics.mean[use].astype(np.float64)
        basis = self.statistics.components[use].astype(np.float64)
        reg = self.config.regularisation
        free = slice(count, None) if not fixed_light else slice(0, 0)
        rows = np.zeros((len(use), 3, count + N_LIGHT))
        for _ in range(rounds):
            # both at once: in turns, light would take what albedo explains as well
            albedo, shading = mean + basis @ coefficients, harmonics @ light.reshape(3, 9).T
            residual = albedo * shading - color
            robust = 1 / (1 + (residual**2).mean(axis=1) / self.config.robust**2) ** 2
            rows[:, :, :count] = basis * shading[:, :, None]
            for c in range(3):
                rows[:, c, count + 9 * c : count + 9 * c + 9] = albedo[:, c : c + 1] * harmonics
            w3 = np.repeat(weight * robust / 3, 3)
            flat = rows.reshape(-1, count + N_LIGHT)
            matrix = flat.T @ (w3[:, None] * flat)
            gradient = flat.T @ (w3 * residual.reshape(-1))
            matrix[np.arange(count), np.arange(count)] += reg
            gradient[:count] += reg * coefficients
            matrix[count:, count:] += reg * prior
            gradient[count:] += reg * prior @ (light - mean_light)
            moving = np.r_[0:count, np.arange(count + N_LIGHT)[free]]
            step = np.zeros(count + N_LIGHT)
            step[moving] = -np.linalg.solve(matrix[np.ix_(moving, moving)], gradient[moving])
            coefficients, light = coefficients + step[:count], light + step[count:]
        return light, coefficients

    def _shared_light(self, members: Sequence[int]) -> Float64:
        prior, mean_light = self.config.prior.precision(), self.config.prior.mean()
        matrix, right = self.config.regularisation * prior, self.config.regularisation * prior @ mean_light
        for k in members:
            photo = self.photos[k]
            albedo = self.statistics.mean + self.statistics.components @ self.coefficients[k]
            weight = photo.weight.astype(np.float64) * self.area
            weight /= max(weight.sum(), 1e-9) * len(members)
            harmonics = sh_basis(photo.normal.astype(np.float64))
            shading = harmonics @ self.lights[k].reshape(3, 9).T
            color = photo.color.astype(np.float64)
            residual = ((albedo * shading - color) ** 2).mean(axis=1)
            weight = weight / (1 + residual / self.config.robust**2) ** 2
            for c in range(3):
                rows = albedo[:, c : c + 1] * harmonics
                block = slice(9 * c, 9 * c + 9)
                matrix[block, block] += rows.T @ (weight[:, None] * rows) / 3
                right[block] += rows.T @ (weight * color[:, c]) / 3
        return np.asarray(np.linalg.solve(matrix, right), np.float64)

    def person_albedos(self) -> tuple[Float, Float32]:
        """(P, F, 3) albedo of each subject, colour over shading, and its weights (P, F)."""
        index = {person: i for i, person in enumerate(self.persons)}
        total = np.zeros((len(self.persons), len(self.face), 3), np.float32)
        weights = np.zeros((len(self.persons), len(self.face)), np.float32)
        for k, photo in enumerate(self.photos):
            shading = sh_basis(photo.normal.astype(np.float32)) @ self.lights[k].reshape(3, 9).T
            albedo = np.clip(photo.color / np.maximum(shading, 0.15), 0, 1.1).astype(np.float32)
            model = self.statistics.mean + self.statistics.components @ self.coefficients[k]
            residual = ((model * shading - photo.color) ** 2).mean(axis=1)
            clipped = np.clip((1.0 - photo.color.max(axis=1)) / 0.03, 0, 1)
            robust = 1 / (1 + residual / self.config.robust**2) ** 2
            weight = (photo.weight * robust * clipped).astype(np.float32)
            row = index[photo.person]
            total[row] += weight[:, None] * albedo
            weights[row] += weight
        albedo, known = total / np.maximum(weights, 1e-6)[:, :, None], np.minimum(weights, 1.0)
        return albedo, hair_free(albedo, known * ~self.areas.cavity, self.areas, self.sides)

    def analyse(self) -> None:
        """Robust principal components of the subjects and their mirror images, unseen parts completed."""
        from scipy.sparse.linalg import eigsh

        albedo, weight = self.person_albedos()
        albedo = np.concatenate([albedo, albedo[:, self.mirror]])
        weight = np.concatenate([weight, weight[:, self.mirror]])
        size, count = len(albedo), self.config.components
        metric = np.sqrt(self.area / self.area.mean()).astype(np.float32)[:, None]
        mean = (weight[:, :, None] * albedo).sum(axis=0) / np.maximum(weight.sum(axis=0), 1e-6)[:, None]
        # unseen: the mirrored side, in this subject's own tone, then the mean in that tone
        filled = self._completed(albedo, weight, mean)
        components = np.zeros((len(self.face), 3, count), np.float32)
        for _ in range(self.config.imputations):
            mean = filled.mean(axis=0)
            centred = ((filled - mean) * metric).reshape(size, -1)
            gram = (centred @ centred.T).astype(np.float64)
            values, vectors = eigsh(gram, count, v0=np.ones(size))
            values, vectors = np.maximum(values[::-1], 1e-12), vectors[:, ::-1]
            scale = np.sqrt(values)
            directions = ((vectors / scale).T @ centred).astype(np.float32)
            scores = centred @ directions.T
            # small components are mostly noise: keep of each what exceeds the tail
            tail = max((float(np.trace(gram)) - values.sum()) / max(size - count, 1), 0.0)
            shrink = np.clip(1 - tail / values, 0, 1).astype(np.float32)
            rebuilt = mean + ((scores * shrink) @ directions).reshape(size, -1, 3) / metric
            residual = ((albedo - rebuilt) ** 2).mean(axis=2)
            trust = (weight / (1 + residual / self.config.robust**2) ** 2)[:, :, None]
            filled = trust * albedo + (1 - trust) * rebuilt
            sizes = scale * np.sqrt(shrink) / np.sqrt(size)
            sizes = np.maximum(sizes, self._studio_deviation(scores)).astype(np.float32)
            components = (directions * sizes[:, None]).T.reshape(-1, 3, count) / metric[:, :, None]
        flat = np.concatenate([mean[:, :, None], components], axis=2).reshape(len(mean), -1)
        hidden = self.areas.cavity | (weight.sum(axis=0) < SEEN_LEAST * size)
        flat = filled_cavities(flat, self.links, hidden).reshape(len(mean), 3, -1)
        # components are symmetric or change sign in a mirror; the links of the mesh are not quite symmetric
        other = flat[self.mirror]
        flat = 0.5 * (flat + np.where((flat * other).sum(axis=(0, 1)) < 0, -1.0, 1.0) * other)
        mean, components = without_light(flat[:, :, 0], flat[:, :, 1:], self.areas, self.area)
        mean = np.maximum(mean, DARKEST)
        self.statistics = AlbedoStatistics(
            mean.astype(np.float32), _signed(components).astype(np.float32), len(self.persons)
        )

    def _studio_deviation(self, scores: Float) -> Float64:
        """(A,) root mean square score of the subjects whose skin tone is known from their studio's light.

        Elsewhere light has taken a part of it. scores (2 P, A), mirror images last.
        """
        known = {photo.person for photo in self.photos if photo.studio}
        use = np.array([person in known for person in self.persons] * 2)
        return np.sqrt((scores[use] ** 2).mean(axis=0)) if use.sum() >= 40 else np.zeros(scores.shape[1])

    def _completed(self, albedo: Float, weight: Float32, mean: Float) -> Float32:
        """(P, F, 3) unseen vertices from the mirrored side, else the mean in the subject's tone."""
        tone = (weight[:, :, None] * albedo).sum(axis=1) / np.maximum(
            (weight[:, :, None] * mean).sum(axis=1), 1e-6
        )
        fallback = np.clip(tone, 0.2, 2)[:, None] * mean
        other, other_weight = albedo[:, self.mirror], weight[:, self.mirror]
        share = weight / np.maximum(weight + (1 - weight) * other_weight, 1e-6)
        known = np.maximum(weight, other_weight)[:, :, None]
        mixed = share[:, :, None] * albedo + (1 - share)[:, :, None] * other
        return (known * mixed + (1 - known) * fallback).astype(np.float32)

    def rms(self) -> float:
        """Robust root mean square colour residual over all photos' seen vertices, with the lights and
        coefficients found last."""
        total = number = 0.0
        for k, photo in enumerate(self.photos):
            error, weight = self.residual(photo, self.lights[k], self.coefficients[k])
            cost = error**2 / (1 + (error / self.config.robust) ** 2)
            total, number = total + float((weight * cost).sum()), number + float(weight.sum())
        return float(np.sqrt(total / max(number, 1e-9)))

    def residual(self, photo: Skin, light: Float64, coefficients: Float64) -> tuple[Float64, Float64]:
        """(F,) root mean square over channels at each vertex, and weights (F,)."""
        albedo = self.statistics.mean + self.statistics.components @ coefficients
        shading = sh_basis(photo.normal.astype(np.float64)) @ light.reshape(3, 9).T
        error = np.sqrt(((albedo * shading - photo.color) ** 2).mean(axis=1))
        return error, photo.weight.astype(np.float64) * self.area


def with_albedo(model: FaceModel, statistics: AlbedoStatistics) -> FaceModel:
    """The model with these skin colours; beyond the face they go on smoothly (ears, neck, scalp).

    What is not connected with the face's skin (eyeballs) keeps its colours.
    """
    from scipy.sparse.csgraph import connected_components
    from scipy.sparse.linalg import splu

    n, face = model.n_vertices, model.face_vertices
    links = vertex_links(model.triangles, n)
    _, label = connected_components(links, directed=False)
    reached = np.isin(label, np.unique(label[face]))
    free = np.flatnonzero(reached & ~face)
    known = np.flatnonzero(face)
    laplacian = graph_laplacian(links)
    count = statistics.components.shape[2]
    values = np.concatenate([statistics.mean[:, :, None], statistics.components], axis=2).reshape(
        len(known), -1
    )
    spread = splu(laplacian[free][:, free].tocsc()).solve(
        -(laplacian[free][:, known] @ values.astype(np.float64))
    )
    mean, components = model.albedo_mean.copy(), np.zeros((n, 3, count), np.float32)
    for ids, part in ((known, values), (free, spread)):
        part = part.reshape(len(ids), 3, 1 + count)
        mean[ids], components[ids] = part[:, :, 0], part[:, :, 1:]
    # albedo cannot exceed 1; beneath the nose light is underestimated, and skin would
    mean = np.clip(mean, 0, 1)
    return replace(model, albedo_mean=mean, albedo=components)


def _signed(components: Float) -> Float:
    """Each component with the sign that makes skin lighter on the whole."""
    sign = np.where(components.sum(axis=(0, 1)) < 0, -1.0, 1.0)
    return components * sign
