"""All methods on the same held-out pictures: errors in shape and landmarks, and what photos without a known
shape allow to measure. What every figure means: docs/comparison.md.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerelief.detection import detect_faces
from facerelief.errors import FacereliefError
from facerelief.face.reconstruction import Reconstruction
from facerelief.geometry.alignment import procrustes
from facerelief.inverse.detail import coarse_depth
from facerelief.inverse.landmark_fit import FaceState
from facerelief.inverse.photometric import fit_appearance
from facerelief.lab.evaluation.compare.methods import MEAN_FACE, METHODS, NET_FINE, Face, Method
from facerelief.lab.evaluation.metrics.face_errors import (
    YAW_NAMES,
    Labelled,
    Progress,
    box_crop,
    expression_groups,
    face_px,
    ibug68,
    label_state,
    nme,
    overlap,
    state_errors,
    true_face,
    yaw_bin,
)
from facerelief.lab.evaluation.metrics.intervals import (
    Float,
    PersonBootstrap,
    below_percent,
    identity_consistency,
    shape_gram,
)
from facerelief.lab.evaluation.photos.fit_quality import drawn_model, rerendered
from facerelief.morphable.model import FaceModel
from facerelief.typed import Image

CROP = 224
"""Side, px, of the crop in which visible vertices are told: CoarseNet's."""
LEAST_OVERLAP = 0.2
"""Intersection over union below which a detected face is not the label's."""
PICTURE_MEASURES = ("rigid_mm", "level_mm", "neutral_mm", "nme68", "nme51", "yaw", "pitch")
PHOTO_MEASURES = ("nme68", "apart_mm", "rerender")


# ---------------------------------------------------------------- pictures with known shape


@dataclass(frozen=True)
class PictureRow:
    """One labelled picture, measured with every method."""

    person: str
    """The family: who is never divided between training and test."""
    source: str
    """The photo it was made of."""
    yaw: float
    """True, degrees."""
    groups: tuple[str, ...]
    """See `nets.expression_groups`."""
    errors: dict[str, dict[str, float]]
    """Method -> `PICTURE_MEASURES`."""
    ms: dict[str, float]
    """Method -> time from the detected face to the shape."""


Detect = Callable[[Image, NDArray[Any]], Face | None]
"""The face of a picture that a labelled box (left, top, right, bottom) is of, or None."""


def face_in(image: Image, box: NDArray[Any]) -> Face | None:
    """The detected face that overlaps a box (left, top, right, bottom), px, most; None where none does by a
    fifth."""
    faces = detect_faces(image, small_faces=False)
    rated = [(overlap(np.array(face.box), np.asarray(box)), -k) for k, face in enumerate(faces)]
    best, k = max(rated, default=(0.0, 0))
    return faces[-k] if best >= LEAST_OVERLAP else None


@dataclass(frozen=True)
class Pictures:
    """Rows of labelled pictures, and which pictures were left out."""

    rows: list[PictureRow] = field(default_factory=list["PictureRow"])
    left_out: dict[str, str] = field(default_factory=dict[str, str])
    """Sample -> why: no face found in it, or a method that gave nothing. Left out for all methods."""


def compare_pictures(
    model: FaceModel,
    methods: Mapping[str, Method],
    samples: Iterable[Labelled],
    detect: Detect = face_in,
    progress: Progress = lambda done: None,
) -> Pictures:
    """Run every method on every labelled picture, from one detected face, and measure it against
    the label."""
    out = Pictures()
    for done, sample in enumerate(samples, 1):
        found = _picture(model, methods, sample, detect)
        if isinstance(found, PictureRow):
            out.rows.append(found)
        else:
            out.left_out[str(getattr(sample, "key", done))] = found
        progress(done)
    return out


def _picture(
    model: FaceModel, methods: Mapping[str, Method], sample: Labelled, detect: Detect
) -> PictureRow | str:
    labels = sample.labels
    face = detect(sample.image, labels["box"])
    if face is None:
        return "the detector finds no such face"
    truth = true_face(model, label_state(labels), box_crop(labels["box"], CROP))
    try:
        states, ms = run_methods(methods, sample.image, face)
    except (FacereliefError, ValueError) as error:
        return str(error)
    errors: dict[str, dict[str, float]] = {}
    for name, state in states.items():
        all_ = state_errors(model, truth, state)
        all_["neutral_mm"] = neutral_error(model, state.identity, truth.state.identity)
        errors[name] = {measure: all_[measure] for measure in PICTURE_MEASURES}
    about = sample.about
    return PictureRow(
        str(about.get("family") or about.get("person") or about.get("source")),
        str(about.get("source", "")),
        math.degrees(truth.state.camera.yaw),
        expression_groups(model, truth.state.expression),
        errors,
        ms,
    )


def run_methods(
    methods: Mapping[str, Method], image: Image, face: Face
) -> tuple[dict[str, FaceState], dict[str, float]]:
    """States and times in ms of every method on a face of a picture (H, W, 3). Raises FacereliefError or
    ValueError where one gives nothing, or numbers that are not finite."""
    states: dict[str, FaceState] = {}
    ms: dict[str, float] = {}
    for name, method in methods.items():
        started = time.perf_counter()
        state = method(image, face)
        ms[name] = 1e3 * (time.perf_counter() - started)
        if not (np.isfinite(state.coefficients).all() and np.isfinite(state.camera.vector).all()):
            raise FacereliefError(f"{METHODS.get(name, name)}: numbers that are not finite")
        states[name] = state
    return states, ms


def neutral_error(model: FaceModel, found: Float, true: Float) -> float:
    """Mean distance, mm, of corresponding vertices of the neutral shapes of two identities (K,), over the
    whole face, seen or not, after the rigid motion that brings these closest."""
    face = model.face_vertices
    return rigid_distance(model.shape(found)[face], model.shape(true)[face])


def rigid_distance(own: Float, other: Float) -> float:
    """Mean distance of corresponding points (N, 3) after the rigid motion that brings `own` to `other` with
    least squares."""
    own, other = own.astype(np.float64), other.astype(np.float64)
    moved = procrustes(own, other, with_scale=False).apply(own)
    return float(np.linalg.norm(moved - other, axis=1).mean())


def picture_report(rows: Sequence[PictureRow], seed: int = 0) -> dict[str, Any]:
    """Means with intervals by method. JSON-serialisable but for NaN.

    methods: method -> {"all", "by_yaw": {bin}, "by_expression": {group}} of parts {"pictures", "persons",
    measure: {value, low, high}}; of "all" also median and 90th percentile of rigid_mm, the median time, and
    below_mean_face: per cent by which its mean rigid_mm is below the mean face's, on the same draws.
    """
    boot = PersonBootstrap([row.person for row in rows], seed)
    names = [name for name in METHODS if rows and name in rows[0].errors]
    bins = np.array([yaw_bin(row.yaw) for row in rows])
    groups = sorted({group for row in rows for group in row.groups})
    out: dict[str, Any] = {"pictures": len(rows), "persons": boot.persons(), "methods": {}}
    for name in names:
        values = {
            measure: np.array([row.errors[name][measure] for row in rows]) for measure in PICTURE_MEASURES
        }

        def part(where: NDArray[np.bool_] | None, values: dict[str, Float] = values) -> dict[str, Any]:
            count = len(rows) if where is None else int(where.sum())
            cells = {measure: boot.mean(found, where).document for measure, found in values.items()}
            return {"pictures": count, "persons": boot.persons(where), **cells}

        whole = part(None)
        if MEAN_FACE in names:
            floor = np.array([row.errors[MEAN_FACE]["rigid_mm"] for row in rows])
            share = boot.ratio(values["rigid_mm"], floor)
            whole["below_mean_face"] = below_percent(share).document
        middle, high = np.nanpercentile(values["rigid_mm"], (50, 90)).tolist()
        whole["median_rigid_mm"], whole["p90_rigid_mm"] = middle, high
        whole["median_ms"] = float(np.median([row.ms[name] for row in rows]))
        out["methods"][name] = {
            "all": whole,
            "by_yaw": {x: part(bins == x) for x in YAW_NAMES if (bins == x).any()},
            "by_expression": {x: part(np.array([x in row.groups for row in rows])) for x in groups},
        }
    return out


# ---------------------------------------------------------------- photos without


@dataclass(frozen=True, eq=False)
class PhotoInput:
    """A photo, the face that was detected in it, and whom it shows."""

    name: str
    person: str
    group: str
    """The collection it is from."""
    held_out: bool
    """Whether the networks were trained without this person."""
    image: Image
    face: Face
    known: Mapping[str, FaceState] = field(default_factory=dict[str, FaceState])
    """States of methods that were computed before, of this very face."""


@dataclass(frozen=True, eq=False)
class PhotoRow:
    """A photo without known shape, measured with every method."""

    name: str
    person: str
    group: str
    held_out: bool
    measures: dict[str, dict[str, float]]
    """Method -> `PHOTO_MEASURES`."""
    identities: dict[str, Float]
    """Method -> (K,)."""


def compare_photos(
    model: FaceModel,
    methods: Mapping[str, Method],
    photos: Iterable[PhotoInput],
    progress: Progress = lambda done: None,
) -> tuple[list[PhotoRow], dict[str, str]]:
    """Run every method but "net_fine", whose shape is "net"'s, on every photo; rows, and photo -> why it was
    left out."""
    rows: list[PhotoRow] = []
    left_out: dict[str, str] = {}
    for done, photo in enumerate(photos, 1):
        live = {name: m for name, m in methods.items() if name != NET_FINE and name not in photo.known}
        try:
            states, _ = run_methods(live, photo.image, photo.face)
            states |= {name: state for name, state in photo.known.items() if name in methods}
            measures = photo_measures(model, photo.image, photo.face, states)
        except (FacereliefError, ValueError) as error:
            left_out[photo.name] = str(error)
        else:
            identities = {name: state.identity for name, state in states.items()}
            row = PhotoRow(photo.name, photo.person, photo.group, photo.held_out, measures, identities)
            rows.append(row)
        progress(done)
    return rows, left_out


def photo_measures(
    model: FaceModel, image: Image, face: Face, states: Mapping[str, FaceState]
) -> dict[str, dict[str, float]]:
    """What can be said of states of a face of a photo (H, W, 3) whose shape nobody knows.

    nme68: mean distance of their 68 landmarks from the detector's, per cent (`nets.nme`). apart_mm: mean,
    over the other methods but the mean face, of the mean distance of corresponding vertices of the face after
    the best rigid motion, mm; NaN where there is no other. rerender: see `rerender_error`.
    """
    marks = ibug68(np.asarray(face.landmarks))
    size = face_px(marks)
    skin = model.face_vertices
    shapes = {name: model.shape(s.identity, s.expression) for name, s in states.items()}
    out: dict[str, dict[str, float]] = {}
    for name, state in states.items():
        own = state.camera.project(model.landmarks["ibug68"].of(shapes[name]))
        others = [x for x in states if x not in (name, MEAN_FACE)]
        apart = [rigid_distance(shapes[name][skin], shapes[x][skin]) for x in others]
        out[name] = {
            "nme68": nme(own, marks, size),
            "apart_mm": float(np.mean(apart)) if apart else float("nan"),
            "rerender": rerender_error(model, image, face, state),
        }
    return out


def rerender_error(model: FaceModel, image: Image, face: Face, state: FaceState) -> float:
    """Mean absolute colour difference in [0, 1] inside the face between a photo (H, W, 3) and the model in
    this state without relief, under the light and with the albedo that explain the photo best on it
    (`inverse.photometric.fit_appearance`); NaN where nothing is seen."""
    appearance, _ = fit_appearance(model, image, state)
    vertices = model.shape(state.identity, state.expression)
    result = Reconstruction(
        image=image,
        model=model,
        camera=state.camera,
        identity=state.identity,
        expression=state.expression,
        albedo=appearance.albedo,
        light=appearance.light,
        box=face.box,
        confidence=1.0,
        method="",
        coarse=coarse_depth(model, vertices, state.camera, image.shape),
    )
    drawn, seen = rerendered(result, result.coarse, drawn_model(result)[0])
    return float(np.abs(drawn - seen).mean()) if len(seen) else float("nan")


def photo_report(model: FaceModel, rows: Sequence[PhotoRow], seed: int = 0) -> dict[str, Any]:
    """Means with intervals by method, and identity consistency. JSON-serialisable but for NaN.

    methods: method -> measure -> {value, low, high}; consistency: method -> {"all", "held out", collection}
    -> `Consistency`, over persons with two photos, those where there are at least two such persons.
    """
    boot = PersonBootstrap([row.person for row in rows], seed)
    names = methods_of(rows)
    return {
        "photos": len(rows),
        "persons": boot.persons(),
        "held_out_persons": len({row.person for row in rows if row.held_out}),
        "methods": {
            name: {
                measure: boot.mean(np.array([row.measures[name][measure] for row in rows])).document
                for measure in PHOTO_MEASURES
            }
            for name in names
        },
        "consistency": {
            name: {part: found for part, found in _consistencies(model, rows, name, seed).items() if found}
            for name in names
        },
    }


def _consistencies(
    model: FaceModel, rows: Sequence[PhotoRow], name: str, seed: int
) -> dict[str, dict[str, Any] | None]:
    parts = {"all": list(rows), "held out": [row for row in rows if row.held_out]}
    parts |= {group: [row for row in rows if row.group == group] for group in sorted({r.group for r in rows})}
    return {part: consistency_of(model, members, name, seed) for part, members in parts.items()}


def consistency_of(
    model: FaceModel, rows: Sequence[PhotoRow], name: str, seed: int = 0
) -> dict[str, Any] | None:
    """`identity_consistency` of a method over the persons with two photos, the first two by name; None below
    two such persons."""
    by_person: dict[str, list[PhotoRow]] = {}
    for row in sorted(rows, key=lambda row: row.name):
        by_person.setdefault(row.person, []).append(row)
    pairs = [found[:2] for _, found in sorted(by_person.items()) if len(found) >= 2]
    if len(pairs) < 2:
        return None
    first, second = (np.stack([pair[k].identities[name] for pair in pairs]) for k in (0, 1))
    found = identity_consistency(first, second, shape_gram(model), seed)
    return None if found is None else found.document


def methods_of(rows: Sequence[PhotoRow]) -> list[str]:
    """The methods that photos were measured with, in the order of tables."""
    return [name for name in METHODS if rows and name in rows[0].measures]
