"""Heads of ICT-FaceKit, the preset "in-model": the open model was made with them (docs/truth.md).

Tested by tests/lab/evaluation/truth/test_heads.py.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from facerelief.errors import ModelError
from facerelief.geometry.alignment import procrustes, rigid_icp
from facerelief.geometry.closest import ClosestPoint
from facerelief.geometry.normals import vertex_normals
from facerelief.lab.evaluation.truth.heads_match import (
    POINTS,
    Heads,
    Match,
    nearest_match,
    off_brows,
    skin_triangles,
    spread_out,
)
from facerelief.morphable import load_model
from facerelief.morphable.model import FaceModel
from facerelief.morphable.readers.ict import REGIONS, is_ict_folder
from facerelief.rendering.occlusion import seen_share
from facerelief.typed import Float, Float32

PACKED = "ict_facekit_light.npz"
STREAM = 0x1C7
"""Separates the random streams of these heads from others with the same seed."""


def read_heads(source: str | Path) -> FaceModel:
    """ICT-FaceKit as a model: the repository or its FaceXModel, a folder with the packed .npz, or that file.

    Raises ModelError for anything else, also for another model.
    """
    path = Path(source)
    if path.is_dir() and not is_ict_folder(path):
        packed = [path / PACKED] if (path / PACKED).is_file() else sorted(path.glob("*ict*.npz"))
        if len(packed) != 1:
            raise ModelError(
                f"{path}: neither generic_neutral_mesh.obj nor {PACKED} in it; "
                "give the folder FaceXModel of ICT-FaceKit"
            )
        path = packed[0]
    model = load_model(path)
    if not set(REGIONS) <= set(model.regions) or "ibug68" not in model.landmarks:
        raise ModelError(
            f"{path}: a face model ({model.name}, {model.n_vertices} vertices) that is not ICT-FaceKit "
            "with its known vertex order; give the folder FaceXModel of ICT-FaceKit"
        )
    return model


def person_coefficients(seed: int, person: int, count: int) -> Float32:
    """(count,) identity of a subject: standard normal, of a random stream of its own.

    The open model was made from `numpy.random.default_rng(0).standard_normal((1800, 100))`; no seed of this
    function starts that stream; `known_distance` measures the distance to it.
    """
    rng = np.random.default_rng([STREAM, seed, person])
    return rng.standard_normal(count).astype(np.float32)


def known_distance(identities: Float, persons: int = 1800, seed: int = 0) -> float:
    """Least distance, in standard deviations over all coefficients, of identities (M, K) from the subjects
    that the open model was made from. Two independent ones are about sqrt(2 K) apart: 14 for 100."""
    known = np.random.default_rng(seed).standard_normal((persons, identities.shape[1]))
    apart = (
        np.square(identities).sum(axis=1)[:, None]
        + np.square(known).sum(axis=1)[None]
        - 2 * identities.astype(np.float64) @ known.T
    )
    return float(np.sqrt(np.clip(apart, 0, None).min()))


def in_model_heads(source: str | Path, ours: FaceModel, skins: FaceModel | None = None) -> Heads:
    """ICT-FaceKit's heads, whose statistics are those of the open model.

    The mean heads are laid over each other by a rigid motion: by the landmarks off the brows, refined by ICP
    over the narrow face; then each skin vertex goes to the nearest point of the other skin. The open model's
    mean was made from ICT-FaceKit's, so they agree to about 0.1 mm; this needs no non-rigid registration.

    Args:
        source: as `read_heads` takes it.
        ours: the evaluated model.
        skins: the model whose albedo the heads wear, the evaluated one unless given.

    Raises:
        ModelError: The heads cannot be used, or their face is not the evaluated model's.
    """
    model = read_heads(source)
    match, mean = _rigid_match(model, ours)
    region = np.flatnonzero(model.regions["narrow_face"][: len(match.corners)] & match.reliable)
    region = region.astype(np.int32)
    if len(region) < 100:
        raise ModelError(
            f"model {model.name!r}: only {len(region)} vertices of its face lie on the open model's; "
            "give ICT-FaceKit as it was published"
        )
    return Heads(
        preset="in-model",
        model=model,
        identity=partial(person_coefficients, count=model.n_identity),
        ours=ours,
        match=match,
        skins=skins or ours,
        skin_match=match if skins is None or skins is ours else _rigid_match(model, skins)[0],
        region=region,
        points=region[spread_out(mean[region], POINTS)],
        shade=seen_share(mean, model.triangles),
    )


def _rigid_match(model: FaceModel, ours: FaceModel) -> tuple[Match, Float]:
    """The skins' correspondence, and ICT-FaceKit's mean (N, 3) where it lies on the other."""
    marks = [off_brows(m.landmarks["ibug68"].of(m.mean)) for m in (model, ours)]
    target = ClosestPoint(ours.mean, skin_triangles(ours))
    face = model.mean[model.regions["narrow_face"]].astype(np.float64)
    place = rigid_icp(
        face, target, initial=procrustes(*marks, with_scale=False), ignore_border=False, max_distance=3.0
    ).transform
    mean = place.apply(model.mean.astype(np.float64))
    count = int((model.regions["face"] | model.regions["head_and_neck"]).sum())
    normals = vertex_normals(mean, model.triangles)[:count]
    return nearest_match(mean[:count], normals, ours, ours.mean), mean
