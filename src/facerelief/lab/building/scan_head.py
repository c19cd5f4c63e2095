"""ICT-FaceKit Light as open model 2 is built from it: one head of polygons with its linear bases.

Two packed files: the light model as `morphable.readers.ict` reads it, and the parts that it leaves out
(lashes) with the polygons, texture coordinates and materials of the whole mesh. MIT licence, (c) 2020 USC
Institute for Creative Technologies.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from facerelief.errors import ModelError
from facerelief.morphable.readers._assembly import need, open_npz
from facerelief.morphable.readers.ict import MM_PER_CM
from facerelief.typed import Float, Float64, Int32

ARRAYS = ("mean_cm", "identity", "identity_scale_cm", "expression", "expression_scale_cm", "expression_names")
POLYGONS = ("polygons", "uv", "uv_polygons", "material", "material_names")

PARTS = (
    ("face", "M_Face", 6560),
    ("sides", "M_Face", 2670),
    ("crown", "M_BackHead", 1182),
    ("behind_ears", "M_BackHead", 60),
    ("bust", "M_BackHead", 612),
    ("mouth", "M_BackHead", 2082),
    ("eye_sockets", "M_BackHead", 404),
    ("tongue", "M_GumsTongue", 434),
    ("uvula", "M_GumsTongue", 50),
    ("gums", "M_GumsTongue", 0),
    ("teeth", "M_Teeth", 0),
    ("eyeballs", "M_ScleraLeft", 0),
    ("eyeballs", "M_ScleraRight", 0),
    ("lashes", "M_EyeLashes", 0),
)
"""Parts of the head that the model keeps: name, material, and number of polygons of the uv island; 0 stands
for all islands of the material that have no name of their own. Irises, fluids and occlusion shells are left
out: the opaque outer eyeball carries the iris's colour."""


@dataclass(frozen=True, eq=False)
class ScanHead:
    """The source mesh, mm, x to the subject's left, y up, z to the front."""

    mean: Float64
    """(N, 3)"""
    identity: Float64
    """(N, 3, K) one standard deviation each."""
    expression: Float64
    """(N, 3, E) at weight 1."""
    expression_names: tuple[str, ...]
    """ICT-FaceKit's names, sides as _L and _R."""
    polygons: Int32
    """(P, 4) quads; -1 as the last corner of a triangle."""
    uv: Float64
    """(M, 2), several tiles side by side along u."""
    uv_polygons: Int32
    """(P, 4) ids into uv."""
    part: NDArray[np.str_]
    """(P,) name of each polygon's part, as in `PARTS`; empty for parts that the model leaves out."""

    def vertices_of(self, *parts: str) -> NDArray[np.int64]:
        """Sorted ids of the vertices of some parts."""
        corners = self.polygons[np.isin(self.part, parts)]
        return np.unique(corners[corners >= 0]).astype(np.int64)


def read_scan_head(light: str | Path, parts: str | Path) -> ScanHead:
    """Read both files.

    Args:
        light: `ict_facekit_light.npz`.
        parts: `ict_facekit_parts.npz`.

    Raises:
        ModelError: A file is missing or lacks an array, or the two do not belong together.
    """
    first, rest = Path(light), Path(parts)
    arrays = open_npz(first, ARRAYS)
    need(arrays, ARRAYS, first, "a packed ICT-FaceKit")
    more = open_npz(rest, ARRAYS + POLYGONS)
    need(more, ARRAYS + POLYGONS, rest, "the packed parts of ICT-FaceKit")
    names = tuple(str(name) for name in arrays["expression_names"])
    if names != tuple(str(name) for name in more["expression_names"]):
        raise ModelError(f"{rest}: its expressions are not those of {first}; take both from one release")

    def basis(label: str) -> Float64:
        both = [
            source[label].astype(np.float64) * source[f"{label}_scale_cm"].reshape(-1, 1, 1) * MM_PER_CM
            for source in (arrays, more)
        ]
        return np.ascontiguousarray(np.concatenate(both, axis=1).transpose(1, 2, 0))

    mean = np.concatenate([arrays["mean_cm"], more["mean_cm"]]).astype(np.float64) * MM_PER_CM
    polygons = more["polygons"].astype(np.int32)
    if polygons.max() >= len(mean):
        raise ModelError(f"{rest}: polygons refer to vertices beyond {len(mean) - 1}; take both files anew")
    uv_polygons = more["uv_polygons"].astype(np.int32)
    material = np.asarray([str(name) for name in more["material_names"]])[more["material"]]
    return ScanHead(
        mean,
        basis("identity"),
        basis("expression"),
        names,
        polygons,
        more["uv"].astype(np.float64),
        uv_polygons,
        _parts(uv_polygons, material),
    )


def _parts(uv_polygons: Int32, material: NDArray[np.str_]) -> NDArray[np.str_]:
    island = polygon_islands(uv_polygons)
    size = np.bincount(island)[island]
    part = np.full(len(material), "", dtype="U16")
    for name, wanted, count in PARTS:
        found = (material == wanted) & ((size == count) if count else (part == ""))
        if not found.any():
            raise ModelError(f"the source mesh has no part {name} ({wanted}); expected ICT-FaceKit Light")
        part[found] = name
    return part


def scan_origin(head: ScanHead) -> Float64:
    """(3,) mm, the point between the centres of the eyeballs."""
    balls = head.mean[head.vertices_of("eyeballs")]
    sides = [balls[np.sign(balls[:, 0]) == side] for side in (-1, 1)]
    return np.mean([0.5 * (ball.min(axis=0) + ball.max(axis=0)) for ball in sides], axis=0) * [0, 1, 1]


def polygon_islands(polygons: Int32) -> NDArray[np.int32]:
    """(P,) number of the connected island of each polygon (P, 4)."""
    last = np.where(polygons[:, 3] < 0, polygons[:, 2], polygons[:, 3])
    rows = np.repeat(polygons[:, 0], 3)
    columns = np.stack([polygons[:, 1], polygons[:, 2], last], axis=1).reshape(-1)
    n = int(polygons.max()) + 1
    links = coo_array((np.ones(len(rows)), (rows, columns)), shape=(n, n))
    return np.asarray(connected_components(links, directed=False)[1])[polygons[:, 0]]


def to_triangles(polygons: Int32, corners: Float) -> tuple[Int32, int]:
    """Quads and triangles as triangles, quads first.

    Args:
        polygons: (P, 4) ids, quads before triangles; -1 as the last corner of a triangle.
        corners: (N, 3) positions that choose each quad's shorter diagonal.

    Returns:
        (T, 3) triangles and the number of quads; triangles 2 q and 2 q + 1 are quad q.
    """
    quads = polygons[polygons[:, 3] >= 0]
    alone = polygons[polygons[:, 3] < 0, :3]
    first = np.linalg.norm(corners[quads[:, 0]] - corners[quads[:, 2]], axis=1)
    second = np.linalg.norm(corners[quads[:, 1]] - corners[quads[:, 3]], axis=1)
    straight = (first <= second)[:, None]
    upper = np.where(straight, quads[:, [0, 1, 2]], quads[:, [0, 1, 3]])
    lower = np.where(straight, quads[:, [0, 2, 3]], quads[:, [1, 2, 3]])
    pairs = np.stack([upper, lower], axis=1).reshape(-1, 3)
    return np.concatenate([pairs, alone]).astype(np.int32), len(quads)
