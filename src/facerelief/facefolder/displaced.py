"""A subdivided head displaced by its relief, as a GLB without blendshapes.

Tested by tests/facefolder/test_displaced.py.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from facerelief.face.reconstruction import Reconstruction
from facerelief.facefolder.maps import HeadMaps
from facerelief.facefolder.texture import textured
from facerelief.geometry.mesh import Mesh
from facerelief.geometry.normals import vertex_normals
from facerelief.io.glb import Material, encode_glb
from facerelief.io.write_images import encode_jpeg
from facerelief.typed import Float32, Float64, Int32

_ROUND = 0.75
"""Share of the way from a flat triangle to the planes of its corners (Boubekeur and Alexa 2008)."""


def displaced_head(r: Reconstruction, displacement: Float32 | None, levels: int = 2) -> Mesh:
    """The head in the photo's expression, each triangle split into 4^levels and displaced by the relief.

    Args:
        r: A face of a model with uv.
        displacement: (S, S) mm along the normals, in the model's uv, or None.
        levels: Subdivisions.

    Returns:
        Model space, mm, with uv; the first N vertices are the model's.
    """
    mesh = textured(r.model, r.vertices)
    normals = vertex_normals(r.vertices, mesh.triangles).astype(np.float64)
    for _ in range(levels):
        mesh, normals = _subdivided(mesh, normals)
    if displacement is None:
        return mesh
    assert mesh.uv is not None
    assert mesh.uv_triangles is not None
    corner = np.zeros(len(mesh.vertices), np.int64)
    corner[mesh.triangles.ravel()] = mesh.uv_triangles.ravel()
    height = _sampled(displacement, mesh.uv[corner])
    return replace(mesh, vertices=(mesh.vertices + height[:, None] * normals).astype(np.float32))


def encode_displaced_glb(r: Reconstruction, maps: HeadMaps, levels: int = 2) -> bytes:
    """`displaced_head` with its texture as the bytes of a .glb file; the plain mesh for a model without
    uv."""
    if maps.texture is None:
        return encode_glb(Mesh(r.vertices, r.model.triangles, maps.colors))
    mesh = displaced_head(r, maps.displacement, levels)
    material = Material("head", encode_jpeg(maps.texture), roughness=0.55, double_sided=True)
    return encode_glb(mesh, material=material)


def _subdivided(mesh: Mesh, normals: Float64) -> tuple[Mesh, Float64]:
    """Each triangle split into four at the middles of its sides, lifted onto the round surface that the
    normals (N, 3) describe (Phong tessellation)."""
    assert mesh.uv is not None
    assert mesh.uv_triangles is not None
    vertices = mesh.vertices.astype(np.float64)
    pairs, middle = _sides(mesh.triangles)
    p, q = vertices[pairs[:, 0]], vertices[pairs[:, 1]]
    n, m = normals[pairs[:, 0]], normals[pairs[:, 1]]
    flat = (p + q) / 2
    # the mean of the projections onto both corners' tangent planes
    lift = -(((flat - p) * n).sum(axis=1)[:, None] * n + ((flat - q) * m).sum(axis=1)[:, None] * m) / 2
    between = n + m
    between /= np.maximum(np.linalg.norm(between, axis=1, keepdims=True), 1e-9)
    uv_pairs, uv_middle = _sides(mesh.uv_triangles)
    uv = np.concatenate([mesh.uv, mesh.uv[uv_pairs].mean(axis=1)])
    split = Mesh(
        np.concatenate([vertices, flat + _ROUND * lift]).astype(np.float32),
        _quartered(mesh.triangles, middle + len(vertices)),
        uv=uv.astype(np.float32),
        uv_triangles=_quartered(mesh.uv_triangles, uv_middle + len(mesh.uv)),
    )
    return split, np.concatenate([normals, between])


def _sides(triangles: Int32) -> tuple[Int32, Int32]:
    """(E, 2) the ends of each side once, and (T, 3) ids of the sides opposite to the corners' successors: 01,
    12, 20."""
    ends = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).astype(np.int64), axis=1)
    count = int(triangles.max()) + 1
    keys, place = np.unique(ends[:, 0] * count + ends[:, 1], return_inverse=True)
    pairs = np.stack(np.divmod(keys, count), axis=1).astype(np.int32)
    return pairs, place.reshape(-1, 3).astype(np.int32)


def _quartered(triangles: Int32, middle: Int32) -> Int32:
    a, b, c = triangles.T
    ab, bc, ca = middle.T
    parts = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    return np.stack([np.stack(part, axis=1) for part in parts], axis=1).reshape(-1, 3).astype(np.int32)


def _sampled(values: Float32, uv: Float32) -> Float32:
    """(P,) bilinear samples of a map (S, S) at uv (P, 2), v up."""
    import cv2

    size = len(values)
    column = (uv[:, 0] * size - 0.5).astype(np.float32)
    row = ((1 - uv[:, 1]) * size - 0.5).astype(np.float32)
    wide = 4096  # cv2.remap takes at most 32767 rows
    pad = -len(column) % wide
    column, row = (np.pad(x, (0, pad)).reshape(-1, wide) for x in (column, row))
    out = cv2.remap(values, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(out, np.float32).ravel()[: len(uv)]
