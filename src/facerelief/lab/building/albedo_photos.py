"""`facerelief model albedo`: photos to the open model's skin colours, and a report on held-out subjects."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import FacereliefError, ModelError
from facerelief.inverse.fit import fit_face
from facerelief.lab.building.albedo import (
    AlbedoConfig,
    AlbedoLearner,
    AlbedoStatistics,
    Skin,
    observe_skin,
    with_albedo,
)
from facerelief.lab.datasets.photos import Photo
from facerelief.morphable.model import FaceModel
from facerelief.rendering.lighting import LUMA, ambient_light
from facerelief.rendering.spherical_harmonics import sh_basis
from facerelief.runtime.workers import ordered_results

COMPONENTS = (0, 5, 10, 20, 40, 60, 80, 100)
"""Numbers of components that the report compares."""


@dataclass(frozen=True)
class PhotoConfig:
    """Choice of photos for an albedo model."""

    studios: tuple[str, ...] = ()
    """Groups of photos that were taken under one light."""
    fits: int = 2
    """Times that all photos are fitted, each time with the model learned before."""
    hold_out: int = 6
    """Every n-th subject is kept for the report; 0 for none."""
    landmark_mm: float = 4.0
    """Photos whose landmarks disagree with the fit by more are left out."""
    version: str = ""
    """Version of the model that results; the one given, if empty."""
    credit: str = ""
    """Origin and licence of the photos; part of the model's licence line."""
    learning: AlbedoConfig = field(default_factory=AlbedoConfig)
    """Of each learning."""


@dataclass(frozen=True, eq=False)
class AlbedoBuild:
    """The model with learned skin, and the data of its report."""

    model: FaceModel
    statistics: AlbedoStatistics
    learner: AlbedoLearner
    held_out: list[Skin]
    groups: dict[str, str]
    """Person -> group."""


def build_albedo(
    model: FaceModel,
    photos: Sequence[Photo],
    config: PhotoConfig | None = None,
    *,
    state: Path | None = None,
    workers: int = 1,
    progress: Callable[[str], None] = lambda text: None,
) -> AlbedoBuild:
    """Learn the skin colours of a model from photos.

    state: folder that keeps what was seen on each photo, so that a build that was stopped goes on; may be
    deleted afterwards. Raises ModelError for too few persons or a model without mirror symmetry.
    """
    config = config or PhotoConfig()
    persons = sorted({photo.subject for photo in photos})
    kept = set(persons[:: config.hold_out]) if config.hold_out else set[str]()
    groups = {photo.subject: photo.group for photo in photos}
    learner, test = None, []
    for round_ in range(config.fits):
        seen = observe_photos(model, photos, config, state, workers=workers, progress=progress)
        train = [skin for skin in seen if skin.person not in kept]
        test = [skin for skin in seen if skin.person in kept]
        progress(
            f"fit {round_ + 1} of {config.fits}: {len(train)} photos to learn from, {len(test)} held out"
        )
        learner = AlbedoLearner(model, train, config.learning, progress)
        learner.learn()
        model = with_albedo(model, learner.statistics)
    if learner is None:
        raise ModelError("no round of fits was asked for; expected at least one")
    model = replace(model, version=config.version or model.version, licence=_licence(model, config))
    return AlbedoBuild(model, learner.statistics, learner, test, groups)


def _licence(model: FaceModel, config: PhotoConfig) -> str:
    """The model's terms with the photos' credit, said once."""
    if not config.credit or config.credit in model.licence:
        return model.licence
    return f"{model.licence}; skin learned from {config.credit}"


def observe_photos(
    model: FaceModel,
    photos: Sequence[Photo],
    config: PhotoConfig,
    state: Path | None = None,
    *,
    workers: int = 1,
    progress: Callable[[str], None] = lambda text: None,
) -> list[Skin]:
    """Fit every photo's best face and take its skin; unusable photos are left out with a note."""
    digest = _digest(model)
    jobs = [
        (photo, photo.group if photo.group in config.studios else "", _place(state, digest, photo))
        for photo in photos
    ]
    found: list[Skin] = []
    with ordered_results(_observe, jobs, workers=workers, start=_start, arguments=(model,)) as results:
        for done, (photo, (skin, off_mm, why)) in enumerate(zip(photos, results), 1):
            if skin is None:
                progress(f"left out: {why}")
            elif off_mm <= config.landmark_mm:
                found.append(skin)
            else:
                progress(f"left out: {photo.file}: its landmarks are {off_mm:.1f} mm off the fit")
            if done % 100 == 0:
                progress(f"photo {done} of {len(jobs)}")
    return found


def _digest(model: FaceModel) -> str:
    """Digest of a model's arrays: observations of one model are not those of another."""
    whole = hashlib.sha256()
    for array in (model.mean, model.identity, model.expression, model.albedo_mean, model.albedo):
        whole.update(np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()[:12]


def _place(state: Path | None, digest: str, photo: Photo) -> Path | None:
    if state is None:
        return None
    name = hashlib.sha256(str(photo.file.resolve()).encode()).hexdigest()[:16]
    return state / digest / f"{name}.npz"


_WORKER: list[FaceModel] = []


def _start(model: FaceModel) -> None:
    _WORKER[:] = [model]


def _observe(job: tuple[Photo, str, Path | None]) -> tuple[Skin | None, float, str]:
    from facerelief.detection import detect_faces
    from facerelief.io.images import read_image

    photo, studio, place = job
    if place is not None and place.is_file():
        with np.load(place, allow_pickle=False) as kept:
            skin = Skin(photo.subject, studio, kept["color"], kept["normal"], kept["weight"])
            return skin, float(kept["off_mm"]), ""
    try:
        image = read_image(photo.file)
    except FacereliefError as error:
        return None, 0.0, str(error)
    faces = detect_faces(image, max_faces=1)
    if not faces:
        return None, 0.0, f"{photo.file}: no face found"
    face = faces[0]
    fit = fit_face(_WORKER[0], image, face.box, face.landmarks)
    skin = observe_skin(_WORKER[0], image, face.box, fit.state, photo.subject, studio)
    off_mm = fit.spread_mm
    if place is not None:
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_suffix(".tmp.npz")
        np.savez(temporary, color=skin.color, normal=skin.normal, weight=skin.weight, off_mm=off_mm)
        temporary.replace(place)
    return skin, off_mm, ""


def albedo_report(build: AlbedoBuild) -> dict[str, Any]:
    """Robust colour residual of held-out subjects by number of components, and skin tone against light."""
    learner = build.learner
    groups = sorted({build.groups[skin.person] for skin in build.held_out})
    rows: list[dict[str, Any]] = []
    for count in COMPONENTS:
        if count > build.statistics.components.shape[2] or not build.held_out:
            continue
        learner.statistics = build.statistics.truncated(count)
        by_group: dict[str, list[float]] = {group: [] for group in groups}
        for skin in build.held_out:
            light, coefficients = learner.explain(skin)
            error, weight = learner.residual(skin, light, coefficients)
            cost = error**2 / (1 + (error / learner.config.robust) ** 2)
            value = float(np.sqrt((weight * cost).sum() / max(weight.sum(), 1e-9)))
            by_group[build.groups[skin.person]].append(value)
        every = [value for values in by_group.values() for value in values]
        rows.append(
            {"components": count, "all": float(np.mean(every))}
            | {group: float(np.mean(values)) for group, values in by_group.items()}
        )
    learner.statistics = build.statistics
    return {
        "persons": build.statistics.persons,
        "held_out_persons": len({skin.person for skin in build.held_out}),
        "held_out_photos": len(build.held_out),
        "residual": rows,
        "tone": {studio: _tones(build, studio) for studio in sorted(_studios(build))},
    }


def _studios(build: AlbedoBuild) -> set[str]:
    return {skin.studio for skin in [*build.learner.photos, *build.held_out] if skin.studio}


def _tones(build: AlbedoBuild, studio: str, parts: int = 4) -> dict[str, Any]:
    """All photos of a studio, each explained by itself as a user's photo is, dark skin to light.

    The studio's light is the same for all, so the light found should be too.
    """
    learner = build.learner
    photos = [skin for skin in [*learner.photos, *build.held_out] if skin.studio == studio]
    found: list[tuple[float, float, float]] = []
    for skin in photos:
        light, coefficients = learner.explain(replace(skin, studio=""))
        use = learner.areas.plain & (np.asarray(skin.weight) > 0.3)
        if use.sum() < 50:
            continue
        albedo = build.statistics.mean[use] + build.statistics.components[use] @ coefficients
        shading = sh_basis(skin.normal[use].astype(np.float64)) @ light.reshape(3, 9).T
        color = skin.color[use].astype(np.float64)
        found.append(tuple(float(np.median(x @ LUMA)) for x in (color, albedo, shading)))  # type: ignore[arg-type]
    table = np.array(sorted(found))
    rows = [
        {"photos": len(part), **dict(zip(("brightness", "albedo", "light"), part.mean(axis=0).tolist()))}
        for part in np.array_split(table, parts)
        if len(part)
    ]
    slope = float(np.polyfit(np.log(table[:, 0]), np.log(table[:, 2]), 1)[0]) if len(table) > 2 else 0.0
    return {"rows": rows, "light_share": slope}


def write_albedo_report(build: AlbedoBuild, folder: Path) -> dict[str, Any]:
    """albedo_report.json and albedo_model.jpg into a folder; returns the figures."""
    import cv2

    folder.mkdir(parents=True, exist_ok=True)
    about = albedo_report(build)
    (folder / "albedo_report.json").write_text(json.dumps(about, indent=1) + "\n", "utf-8")
    sheet = albedo_sheet(build.model)
    cv2.imwrite(str(folder / "albedo_model.jpg"), sheet[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    return about


def albedo_sheet(model: FaceModel, size: int = 200) -> NDArray[np.uint8]:
    """The mean, the first components at -2 and +2 deviations, random skins; in even light."""
    from facerelief.geometry import Mesh, WeakPerspective
    from facerelief.rendering import preview_sheet, shade_mesh

    points = model.mean[model.face_vertices]
    scale = 0.9 * size / float(np.ptp(points, axis=0)[:2].max())
    middle = (points.min(axis=0) + points.max(axis=0)) / 2

    def drawn(albedo: NDArray[np.floating] | None) -> NDArray[np.uint8]:
        camera = WeakPerspective(
            0, 0, 0, size / 2 - scale * float(middle[0]), size / 2 + scale * float(middle[1]), scale
        )
        mesh = Mesh(model.mean, model.triangles, np.clip(model.skin(albedo), 0, 1))
        return shade_mesh(mesh, camera, size, size, light=ambient_light())[0]

    panels = [("mean", drawn(None))]
    for k in range(min(7, model.n_albedo)):
        for deviations in (-2.0, 2.0):
            albedo = np.zeros(model.n_albedo)
            albedo[k] = deviations
            panels.append((f"{k + 1}: {deviations:+.0f}", drawn(albedo)))
    rng = np.random.default_rng(0)
    panels += [(f"random {k + 1}", drawn(rng.standard_normal(model.n_albedo))) for k in range(9)]
    return preview_sheet(panels, height=size, columns=8)
