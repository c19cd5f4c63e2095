"""Photos of smooth faces with drawn wrinkles: the relief of the labels is exact.

A photo's own fine shading is taken out of its skin, procedural wrinkles and pores are laid on the coarse face
through its atlas, and the photo is multiplied by new over old shading: the wrinkles' slopes under the fitted
light or another, and the occlusion in their furrows. Marks of the skin, strands, shadows, shine and a poor
camera change the image only.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from facerelief.errors import FacereliefError
from facerelief.inference.crops import FINE_MARGIN, fine_crop
from facerelief.lab.datasets.fine import DEPTH_STEP, FineCropConfig
from facerelief.lab.datasets.fits import Fit, FitFolder
from facerelief.lab.datasets.photo_lights import moved_light
from facerelief.lab.datasets.samples import Sample, about_source, photo_rng, sample_key
from facerelief.lab.datasets.wrinkle_families import face_lines
from facerelief.lab.datasets.wrinkle_lines import anatomy, heights
from facerelief.lab.datasets.wrinkle_marks import cast_shadow, photographed, skin_marks, strands
from facerelief.lab.datasets.wrinkle_skin import Drawn, SkinBase, shining, skin_texture
from facerelief.morphable.model import FaceModel
from facerelief.synthesis.relief_photo import ReliefPhoto, neutral_width
from facerelief.synthesis.transfer import ReliefView
from facerelief.typed import Float32, Float64, Image

_DEEPEST, _HIGHEST = 1.3, 2.2
"""mm: furrows and folds approach these, however strong."""
_TINT = 0.3
"""Share of the colour of other photos' lights that is kept."""


@dataclass(frozen=True)
class WrinkleConfig(FineCropConfig):
    """Ranges of samples with drawn wrinkles."""

    age: tuple[float, float] = (0.0, 1.15)
    """Age of the wrinkles, 0 of the young to 1 of the old: between these."""
    smooth: float = 0.12
    """Share of the samples without any wrinkle."""
    strength: tuple[float, float] = (0.8, 1.9)
    """All heights of a sample are multiplied by a number between these."""
    asymmetry: tuple[float, float] = (0.3, 0.8)
    """Share of the wrinkles' random numbers that differ between the sides of the face: between these."""
    pores: tuple[float, float] = (0.0, 0.025)
    """Deviation of the fine texture, mm: between these."""
    relit: float = 0.6
    """Share of the samples with another light."""
    turn: tuple[float, float] = (15.0, 55.0)
    """Another photo's light is turned about the head by this many degrees, either way."""
    darkest: tuple[float, float] = (0.4, 0.85)
    """A new light is made so uneven that the darkest part of the face has a share of the mean shading between
    these."""
    occlusion: tuple[float, float] = (0.25, 0.8)
    """Strength of the darkening of furrows by their walls: between these; it changes the image only."""
    marks: float = 1.0
    """Factor of the shares of samples with moles, freckles, stubble, make-up, strands, shadows, shine; 0 for
    none."""
    camera: float = 0.5
    """Share of the samples with blur, noise or JPEG."""
    keep_shading: bool = False
    """Keep the photo's own fine shading; otherwise it is taken out of plain skin."""
    least_face_px: float = 100.0
    """Photos with a smaller face give no samples."""
    roughest: float = 0.04
    """Nor do those whose own fine shading is stronger: root mean square of the logarithm, 0.8 to 3 px."""
    least_skin: float = 0.75
    """Nor do those with less of the plain skin bare: a mean mask of trust."""

    def __post_init__(self) -> None:
        if self.size < 32:
            raise ValueError(f"size is {self.size}: expected at least 32")
        for name in ("strength", "asymmetry", "pores", "turn", "darkest", "occlusion"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(f"{name} is {low} to {high}: expected 0 <= low <= high")


class WrinkleMaker:
    """Makes samples with drawn wrinkles; see `samples.Maker`.

    Labels are those of `fine.FineMaker` but `gains`, and these maps (S, S):

    - known: uint8, 0..255, weight of the truth: less where lids, lips and nostrils have relief that is not
      drawn
    - trust: uint8, 0..255, mask of trust: bare skin without marks, strands, shine and edges of shadows
    - age: (1,) float32 of the wrinkles; 0 where there are none
    """

    def __init__(self, fits: FitFolder, model: FaceModel, config: WrinkleConfig | None = None) -> None:
        fits.check_model(model)
        if "ibug68" not in model.landmarks:
            raise FacereliefError(f"{model.name}: no iBUG landmarks; wrinkles need them")
        self.fits, self.model, self.config = fits, model, config or WrinkleConfig()
        self._width = neutral_width(model, np.zeros(0, np.float32))

    def __call__(self, fit: Fit, count: int, seed: int) -> Iterator[Sample]:
        """`count` samples of one photo. Raises FacereliefError where it shows too little smooth skin."""
        config = self.config
        image = self.fits.image(fit)
        photo = ReliefPhoto(
            self.model, image, fit.camera, fit.identity, fit.expression, fit.albedo, fit.light, fit.relief
        )
        face = photo.crop.side / FINE_MARGIN
        if face < config.least_face_px:
            raise FacereliefError(
                f"{fit.name}: face of {face:.0f} px, expected at least {config.least_face_px:.0f}; "
                "give a larger photo"
            )
        self._check_smooth(fit, photo)
        for number in range(count):
            yield self._sample(fit, photo, number, seed, photo_rng(seed, fit.name, number))

    def _check_smooth(self, fit: Fit, photo: ReliefPhoto) -> None:
        crop = fine_crop(photo.uvz[self.model.face_vertices], self.config.size, roll=photo.camera.roll)
        base = SkinBase(ReliefView(photo, crop))
        if base.bare < self.config.least_skin:
            raise FacereliefError(
                f"{fit.name}: {100 * base.bare:.0f} % of the plain skin is bare, expected at least "
                f"{100 * self.config.least_skin:.0f} %; give a photo without beard, glasses and fringe"
            )
        if base.roughness > self.config.roughest:
            raise FacereliefError(
                f"{fit.name}: fine shading of {base.roughness:.3f}, expected at most {self.config.roughest}; "
                "give a photo of smoother skin"
            )

    @functools.cached_property
    def _lights(self) -> dict[str, Float32]:
        """By split: (F, 9, 3) lights of sure fits, at most 400, their unevenness nearly white: coloured ones,
        turned and made stronger, look like stage lights."""
        found: dict[str, list[Float32]] = {}
        for name in self.fits.names:
            try:
                fit = self.fits.load(name)
            except FacereliefError:
                continue
            if fit.confidence >= 0.8 and not fit.warnings and len(found.setdefault(fit.split, [])) < 400:
                level = np.maximum(fit.light[:1], np.float32(1e-3))
                even = fit.light / level
                grey = even.mean(axis=1, keepdims=True)
                found[fit.split].append(level * (grey + np.float32(_TINT) * (even - grey)))
        return {split: np.stack(lights) for split, lights in found.items() if lights}

    def _sample(
        self, fit: Fit, photo: ReliefPhoto, number: int, seed: int, rng: np.random.Generator
    ) -> Sample:
        config = self.config
        crop = fine_crop(photo.uvz[self.model.face_vertices], config.size, config.margin, photo.camera.roll)
        base = SkinBase(ReliefView(photo, crop.jittered(rng, config.shift, config.zoom, config.roll)))
        view = base.view
        age, smooth, relit = rng.uniform(*config.age), rng.random(), rng.random()
        age = 0.0 if smooth < config.smooth else float(age)
        light = moved_light(view, self._lights.get(fit.split), rng, config.turn, config.darkest)
        light = light if relit < config.relit else None
        weights = dict(zip(self.model.expression_names, fit.expression.tolist()))
        height = self.height(age if smooth >= config.smooth else None, weights, rng)
        marks = (
            skin_marks(anatomy(self.model), max(age, 0.0), rng, config.marks) if config.marks > 0 else None
        )
        drawn = base.drawn(
            height * np.float32(photo.width / self._width), light, rng.uniform(*config.occlusion), marks
        )
        image, cover = self._image(base, drawn, light, rng)
        return self._labelled(
            fit, base, drawn, image, cover, light, age, about_source(fit, "wrinkles", number, seed)
        )

    def height(self, age: float | None, weights: dict[str, float], rng: np.random.Generator) -> Float32:
        """(h, w) mm, random heights in the atlas.

        Args:
            age: 0 young to 1 old; None for skin without wrinkles and pores.
            weights: ARKit expression -> weight.
            rng: Random numbers; as many are taken for every age and expression.
        """
        config, place = self.config, anatomy(self.model)
        seed = [int(x) for x in rng.integers(2**31, size=2)]
        asymmetry, strength = rng.uniform(*config.asymmetry), rng.uniform(*config.strength)
        pores = rng.uniform(*config.pores)
        if age is None:
            return np.zeros(place.shape, np.float32)
        out = heights(face_lines(place, age, weights, asymmetry, seed), place)
        out += skin_texture(self.model, age, pores, np.random.default_rng(seed))
        out *= np.float32(strength)
        limit = np.where(out < 0, np.float32(_DEEPEST), np.float32(_HIGHEST))
        return limit * np.tanh(out / limit)

    def _image(
        self, base: SkinBase, drawn: Drawn, light: Float64 | None, rng: np.random.Generator
    ) -> tuple[Image, Float32]:
        """The image with its confounders, and (S, S) 0..1, what hides bare skin."""
        config, view = self.config, base.view
        factor, cover = drawn.factor, drawn.cover.copy()
        if not config.keep_shading:
            factor = factor * base.cleaning
        image = view.multiplied(factor, light)
        if rng.random() < 0.2 * config.marks:
            shadow, edge = cast_shadow(view.crop.size, rng)
            image, cover = (image * shadow + np.float32(0.5)).astype(np.uint8), np.maximum(cover, edge)
        if rng.random() < 0.35 * config.marks:
            image, bright = shining(image, view, drawn.normals, rng)
            cover = np.maximum(cover, bright)
        if rng.random() < 0.12 * config.marks:
            image, hair = strands(image, rng)
            cover = np.maximum(cover, hair)
        if rng.random() < config.camera:
            image = photographed(image, rng)
        return image, np.maximum(cover, image.max(axis=2) >= 254)

    def _labelled(
        self,
        fit: Fit,
        base: SkinBase,
        drawn: Drawn,
        image: Image,
        cover: Float32,
        light: Float64 | None,
        age: float,
        about: dict[str, Any],
    ) -> Sample:
        view = base.view
        mask, camera = view.mask, view.camera
        offset = float(np.median(view.depth[mask])) if mask.any() else 0.0
        depth = np.where(mask, np.rint((view.depth - offset) / DEPTH_STEP) * DEPTH_STEP, 0)
        marks = self.model.landmarks["ibug68"].of(view.uvz)
        uv = view.uvz[self.model.face_vertices, :2]
        about["relit"] = light is not None
        trust = base.trust * base.known * base.without_brows * (1 - np.clip(cover, 0, 1))
        return Sample(
            key=sample_key(fit, "wrinkles", about["number"]),
            image=image,
            labels={
                "displacement": drawn.displacement.astype(np.float16),
                "depth_coarse": depth.astype(np.float32),
                "depth_offset": np.array([offset], np.float32),
                "mask": mask.astype(np.uint8),
                "known": np.rint(255 * base.known).astype(np.uint8),
                "trust": np.rint(255 * trust).astype(np.uint8),
                "camera": camera.vector.astype(np.float32),
                "light": (view.light if light is None else light).astype(np.float32),
                "identity": fit.identity.astype(np.float32),
                "expression": fit.expression.astype(np.float32),
                "albedo": fit.albedo.astype(np.float32),
                "landmarks68": marks.astype(np.float32),
                "box": np.concatenate([uv.min(axis=0), uv.max(axis=0)]).astype(np.float32),
                "age": np.array([age], np.float32),
            },
            about=about,
        )
