"""ICT-FaceKit beside the open model, and the correspondence of their skins (docs/truth.md).

Tested by tests/lab/evaluation/truth/test_heads.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facerelief.errors import ModelError
from facerelief.geometry.alignment import Similarity, procrustes, rigid_icp
from facerelief.geometry.closest import ClosestPoint
from facerelief.geometry.normals import vertex_normals
from facerelief.lab.scenes import hair_cap
from facerelief.morphable import load_model
from facerelief.morphable.model import FaceModel
from facerelief.morphable.readers.ict import REGIONS, is_ict_folder
from facerelief.rendering.occlusion import seen_share
from facerelief.typed import Float, Int32

BROWS = slice(17, 27)
"""Of the 68 landmarks: ICT-FaceKit's brow points lie 6 mm above the open model's, so they align nothing."""
PACKED = "ict_facekit_light.npz"
_POINTS = 1500


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


@dataclass(frozen=True, eq=False)
class Heads:
    """ICT-FaceKit beside the open model, with the correspondence of their skins."""

    model: FaceModel
    """ICT-FaceKit."""
    ours: FaceModel
    """The open model."""
    place: Similarity
    """The rigid motion from ICT-FaceKit's model space to the open model's."""
    corners: Int32
    """(S, 3) vertex ids of the open model: the triangle on which each of ICT-FaceKit's first S vertices, its
    skin, lies."""
    weights: Float
    """(S, 3) where in that triangle."""
    distance_mm: Float
    """(S,) between the mean heads, at those points."""
    region: Int32
    """(R,) ids of the narrow face's vertices that the open model has too: no insides of nose and lips."""
    points: Int32
    """(P,) of the region, evenly spread: the points at which shapes are compared."""
    shade: Float
    """(N,) in [0, 1]: share of its half-space that each vertex of the mean head sees."""
    hair: Float
    """(N, 1) share of hair colour."""

    @classmethod
    def of(cls, model: FaceModel, ours: FaceModel) -> Heads:
        """Lay the two mean heads over each other: a rigid motion by the landmarks off the brows, refined by
        ICP over the narrow face; then each skin vertex goes to the nearest point of the open model's skin.

        The open model's mean was made from ICT-FaceKit's, so they agree to about 0.1 mm (`distance_mm`); this
        needs no non-rigid registration.
        """
        marks = [np.delete(m.landmarks["ibug68"].of(m.mean), BROWS, axis=0) for m in (model, ours)]
        surface = skin_triangles(ours)
        target = ClosestPoint(ours.mean, surface)
        face = model.mean[model.regions["narrow_face"]].astype(np.float64)
        place = rigid_icp(
            face, target, initial=procrustes(*marks, with_scale=False), ignore_border=False, max_distance=3.0
        ).transform
        mean = place.apply(model.mean.astype(np.float64))
        count = int((model.regions["face"] | model.regions["head_and_neck"]).sum())
        hit = target.query(mean[:count])
        corners = surface[hit.triangle]
        toward = (vertex_normals(ours.mean, surface)[corners] * hit.barycentric[:, :, None]).sum(axis=1)
        agree = (toward * vertex_normals(mean, model.triangles)[:count]).sum(axis=1) > 0.5
        narrow = model.regions["narrow_face"][:count]
        region = np.flatnonzero(narrow & agree & (hit.distance < 2.5)).astype(np.int32)
        if len(region) < 100:
            raise ModelError(
                f"model {model.name!r}: only {len(region)} vertices of its face lie on the open model's; "
                "give ICT-FaceKit as it was published"
            )
        return cls(
            model=model,
            ours=ours,
            place=place,
            corners=corners,
            weights=hit.barycentric.astype(np.float32),
            distance_mm=hit.distance,
            region=region,
            points=region[spread_out(mean[region], _POINTS)],
            shade=seen_share(mean, model.triangles),
            hair=hair_cap(model),
        )

    @property
    def skin_count(self) -> int:
        """S: the number of skin vertices, the first ones."""
        return len(self.corners)

    def carried(self, per_vertex: Float) -> Float:
        """Values of the open model's vertices (n, C) at ICT-FaceKit's skin vertices (S, C)."""
        return (per_vertex[self.corners] * self.weights[:, :, None]).sum(axis=1)


def skin_triangles(model: FaceModel) -> Int32:
    """The triangles of a model's skin: without the eyeballs, where it names them."""
    return model.triangles[~model.eyeballs[model.triangles].any(axis=1)]


def spread_out(points: Float, count: int) -> Int32:
    """(min(count, N),) ids, ascending, of points (N, 3) that are far apart: the farthest from all before it
    is next, from the first one on."""
    chosen = [0]
    nearest = np.full(len(points), np.inf)
    while len(chosen) < min(count, len(points)):
        np.minimum(nearest, np.square(points - points[chosen[-1]]).sum(axis=1), out=nearest)
        chosen.append(int(nearest.argmax()))
    return np.sort(np.array(chosen)).astype(np.int32)
