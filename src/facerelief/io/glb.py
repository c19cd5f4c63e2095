"""Binary glTF 2.0 with named morph targets and animation: readable by Blender and browsers.

trimesh is not used because it has no morph targets. The frame of glTF is that of the model (right-handed, y
up, face toward +z), so the only conversion is millimetres to metres.

Vertex i of the mesh is vertex i of the file; vertices that lie on a uv seam have further copies after the
first N.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerelief._version import __version__
from facerelief.geometry.mesh import Mesh
from facerelief.geometry.normals import vertex_normals
from facerelief.geometry.seams import SeamSplit, split_seams, vertex_tangents
from facerelief.io._glb_builder import Builder, Material, linear, row
from facerelief.io.atomic import write_bytes
from facerelief.typed import Float32

METRES_PER_MM = 0.001
_LEAST_TURN = 5e-3
"""Changes of a normal below this, 0.3 degrees, are left out of the morph targets."""


@dataclass(frozen=True, eq=False)
class Part:
    """Triangles with a material of their own, such as the eyeballs."""

    triangles: NDArray[np.bool_]
    """(T,) mask over the mesh's triangles."""
    material: Material


@dataclass(frozen=True, eq=False)
class MorphTargets:
    """Named displacements."""

    names: Sequence[str]
    """(E)"""
    deltas: Float32
    """(E, N, 3) mm at weight 1."""
    weights: Float32
    """(E,) at opening."""


@dataclass(frozen=True, eq=False)
class Animation:
    """Tracks over time, linear between frames (rotations spherical); a track that is None stays still.

    Rotations R and translations t place the head in the scene: p' = R p + t.
    """

    times: NDArray[np.floating]
    """(F,) seconds, strictly increasing, from 0 or later."""
    weights: NDArray[np.floating] | None = None
    """(F, E) of the morph targets."""
    rotations: NDArray[np.floating] | None = None
    """(F, 3, 3)"""
    translations: NDArray[np.floating] | None = None
    """(F, 3) mm."""
    name: str = "performance"


@dataclass(frozen=True, eq=False)
class Joint:
    """A joint of a skeleton; unturned at rest."""

    name: str
    place: tuple[float, float, float]
    """mm, in the mesh's frame."""
    parent: int = -1
    """Index of an earlier joint; -1 for the root."""


@dataclass(frozen=True, eq=False)
class Skeleton:
    """Joints and how vertices follow them; at rest the mesh is as it is."""

    joints: Sequence[Joint]
    """(J), J at most 255; the first is the only root."""
    weights: Float32
    """(N, J) not negative, rows summing to 1, at most four of a row above 0."""


def write_glb(
    path: str | Path,
    mesh: Mesh,
    *,
    material: Material | None = None,
    parts: Sequence[Part] = (),
    morphs: MorphTargets | None = None,
    animation: Animation | None = None,
    name: str = "face",
    skeleton: Skeleton | None = None,
    morph_normals: bool = False,
) -> None:
    """Write `encode_glb` of these arguments to a file. Raises OutputError."""
    data = encode_glb(
        mesh,
        material=material,
        parts=parts,
        morphs=morphs,
        animation=animation,
        name=name,
        skeleton=skeleton,
        morph_normals=morph_normals,
    )
    write_bytes(path, data)


def encode_glb(
    mesh: Mesh,
    *,
    material: Material | None = None,
    parts: Sequence[Part] = (),
    morphs: MorphTargets | None = None,
    animation: Animation | None = None,
    name: str = "face",
    skeleton: Skeleton | None = None,
    morph_normals: bool = False,
    epsilon_mm: float = 1e-3,
) -> bytes:
    """A mesh as the bytes of a .glb file.

    Args:
        mesh: Vertices in mm; uv with v up (written with v down, as in glTF); colours, sRGB, are written as
            COLOR_0, linear as in glTF, unless the material has a texture.
        material: Material of the triangles in no part; white unless given.
        parts: Triangles with other materials; they become primitives of the same mesh and share its vertices
            and morphs.
        morphs: Morph targets over the mesh's vertices.
        animation: Tracks of the morph weights and the head's place.
        name: Name of the node and the mesh.
        skeleton: Joints; an animation's rotations and translations then move the root joint.
        morph_normals: Store each target's change of the normals too. Viewers in browsers then shade the
            moved face correctly; Blender ignores it. This roughly doubles the morph data.
        epsilon_mm: Displacements below this are left out of sparse targets (0: only exact zeros).

    Raises:
        ValueError: Shapes do not fit.
    """
    _check(mesh, parts, morphs, animation, skeleton)
    builder = Builder()
    split = split_seams(mesh)
    material = material or Material()

    positions = mesh.vertices.astype(np.float32) * np.float32(METRES_PER_MM)
    normals = _unit(vertex_normals(mesh.vertices, mesh.triangles))
    attributes = {
        "POSITION": builder.vertices(positions[split.source], bounds=True),
        "NORMAL": builder.vertices(normals[split.source]),
    }
    if split.uv is not None:
        attributes["TEXCOORD_0"] = builder.vertices(np.column_stack([split.uv[:, 0], 1 - split.uv[:, 1]]))
    if split.uv is not None and any(m.normal_texture for m in (material, *(part.material for part in parts))):
        at = split.source
        tangents = vertex_tangents(mesh.vertices[at], normals[at], split.uv, split.triangles)
        attributes["TANGENT"] = builder.vertices(tangents)
    textured = material.texture is not None or any(part.material.texture is not None for part in parts)
    if mesh.colors is not None and not textured:
        attributes["COLOR_0"] = builder.vertices(linear(mesh.colors)[split.source])

    if skeleton is not None:
        attributes |= _influences(builder, skeleton.weights[split.source])
    targets: list[dict[str, int]] = []
    if morphs is not None:
        targets = _targets(
            builder, mesh, morphs, normals if morph_normals else None, split.source, epsilon_mm
        )

    body: dict[str, Any] = {
        "name": name,
        "primitives": _primitives(builder, split, attributes, targets, parts, material),
    }
    if morphs is not None:
        body["weights"] = [round(w, 6) for w in row(morphs.weights)]
        body["extras"] = {"targetNames": list(morphs.names)}
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": f"facerelief {__version__}"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": name, "mesh": 0}],
        "meshes": [body],
    }
    if skeleton is not None:
        _add_joints(builder, document, skeleton.joints)
    if animation is not None:
        document["animations"] = [_animation(builder, animation, skeleton)]
    return builder.container(document)


def _influences(builder: Builder, weights: Float32) -> dict[str, int]:
    """Attributes of the four strongest joints of each vertex, of weights (V, J)."""
    strongest = np.argsort(-weights, axis=1, kind="stable")[:, :4]
    shares = np.take_along_axis(weights, strongest, axis=1).astype(np.float64)
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-9)
    wide = np.zeros((len(weights), 4))
    wide[:, : shares.shape[1]] = shares
    ids = np.zeros((len(weights), 4), np.uint8)  # 0 where the weight is 0
    ids[:, : shares.shape[1]] = np.where(shares > 0, strongest, 0)
    return {"JOINTS_0": builder.joints(ids), "WEIGHTS_0": builder.vertices(wide)}


def _add_joints(builder: Builder, document: dict[str, Any], joints: Sequence[Joint]) -> None:
    """Add the joints' nodes, after the mesh's node 0, and the skin that names them."""
    places = np.array([joint.place for joint in joints], np.float64) * METRES_PER_MM
    nodes: list[dict[str, Any]] = document["nodes"]
    for i, joint in enumerate(joints):
        origin = places[joint.parent] if joint.parent >= 0 else np.zeros(3)
        nodes.append({"name": joint.name, "translation": row(places[i] - origin)})
        if joint.parent >= 0:
            nodes[1 + joint.parent].setdefault("children", []).append(1 + i)
    inverse = np.tile(np.eye(4), (len(joints), 1, 1))
    inverse[:, 3, :3] = -places  # column-major
    document["scenes"][0]["nodes"].append(1)
    document["skins"] = [
        {
            "inverseBindMatrices": builder.track(inverse.reshape(-1, 16), "MAT4"),
            "joints": list(range(1, 1 + len(joints))),
            "skeleton": 1,
        }
    ]
    nodes[0]["skin"] = 0


def _targets(
    builder: Builder,
    mesh: Mesh,
    morphs: MorphTargets,
    normals: Float32 | None,
    source: NDArray[np.int64],
    epsilon_mm: float,
) -> list[dict[str, int]]:
    """Accessors of each morph target; with the mesh's (N, 3) unit normals also of the normals' change."""
    targets: list[dict[str, int]] = []
    for delta in morphs.deltas:
        moved = delta.astype(np.float32) * np.float32(METRES_PER_MM)
        target = {"POSITION": builder.morph(moved[source], epsilon_mm * METRES_PER_MM, bounds=True)}
        if normals is not None:
            turned = _unit(vertex_normals(mesh.vertices + delta, mesh.triangles)) - normals
            target["NORMAL"] = builder.morph(turned[source], _LEAST_TURN)
        targets.append(target)
    return targets


def _primitives(
    builder: Builder,
    split: SeamSplit,
    attributes: dict[str, int],
    targets: list[dict[str, int]],
    parts: Sequence[Part],
    material: Material,
) -> list[dict[str, Any]]:
    """One primitive for each material that has triangles; all share vertices and morph targets."""
    claimed = np.zeros(len(split.triangles), bool)
    for part in parts:
        claimed |= part.triangles
    primitives: list[dict[str, Any]] = []
    for mask, look in [(~claimed, material), *((part.triangles, part.material) for part in parts)]:
        if not mask.any():
            continue
        own = {k: v for k, v in attributes.items() if k != "TANGENT" or look.normal_texture is not None}
        primitive: dict[str, Any] = {
            "attributes": own,
            "indices": builder.indices(split.triangles[mask]),
            "material": builder.material(look),
        }
        if targets:
            primitive["targets"] = targets
        primitives.append(primitive)
    return primitives


def _animation(builder: Builder, animation: Animation, skeleton: Skeleton | None) -> dict[str, Any]:
    start = builder.track(np.asarray(animation.times), "SCALAR", bounds=True)
    tracks: list[tuple[str, int]] = []
    rotations, translations = animation.rotations, animation.translations
    if skeleton is not None and (rotations is not None or translations is not None):
        # the root joint stands at c: p' = R (p - c) + (R c + t)
        place = np.asarray(skeleton.joints[0].place, np.float64)
        moved = np.zeros((len(animation.times), 3)) if translations is None else translations
        translations = moved + (place if rotations is None else rotations @ place)
    if animation.weights is not None:
        tracks.append(("weights", builder.track(np.ravel(animation.weights), "SCALAR")))
    if rotations is not None:
        tracks.append(("rotation", builder.track(_quaternions(rotations), "VEC4")))
    if translations is not None:
        tracks.append(("translation", builder.track(translations * METRES_PER_MM, "VEC3")))
    moving = 0 if skeleton is None else 1
    return {
        "name": animation.name,
        "samplers": [{"input": start, "output": output, "interpolation": "LINEAR"} for _, output in tracks],
        "channels": [
            {"sampler": i, "target": {"node": 0 if channel == "weights" else moving, "path": channel}}
            for i, (channel, _) in enumerate(tracks)
        ],
    }


def _quaternions(rotations: NDArray[np.floating]) -> NDArray[np.float64]:
    """(F, 3, 3) rotations -> (F, 4) unit quaternions x, y, z, w whose sign never jumps between frames."""
    from scipy.spatial.transform import Rotation

    q = Rotation.from_matrix(np.asarray(rotations, dtype=float)).as_quat()
    flips = np.sign((q[1:] * q[:-1]).sum(axis=1))
    q[1:] *= np.cumprod(np.where(flips < 0, -1.0, 1.0))[:, None]
    return q


def _unit(vectors: NDArray[np.floating]) -> Float32:
    """Unit vectors; those without a direction (vertices of no triangle) point at the viewer."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    usable = length > 1e-12
    unit = np.where(usable, vectors / np.where(usable, length, 1), np.array([0.0, 0.0, 1.0]))
    return unit.astype(np.float32)


def _check(
    mesh: Mesh,
    parts: Sequence[Part],
    morphs: MorphTargets | None,
    animation: Animation | None,
    skeleton: Skeleton | None,
) -> None:
    n, t = len(mesh.vertices), len(mesh.triangles)
    wanted: list[tuple[str, NDArray[np.generic] | None, tuple[int, ...]]] = []
    for i, part in enumerate(parts):
        wanted.append((f"parts[{i}].triangles", part.triangles, (t,)))
    if skeleton is not None:
        wanted.append(("skeleton.weights", skeleton.weights, (n, len(skeleton.joints))))
        parents = [joint.parent for joint in skeleton.joints]
        if parents[:1] != [-1] or any(not 0 <= p < i for i, p in enumerate(parents[1:], 1)):
            raise ValueError("skeleton.joints: the first is the only root, parents come before children")
    e = 0
    if morphs is not None:
        e = len(morphs.names)
        wanted.append(("morphs.deltas", morphs.deltas, (e, n, 3)))
        wanted.append(("morphs.weights", morphs.weights, (e,)))
    if animation is not None:
        f = len(animation.times)
        wanted.append(("animation.weights", animation.weights, (f, e)))
        wanted.append(("animation.rotations", animation.rotations, (f, 3, 3)))
        wanted.append(("animation.translations", animation.translations, (f, 3)))
        if f == 0 or np.any(np.diff(animation.times) <= 0) or animation.times[0] < 0:
            raise ValueError("animation.times must increase strictly from 0 or later")
        tracks: Mapping[str, object] = vars(animation)
        if all(tracks[k] is None for k in ("weights", "rotations", "translations")):
            raise ValueError("the animation has no track")
        if animation.weights is not None and e == 0:
            raise ValueError("the animation has weights but the mesh has no morph targets")
    for label, array, shape in wanted:
        if array is not None and array.shape != shape:
            raise ValueError(f"{label} has shape {array.shape}, expected {shape}")
    if t == 0:
        raise ValueError("the mesh has no triangles")
