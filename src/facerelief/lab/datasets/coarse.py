"""Images of the coarse kind (Guo et al., TPAMI 2019): a photo with another pose, expression and light.

Identity and skin stay; pose, expression and light change by `synthesis.Editor`, so every pixel still comes
from a photo. Head rolls, sizes and places change by a similarity of the finished image, which under weak
perspective is exact. Expressions and lights come from other fits of the same split, since real faces combine
them as no random numbers do, and from combinations that photos lack (closed eyes, open mouths, puckers).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import FacereliefError
from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.patch import DepthPatch
from facerelief.geometry.rotation import matrix_from_euler
from facerelief.inverse.detail import coarse_depth, photo_albedo
from facerelief.lab.datasets.fits import Fit, FitFolder
from facerelief.lab.datasets.samples import Sample, about_source, photo_rng, sample_key
from facerelief.morphable.front import solid_triangles
from facerelief.morphable.model import FaceModel
from facerelief.rendering.lighting import LUMA, rotate_light, shade
from facerelief.rendering.rasterizer import rasterize
from facerelief.synthesis.vocabulary import EXPRESSIONS
from facerelief.typed import Float, Float32

if TYPE_CHECKING:
    from facerelief.face.reconstruction import Reconstruction
    from facerelief.synthesis.edit import Editor


@dataclass(frozen=True)
class CoarseConfig:
    """Ranges of the changes to a photo."""

    size: int = 256
    """Side of the image, px."""
    margin: float = 1.6
    """Side of the image over the face's longer side, before jitter."""
    yaw: float = 60.0
    """Yaw in degrees stays within plus and minus this."""
    turn: float = 42.0
    """Largest turn in degrees away from the photo's own yaw."""
    pitch: float = 8.0
    """Standard deviation in degrees of the change of pitch, cut at 20."""
    roll: float = 10.0
    """Standard deviation in degrees of roll, cut at 35."""
    shift: float = 0.05
    """Standard deviation of the face's place, as a share of the image's side."""
    zoom: float = 0.10
    """Standard deviation of the logarithm of the face's size."""
    keep: float = 0.15
    """Share of images with the photo's own expression."""
    units: float = 0.3
    """Share of images with combinations of the named expressions; the rest get another fit's."""
    lights: float = 0.5
    """Share of images with another light."""
    rotate: float = 60.0
    """Other lights are turned about the vertical axis by up to this, degrees."""
    least_confidence: float = 0.5
    """Photos whose fit is less sure than this are left out."""
    smallest_px: float = 60.0
    """Photos whose face is smaller than this are left out."""


@dataclass(frozen=True)
class Variation:
    """Changes of one image."""

    camera: WeakPerspective
    """In the working image."""
    expression: Float32
    """(E,)"""
    light: Float32
    """(9, 3)"""
    similarity: Float
    """(2, 3) working image to sample, px (pixel centres at +0.5)."""


@dataclass
class Prepared:
    """A prepared photo: its working image with the face on it, and the editor."""

    editor: Editor
    reconstruction: Reconstruction
    size: int
    """Side of the working image, px."""


class CoarseMaker:
    """Makes coarse samples; see `samples.Maker`.

    Labels of a sample, in the image's pixels and the conventions of the project: camera (6,) pitch, yaw,
    roll, translation_u, translation_v, scale; identity (K,), expression (E,), albedo (A,), light (9, 3);
    landmarks68 (68, 3) and landmarks478 (478, 3) px, px, mm along camera z; visible68 (68,) uint8; box (4,)
    of the face region.
    """

    def __init__(self, fits: FitFolder, model: FaceModel, config: CoarseConfig | None = None) -> None:
        self.fits, self.model, self.config = fits, model, config or CoarseConfig()
        self.spent_ms: dict[str, float] = {}
        self._pools: dict[str, tuple[Float32, Float32]] = {}

    def __call__(self, fit: Fit, count: int, seed: int) -> Iterator[Sample]:
        """`count` images of one photo. Raises FacereliefError for a photo of no use."""
        started = time.perf_counter()
        ready = self.prepare(fit)
        self._spend("prepare", started)
        for number in range(count):
            yield self.sample(ready, fit, number, seed)

    def prepare(self, fit: Fit) -> Prepared:
        """The photo cut and scaled as samples need it. Raises FacereliefError for a photo of no use."""
        from facerelief.synthesis.edit import Editor

        c = self.config
        if fit.confidence < c.least_confidence:
            raise FacereliefError(
                f"{fit.name}: confidence {fit.confidence:.2f} is below {c.least_confidence}"
            )
        whole = self.fits.reconstruction(fit, self.model)
        uv = whole.camera.project(whole.vertices[self.model.face_vertices])[:, :2]
        low, high = uv.min(axis=0), uv.max(axis=0)
        face = float((high - low).max())
        if face < c.smallest_px:
            raise FacereliefError(
                f"{fit.name}: a face of {face:.0f} px, expected at least {c.smallest_px:.0f}"
            )
        size = round(1.3 * c.size)
        side = c.margin * face * size / c.size
        cut = _cut(whole, (low + high) / 2 - side / 2, size / side, size)
        return Prepared(Editor(cut), cut, size)

    def sample(self, ready: Prepared, fit: Fit, number: int, seed: int) -> Sample:
        """Sample `number` of a prepared photo."""
        rng = photo_rng(seed, fit.name, number)
        varied = self.vary(ready, fit.split, rng)
        return self.make(ready, fit, varied, number, seed)

    def make(self, ready: Prepared, fit: Fit, varied: Variation, number: int, seed: int) -> Sample:
        """The sample of a variation."""
        import cv2

        started = time.perf_counter()
        made = ready.editor.render(varied.camera, varied.expression, varied.light)
        started = self._spend("render", started)
        size = self.config.size
        matrix = varied.similarity.astype(np.float64).copy()
        # OpenCV counts pixel centres from 0
        matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
        image = cv2.warpAffine(
            made.image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        r, camera = ready.reconstruction, made.camera.moved(varied.similarity)
        labels = image_labels(
            self.model, camera, made.vertices, r.identity, made.expression, r.albedo, made.light, size
        )
        self._spend("labels", started)
        about = about_source(fit, "coarse", number, seed)
        return Sample(sample_key(fit, "coarse", number), np.asarray(image, np.uint8), labels, about)

    def vary(self, ready: Prepared, split: str, rng: np.random.Generator) -> Variation:
        """A random variation of a prepared photo."""
        c, r = self.config, ready.reconstruction
        expressions, lights = self._pool(split)
        camera = ready.editor.camera(yaw=self._yaw(r.camera.yaw, rng), pitch=self._pitch(r.camera.pitch, rng))
        expression = self._expression(r.expression, expressions, rng)
        light = r.light
        if rng.random() < c.lights and len(lights):
            turned = np.radians(rng.uniform(-c.rotate, c.rotate))
            light = _as_bright(_turned(lights[rng.integers(len(lights))], turned), r.light, rng)
        angle = np.radians(float(np.clip(rng.normal(0, c.roll), -35, 35))) - r.camera.roll
        zoom = float(np.exp(np.clip(rng.normal(0, c.zoom), -0.25, 0.25))) * c.size * 1.3 / ready.size
        low, high = _face_box(self.model, r.vertices, camera)
        middle = (low + high) / 2
        place = np.full(2, c.size / 2) + np.clip(rng.normal(0, c.shift, 2), -0.12, 0.12) * c.size
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) * zoom
        return Variation(camera, expression, light, np.column_stack([turn, place - turn @ middle]))

    def _yaw(self, own: float, rng: np.random.Generator) -> float:
        """Mostly further away than in the photo, where nothing new comes to light, or nearly as it was."""
        c = self.config
        if rng.random() < 0.4:
            angle = own + np.radians(rng.normal(0, 8))
        else:
            side = np.sign(own) if abs(own) > np.radians(8) else rng.choice([-1.0, 1.0])
            angle = own + side * np.radians(rng.uniform(0, c.turn))
        most = max(np.radians(c.yaw), abs(own))
        return float(np.clip(angle, -most, most))

    def _pitch(self, own: float, rng: np.random.Generator) -> float:
        change = np.clip(rng.normal(0, self.config.pitch), -20, 20)
        return own + float(np.radians(change))

    def _expression(self, own: Float32, others: Float32, rng: np.random.Generator) -> Float32:
        c, low, high = self.config, *self.model.expression_bounds
        kind = rng.random()
        index = {name: i for i, name in enumerate(self.model.expression_names)}
        out = own.astype(np.float32).copy()
        if kind >= c.keep + c.units and len(others):
            out = others[rng.integers(len(others))] * np.float32(rng.uniform(0.5, 1.2))
        elif kind >= c.keep:
            known = [n for n, parts in EXPRESSIONS.items() if all(p in index for p in parts)]
            out *= np.float32(rng.uniform(0, 0.5))
            for name in rng.choice(known, int(rng.integers(1, 3)), replace=False):
                gain = rng.uniform(0.4, 1.0)
                for part, weight in EXPRESSIONS[str(name)].items():
                    out[index[part]] = max(out[index[part]], gain * weight)
        if kind >= c.keep:
            out = out + rng.normal(0, 0.03, len(out)).astype(np.float32) * (rng.random(len(out)) < 0.3)
            if rng.random() < 0.1:  # blinks happen in any expression
                for name in ("eyeBlinkLeft", "eyeBlinkRight"):
                    if name in index:
                        out[index[name]] = rng.uniform(0.5, 1.0)
        return np.clip(out, max(low, 0.0), high).astype(np.float32)

    def _pool(self, split: str) -> tuple[Float32, Float32]:
        """Expressions (M, E) and lights (M, 9, 3) of the split's fits, in the order of their names."""
        if split not in self._pools:
            sure: list[Fit] = []
            for name in self.fits.names:
                with suppress(FacereliefError):  # a damaged one is reported when its own turn comes
                    fit = self.fits.load(name)
                    if fit.split == split and fit.confidence >= 0.6 and not fit.warnings:
                        sure.append(fit)
            empty = np.zeros((0, self.model.n_expression), np.float32), np.zeros((0, 9, 3), np.float32)
            self._pools[split] = (
                (np.stack([fit.expression for fit in sure]), np.stack([fit.light for fit in sure]))
                if sure
                else empty
            )
        return self._pools[split]

    def _spend(self, what: str, started: float) -> float:
        now = time.perf_counter()
        self.spent_ms[what] = self.spent_ms.get(what, 0.0) + 1e3 * (now - started)
        return now


def image_labels(
    model: FaceModel,
    camera: WeakPerspective,
    vertices: Float32,
    identity: Float32,
    expression: Float32,
    albedo: Float32,
    light: Float32,
    size: int,
) -> dict[str, NDArray[Any]]:
    """The labels of an image of `size` px that shows vertices (N, 3), model space, mm; see `CoarseMaker`."""
    projected = camera.project(vertices).astype(np.float32)
    marks = model.landmarks["ibug68"].of(projected).astype(np.float32)
    return {
        "camera": camera.vector,
        "identity": np.asarray(identity, np.float32),
        "expression": np.asarray(expression, np.float32),
        "albedo": np.asarray(albedo, np.float32),
        "light": np.asarray(light, np.float32),
        "landmarks68": marks,
        "landmarks478": model.landmarks["mediapipe478"].of(projected).astype(np.float32),
        "visible68": visible(projected, solid_triangles(model)[0], marks, size),
        "box": np.concatenate(_face_box(model, vertices, camera)).astype(np.float32),
    }


def visible(
    projected: Float32, triangles: NDArray[np.integer], marks: Float32, size: int
) -> NDArray[np.uint8]:
    """(L,) 1 for landmarks (L, 3) inside an image of `size` px that nothing of the head hides by more than
    4 mm; projected (N, 3) px, px, mm."""
    half = projected * np.array([0.5, 0.5, 1.0], np.float32)
    rendered = rasterize(half, triangles, size // 2, size // 2)
    column, row = (np.floor(marks[:, k] / 2).astype(int) for k in (0, 1))
    inside = (column >= 0) & (row >= 0) & (column < size // 2) & (row < size // 2)
    at = np.clip(row, 0, size // 2 - 1), np.clip(column, 0, size // 2 - 1)
    nearest = np.nan_to_num(rendered.depth[at], nan=-np.inf)
    return (inside & (nearest < marks[:, 2] + 4.0)).astype(np.uint8)


def _face_box(model: FaceModel, vertices: Float32, camera: WeakPerspective) -> tuple[Float32, Float32]:
    uv = camera.project(vertices[model.face_vertices])[:, :2]
    return uv.min(axis=0), uv.max(axis=0)


def _cut(r: Reconstruction, corner: Float32, zoom: float, size: int) -> Reconstruction:
    """The square (corner, size / zoom) of a reconstruction's photo at size x size px, with all that belongs
    to it; beside the photo its border goes on (mirrored, it would show second faces)."""
    import cv2

    def cut(x: NDArray[Any], left: float, top: float, flags: int, border: int) -> NDArray[Any]:
        shift = [(left - corner[0] + 0.5) * zoom - 0.5, (top - corner[1] + 0.5) * zoom - 0.5]
        matrix = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
        return np.asarray(cv2.warpAffine(x, matrix, (size, size), flags=flags, borderMode=border))

    def shrunk(x: NDArray[Any]) -> NDArray[Any]:
        return x if zoom >= 1 else np.asarray(cv2.GaussianBlur(x, (0, 0), 0.45 / zoom))

    image = cut(shrunk(r.image), 0, 0, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)
    camera = r.camera.in_crop(float(corner[0]), float(corner[1]), zoom)
    coarse = coarse_depth(r.model, r.vertices, camera, image.shape)
    fine, skin = None, None
    if r.fine is not None:
        relief = np.nan_to_num(r.fine.depth - r.coarse.depth).astype(np.float32)
        known = np.isfinite(r.fine.depth).astype(np.float32)
        share = cut(shrunk(known), r.fine.left, r.fine.top, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)
        values = cut(shrunk(relief), r.fine.left, r.fine.top, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)
        values = values / np.maximum(share, np.float32(0.05))
        h, w = coarse.depth.shape
        part = values[coarse.top : coarse.top + h, coarse.left : coarse.left + w]
        fine = DepthPatch((coarse.depth + part).astype(np.float32), coarse.left, coarse.top)
        skin = photo_albedo(r.model, image, r.vertices, camera, r.albedo, r.light, fine)
    left, top, right, bottom = (float(x) for x in (np.array(r.box) - np.tile(corner, 2)) * zoom)
    return replace(
        r,
        image=image.astype(np.uint8),
        camera=camera,
        box=(left, top, right, bottom),
        coarse=coarse,
        fine=fine,
        skin=skin,
    )


_AROUND = np.array(
    [[0.0, 0.0, 1.0], [0.5, 0.0, 0.87], [-0.5, 0.0, 0.87], [0.0, 0.5, 0.87], [0.0, -0.5, 0.87]]
)
"""Normals over which the brightness of lights is compared."""


def _as_bright(light: Float32, own: Float32, rng: np.random.Generator) -> Float32:
    """A light made as bright on the face as the photo's own, more or less, and half as coloured."""
    new, old = (shade(_AROUND, x).mean(axis=0) for x in (light, own))
    gain = float(old @ LUMA) / max(float(new @ LUMA), 1e-3) * rng.uniform(0.8, 1.15)
    tint = np.sqrt((old / max(float(old @ LUMA), 1e-3)) / np.maximum(new / max(float(new @ LUMA), 1e-3), 0.2))
    return (light * gain * np.clip(tint, 0.5, 2.0)).astype(np.float32)


def _turned(light: Float32, angle: float) -> Float32:
    """The light (9, 3) turned about the vertical axis by `angle`, radians."""
    return np.asarray(rotate_light(light, matrix_from_euler(0.0, angle, 0.0)), np.float32)
