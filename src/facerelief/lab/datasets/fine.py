"""FineData: photos of faces with other faces' wrinkles, and the relief that is truly there.

After Guo et al. (TPAMI 2019): relief moves from wrinkled source photos to target photos in three bands with
random gains, the target keeps its albedo, and is shaded anew. Subjects never cross splits: a photo takes
wrinkles and lights from photos of its own split alone.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import FacereliefError
from facerelief.inference.crops import FINE_MARGIN, FINE_SIZE, fine_crop
from facerelief.lab.datasets.fits import Fit, FitFolder
from facerelief.lab.datasets.photo_lights import moved_light
from facerelief.lab.datasets.samples import Sample, about_source, photo_rng, sample_key
from facerelief.morphable.model import FaceModel
from facerelief.rendering.spherical_harmonics import sh_basis
from facerelief.synthesis.face_map import face_map
from facerelief.synthesis.relief_photo import MappedRelief, ReliefPhoto
from facerelief.synthesis.transfer import ReliefView
from facerelief.typed import Float, Float32, Float64

_LINES = (0.75, 3.0)
"""px of a 256 px crop: relief between these Gaussians is wrinkles."""
DEPTH_STEP = 1 / 128
"""mm: coarse depths in labels are whole numbers of this, so that they pack well."""


@dataclass(frozen=True)
class FineCropConfig:
    """Ranges of the crops of FineNet's data sets."""

    size: int = FINE_SIZE
    """Side of the images, px."""
    margin: float = FINE_MARGIN
    """Side of the crop over the longer side of the coarse face."""
    shift: float = 0.03
    """The crop is moved by up to this share of its side, either way."""
    zoom: float = 0.08
    """The crop is larger or smaller by up to this share."""
    roll: float = 12.0
    """The image is turned by up to this many degrees, either way."""


@dataclass(frozen=True)
class FineConfig(FineCropConfig):
    """Ranges of FineData samples."""

    gains: tuple[float, float] = (0.3, 1.5)
    """Each band of a source's relief is multiplied by a number between these."""
    bands: int = 3
    """3: each band has its own number; 1: all have the same, so that relief is moved as it is."""
    transfer: bool = True
    """Without it every sample has its own photo's relief, whole: for comparison."""
    own: tuple[float, float] = (0.5, 1.0)
    """Share of a face's own relief that stays on plain skin: between these."""
    own_broad: float = 0.7
    """Share of that for the broadest band under a new light: most of that band stems from the old light."""
    relit: float = 0.5
    """Share of the samples with another light."""
    keep_shading: bool = False
    """Keep fine shading that the photo's own relief does not explain, but for most of it under another light;
    otherwise it is taken out of plain skin in all samples but the photo itself."""
    turn: tuple[float, float] = (15.0, 50.0)
    """Another photo's light is turned about the head by this many degrees, either way."""
    darkest: tuple[float, float] = (0.3, 0.6)
    """A new light is made so uneven that the darkest part of the face has a share of the mean shading between
    these: wrinkles are seen where light comes from a side."""
    sources: int = 160
    """At most this many photos of each split give wrinkles: those with the strongest reliable ones."""
    least_face_px: float = 100.0
    """Photos with a smaller face give no samples."""
    source_face_px: float = 200.0
    """Photos with a narrower face give no wrinkles."""
    source_yaw: float = 25.0
    """Nor do faces turned further, degrees."""
    source_confidence: float = 0.8
    """Nor do fits of less confidence."""
    source_bridge: float = 0.2
    """Nor do those on whose nose the image changes more sharply (`ReliefPhoto.bridge_step`): glasses."""
    source_seen: float = 0.8
    """Nor do faces with beards and fringes: this share of the plain skin must be seen and look like skin."""

    def __post_init__(self) -> None:
        if self.size < 32 or self.sources < 1:
            raise ValueError(f"size {self.size} and sources {self.sources}: expected at least 32 and 1")
        if self.bands not in (1, 3):
            raise ValueError(f"bands is {self.bands}: expected 1 or 3")
        for name in ("gains", "own", "turn", "darkest"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(f"{name} is {low} to {high}: expected 0 <= low <= high")


@dataclass(frozen=True)
class Wrinkled:
    """A photo that gives wrinkles."""

    name: str
    strength: float
    """Root mean square of what its finer relief on plain skin does to its own shading, as a share of that:
    how clearly its wrinkles are seen. In flat light relief is a guess, however high."""


class FineMaker:
    """Makes FineData samples; see `samples.Maker`.

    Sample 0 of a photo is the photo itself with its own relief; the others have a source's relief, and some
    another light. Labels, on the image's pixels (S, S) where maps:

    - displacement: float16, mm along camera z, toward the viewer, of `depth_coarse`; 0 off the mask
    - depth_coarse: float32, mm along camera z less its median over the mask, without the model's facets
      (`inverse.detail.rounded`), whole numbers of 1/128; 0 off the mask
    - mask: uint8, 1 on skin that faces the viewer, without eyes and the mouth's opening
    - depth_offset: (1,) float32, mm: what was subtracted
    - camera: (6,) float32, pitch, yaw, roll, translation_u, translation_v, scale, px of the image
    - light: (9, 3) float32, camera space; identity (K,), expression (E,), albedo (A,) float32
    - landmarks68: (68, 3) float32, u px, v px, z mm
    - box: (4,) float32, left, top, right, bottom of the face, px
    - gains: (6,) float32, of the source's three bands, finest first, and of the own: 0, 0, 0, 1, 1, 1 for
      sample 0
    """

    def __init__(self, fits: FitFolder, model: FaceModel, config: FineConfig | None = None) -> None:
        """Photos that give wrinkles are found when the first sample that needs one is made: some
        milliseconds for each fit of the folder."""
        fits.check_model(model)
        self.fits, self.model, self.config = fits, model, config or FineConfig()
        self.source: Callable[[str], MappedRelief] = functools.lru_cache(maxsize=self.config.sources)(
            self._mapped
        )
        """A source's relief in the atlas, by name; about 0.5 MB each are kept."""
        self._pools: dict[str, tuple[Wrinkled, ...]] = {}

    def __call__(self, fit: Fit, count: int, seed: int) -> Iterator[Sample]:
        """`count` samples of one photo. Raises FacereliefError where the face is too small."""
        config = self.config
        photo = self._photo(fit)
        if photo.crop.side / config.margin < config.least_face_px:
            raise FacereliefError(
                f"{fit.name}: face of {photo.crop.side / config.margin:.0f} px, "
                f"expected at least {config.least_face_px:.0f}; give a larger photo"
            )
        for number in range(count):
            rng = photo_rng(seed, fit.name, number)
            yield self._sample(fit, photo, number, seed, rng)

    def pool(self, split: str) -> tuple[Wrinkled, ...]:
        """The photos of a split that give wrinkles, strongest first."""
        if split not in self._pools:
            self._pools[split] = self._with_skin(self._candidates.get(split, []))
        return self._pools[split]

    def _photo(self, fit: Fit) -> ReliefPhoto:
        image = self.fits.image(fit)
        return ReliefPhoto(
            self.model, image, fit.camera, fit.identity, fit.expression, fit.albedo, fit.light, fit.relief
        )

    def _mapped(self, name: str) -> MappedRelief:
        return self._photo(self.fits.load(name)).mapped()

    @functools.cached_property
    def _candidates(self) -> dict[str, list[Wrinkled]]:
        """By split: fits that may give wrinkles, judged without their photos, strongest first."""
        known = face_map(self.model)
        plain = np.unique(known.triangles[known.fragments.triangle[known.front]])[::2].astype(np.intp)
        found: dict[str, list[Wrinkled]] = {}
        for name in self.fits.names:
            try:
                fit = self.fits.load(name)
            except FacereliefError:
                continue
            if (strength := self._strength(fit, plain)) > 0:
                found.setdefault(fit.split, []).append(Wrinkled(name, strength))
        for names in found.values():
            names.sort(key=lambda source: (-source.strength, source.name))
        return found

    def _strength(self, fit: Fit, plain: NDArray[np.intp]) -> float:
        """See `Wrinkled`, from a fit's relief at vertices of plain skin; 0 where it is not to be used."""
        import cv2

        config = self.config
        if (
            fit.warnings
            or fit.confidence < config.source_confidence
            or abs(fit.camera.yaw) > math.radians(config.source_yaw)
            or fit.relief.depth.shape[1] < config.source_face_px
        ):
            return 0.0
        height, width = fit.relief.depth.shape
        unit = max(height, width) * config.margin / 256.0
        shape = _shape_at(self.model, plain, fit.identity, fit.expression)
        uv = fit.camera.project(shape)[:, :2] - [fit.relief.left, fit.relief.top]
        column, row = np.floor(uv).astype(int).T
        seen = (column >= 0) & (row >= 0) & (column < width) & (row < height)
        if np.count_nonzero(seen) < 0.8 * len(plain):
            return 0.0
        relief = np.nan_to_num(fit.relief.depth)
        fine, broad = (np.asarray(cv2.GaussianBlur(relief, (0, 0), s * unit)) for s in _LINES)
        # slopes along which the light changes, by first order about a skin that faces the viewer
        k1, k2 = (float(c) for c in sh_basis([0.0, 0.6, 0.8])[[1, 5]] / [0.6, 0.48])
        light = fit.light.mean(axis=1)
        across, down = k1 * light[3] + k2 * light[7], -(k1 * light[1] + k2 * light[5])
        level = max(float(sh_basis([0.0, 0.0, 1.0]) @ light), 0.1)
        gradient = np.gradient((fine - broad) * np.float32(fit.camera.scale))
        shading = (across * gradient[1] + down * gradient[0]) / level
        values = np.square(shading[row[seen], column[seen]])
        # the highest are glasses and hair more often than wrinkles
        return float(np.sqrt(np.minimum(values, np.quantile(values, 0.98)).mean()))

    def _with_skin(self, candidates: list[Wrinkled]) -> tuple[Wrinkled, ...]:
        """The strongest of the candidates whose photos show skin."""
        front = face_map(self.model).front
        out: list[Wrinkled] = []
        for source in candidates:
            try:
                mapped = self.source(source.name)
            except FacereliefError:
                continue
            seen = float((mapped.weight[front] > 128).mean())
            if seen >= self.config.source_seen and mapped.bridge_step <= self.config.source_bridge:
                out.append(source)
            if len(out) == self.config.sources:
                break
        return tuple(out)

    def _sample(
        self, fit: Fit, photo: ReliefPhoto, number: int, seed: int, rng: np.random.Generator
    ) -> Sample:
        config = self.config
        face = photo.uvz[self.model.face_vertices]
        crop = fine_crop(face, config.size, config.margin, photo.camera.roll)
        about = about_source(fit, "fine", number, seed)
        if number == 0:
            view = ReliefView(photo, crop)
            return self._labelled(fit, view, view.own, None, np.repeat([0.0, 1.0], 3), about)
        view = ReliefView(photo, crop.jittered(rng, config.shift, config.zoom, config.roll))
        sources = self.pool(fit.split) if config.transfer else ()
        pool = [source.name for source in sources if source.name != fit.name]
        # sampled whether used or not, so that one choice does not change the next
        gains = rng.uniform(*config.gains, size=3)
        if config.bands == 1:
            gains[1:] = gains[0]
        own = rng.uniform(*config.own) if config.transfer else 1.0
        pick, relit = rng.random(), rng.random()
        light = None
        if relit < config.relit:
            light = moved_light(view, self._lights.get(fit.split), rng, config.turn, config.darkest)
        kept = own * np.array([1.0, 1.0, 1.0 if light is None else config.own_broad])
        if not config.transfer:
            kept = np.ones(3)
        source = None
        if pool:
            about["relief_from"] = name = pool[int(pick * len(pool))]
            source = self.source(name)
        else:
            gains = np.zeros(3)
        relief = view.moved(source, gains, kept)
        return self._labelled(fit, view, relief, light, np.concatenate([gains, kept]), about)

    @functools.cached_property
    def _lights(self) -> dict[str, Float32]:
        """By split: (F, 9, 3) lights of the fits that may give wrinkles: those are sure of theirs."""
        return {
            split: np.stack([self.fits.load(source.name).light for source in found[:400]])
            for split, found in self._candidates.items()
        }

    def _labelled(
        self,
        fit: Fit,
        view: ReliefView,
        relief: Float32,
        light: Float64 | None,
        gains: Float64,
        about: dict[str, Any],
    ) -> Sample:
        mask, camera = view.mask, view.camera
        offset = float(np.median(view.depth[mask])) if mask.any() else 0.0
        depth = np.where(mask, np.rint((view.depth - offset) / DEPTH_STEP) * DEPTH_STEP, 0)
        marks = self.model.landmarks["ibug68"].of(view.uvz)
        uv = view.uvz[self.model.face_vertices, :2]
        about["relit"] = light is not None
        return Sample(
            key=sample_key(fit, "fine", about["number"]),
            image=view.relit(relief, light, clean=about["number"] > 0 and not self.config.keep_shading),
            labels={
                "displacement": relief.astype(np.float16),
                "depth_coarse": depth.astype(np.float32),
                "depth_offset": np.array([offset], np.float32),
                "mask": mask.astype(np.uint8),
                "camera": camera.vector.astype(np.float32),
                "light": (view.light if light is None else light).astype(np.float32),
                "identity": fit.identity.astype(np.float32),
                "expression": fit.expression.astype(np.float32),
                "albedo": fit.albedo.astype(np.float32),
                "landmarks68": marks.astype(np.float32),
                "box": np.concatenate([uv.min(axis=0), uv.max(axis=0)]).astype(np.float32),
                "gains": gains.astype(np.float32),
            },
            about=about,
        )


def _shape_at(model: FaceModel, vertices: NDArray[np.intp], identity: Float32, expression: Float32) -> Float:
    """(V, 3) some vertices of a shape, mm."""
    own, moved = _rows(model, tuple(vertices.tolist()))
    return model.mean[vertices] + own[:, :, : len(identity)] @ identity + moved @ expression


@functools.lru_cache(maxsize=2)
def _rows(model: FaceModel, vertices: tuple[int, ...]) -> tuple[Float32, Float32]:
    index = np.array(vertices)
    return np.ascontiguousarray(model.identity[index]), np.ascontiguousarray(model.expression[index])
