"""All methods on photos without known shape: landmarks, agreement, re-render error, and identity.

docs/comparison.md defines every measure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from facerelief.errors import FacereliefError
from facerelief.face.reconstruction import Reconstruction
from facerelief.inverse.detail import coarse_depth
from facerelief.inverse.landmark_fit import FaceState
from facerelief.inverse.photometric import fit_appearance
from facerelief.lab.evaluation.compare.images import methods_of, rigid_distance, run_methods
from facerelief.lab.evaluation.compare.methods import MEAN_FACE, NET_FINE, Face, Method
from facerelief.lab.evaluation.metrics.face_errors import Progress, counted, face_px, ibug68, nme
from facerelief.lab.evaluation.metrics.identity import (
    Consistency,
    identity_consistency,
    photo_pairs,
)
from facerelief.lab.evaluation.metrics.intervals import Interval, SubjectBootstrap
from facerelief.lab.evaluation.metrics.reports import SUBJECTS
from facerelief.lab.evaluation.photos.fit_quality import rendered_albedo, rerendered
from facerelief.morphable.model import FaceModel
from facerelief.morphable.shape_distance import shape_gram
from facerelief.typed import Float, Image

MEASURES = ("nme68", "apart_mm", "rerender")


@dataclass(frozen=True, eq=False)
class PhotoInput:
    """A photo, its detected face and its subject."""

    name: str
    subject: str
    group: str
    """The photo's collection."""
    held_out: bool
    """True where the networks were trained without this subject."""
    image: Image
    face: Face
    known: Mapping[str, FaceState] = field(default_factory=dict[str, FaceState])
    """Method -> state of this face that was computed before."""


@dataclass(frozen=True, eq=False)
class PhotoRow:
    """A photo without known shape, measured with every method."""

    name: str
    subject: str
    group: str
    held_out: bool
    measures: dict[str, dict[str, float]]
    """Method -> `MEASURES`."""
    identities: dict[str, Float]
    """Method -> (K,)."""


def compare_photos(
    model: FaceModel,
    methods: Mapping[str, Method],
    photos: Iterable[PhotoInput],
    progress: Progress = lambda done: None,
) -> tuple[list[PhotoRow], dict[str, str]]:
    """Run every method but "net_fine", whose shape is that of "net", on every photo.

    Returns:
        Rows, and photo -> reason for those left out.
    """
    rows: list[PhotoRow] = []
    left_out: dict[str, str] = {}
    for photo in counted(photos, progress):
        live = {name: m for name, m in methods.items() if name != NET_FINE and name not in photo.known}
        try:
            states, _ = run_methods(live, photo.image, photo.face)
            states |= {name: state for name, state in photo.known.items() if name in methods}
            measures = photo_measures(model, photo.image, photo.face, states)
        except (FacereliefError, ValueError) as error:
            left_out[photo.name] = str(error)
        else:
            identities = {name: state.identity for name, state in states.items()}
            row = PhotoRow(photo.name, photo.subject, photo.group, photo.held_out, measures, identities)
            rows.append(row)
    return rows, left_out


def photo_measures(
    model: FaceModel, image: Image, face: Face, states: Mapping[str, FaceState]
) -> dict[str, dict[str, float]]:
    """Measures of states of one face in a photo (H, W, 3).

    nme68: mean distance of their 68 landmarks from the detector's, per cent (`nme`). apart_mm: mean, over the
    other methods but the mean face, of the mean distance of corresponding vertices of the face after the best
    rigid motion, mm; NaN where there is no other. rerender: see `rerender_error`.
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
    """Mean absolute colour difference in [0, 1] inside the face between a photo (H, W, 3) and a rendering.

    The model is rendered in this state, without relief, with the light and albedo that `fit_appearance` finds
    for it. NaN where nothing of the face is seen.
    """
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
    rendered, seen = rerendered(result, result.coarse, rendered_albedo(result)[0])
    return float(np.abs(rendered - seen).mean()) if len(seen) else float("nan")


@dataclass(frozen=True)
class PhotoReport:
    """All methods on photos without known shape."""

    photos: int
    subjects: int = field(metadata=SUBJECTS)
    held_out_subjects: int = field(metadata={"key": "held_out_persons"})
    methods: dict[str, dict[str, Interval]]
    """Method -> `MEASURES` -> mean."""
    consistency: dict[str, dict[str, Consistency]]
    """Method -> "all", "held out" and collections with at least two subjects with two photos."""


def photo_report(model: FaceModel, rows: Sequence[PhotoRow], seed: int = 0) -> PhotoReport:
    """Means with intervals by method, and identity consistency."""
    boot = SubjectBootstrap([row.subject for row in rows], seed)
    names = methods_of(rows[0].measures if rows else None)
    parts = {"all": list(rows), "held out": [row for row in rows if row.held_out]}
    parts |= {group: [row for row in rows if row.group == group] for group in sorted({r.group for r in rows})}
    return PhotoReport(
        len(rows),
        boot.subjects(),
        len({row.subject for row in rows if row.held_out}),
        {
            name: {x: boot.mean(np.array([row.measures[name][x] for row in rows])) for x in MEASURES}
            for name in names
        },
        {
            name: {
                part: found
                for part, members in parts.items()
                if (found := consistency_of(model, members, name, seed)) is not None
            }
            for name in names
        },
    )


def consistency_of(
    model: FaceModel, rows: Sequence[PhotoRow], name: str, seed: int = 0
) -> Consistency | None:
    """`identity_consistency` of a method over the subjects with two photos, the first two by name; None below
    two such subjects."""
    pairs = photo_pairs(rows, lambda row: row.subject, lambda row: row.name)
    if len(pairs) < 2:
        return None
    first, second = (np.stack([pair[k].identities[name] for pair in pairs]) for k in (0, 1))
    return identity_consistency(first, second, shape_gram(model), seed)
