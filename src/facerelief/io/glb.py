"""Binary glTF 2.0 with named morph targets and animation: readable by Blender and browsers.

trimesh is not used because it has no morph targets. The frame of glTF is that of the model (right-handed, y
up, face toward +z), so the only conversion is millimetres to metres.

Vertex i of the mesh is vertex i of the file; vertices that lie on a uv seam have further copies after the
first N.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerelief._version import __version__
from facerelief.geometry.mesh import Mesh
from facerelief.geometry.normals import vertex_normals
from facerelief.geometry.seams import SeamSplit, split_seams
from facerelief.io.atomic import write_bytes
from facerelief.typed import Float32

METRES_PER_MM = 0.001

# glTF's numbers
_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963
_COMPONENT = {"float32": 5126, "uint16": 5123, "uint32": 5125}
_CLAMP_TO_EDGE = 33071
_LINEAR, _LINEAR_MIPMAP_LINEAR = 9729, 9987
_MAX_UINT16_INDEX = 65534  # 65535 restarts a primitive


@dataclass(frozen=True)
class Material:
    """A matte surface."""

    name: str = "face"
    texture: bytes | None = None
    """PNG or JPEG file."""
    color: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """sRGB in [0, 1]; multiplies the texture."""
    roughness: float = 0.9
    metallic: float = 0.0
    double_sided: bool = False


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


def write_glb(
    path: str | Path,
    mesh: Mesh,
    *,
    material: Material | None = None,
    parts: Sequence[Part] = (),
    morphs: MorphTargets | None = None,
    animation: Animation | None = None,
    name: str = "face",
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
        morph_normals: Store each target's change of the normals too. Viewers in browsers then shade the
            moved face correctly; Blender ignores it. This roughly doubles the morph data.
        epsilon_mm: Displacements below this are left out of sparse targets (0: only exact zeros).

    Raises:
        ValueError: Shapes do not fit.
    """
    _check(mesh, parts, morphs, animation)
    builder = _Builder()
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
    textured = material.texture is not None or any(part.material.texture is not None for part in parts)
    if mesh.colors is not None and not textured:
        attributes["COLOR_0"] = builder.vertices(_linear(mesh.colors)[split.source])

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
        body["weights"] = [round(w, 6) for w in _row(morphs.weights)]
        body["extras"] = {"targetNames": list(morphs.names)}
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": f"facerelief {__version__}"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": name, "mesh": 0}],
        "meshes": [body],
    }
    if animation is not None:
        document["animations"] = [_animation(builder, animation)]
    return builder.container(document)


def _targets(
    builder: _Builder,
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
            target["NORMAL"] = builder.morph(turned[source], 2e-3)
        targets.append(target)
    return targets


def _primitives(
    builder: _Builder,
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
        primitive: dict[str, Any] = {
            "attributes": attributes,
            "indices": builder.indices(split.triangles[mask]),
            "material": builder.material(look),
        }
        if targets:
            primitive["targets"] = targets
        primitives.append(primitive)
    return primitives


class _Builder:
    """Collects the binary chunk and the glTF arrays that point into it."""

    def __init__(self) -> None:
        self.chunk = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []
        self.materials: list[dict[str, Any]] = []
        self.images: list[dict[str, Any]] = []
        self._image_of: dict[bytes, int] = {}
        self._material_of: dict[Material, int] = {}

    def view(self, data: bytes, target: int | None = None) -> int:
        self.chunk.extend(b"\0" * (-len(self.chunk) % 4))
        view = {"buffer": 0, "byteOffset": len(self.chunk), "byteLength": len(data)}
        if target is not None:
            view["target"] = target
        self.chunk.extend(data)
        self.views.append(view)
        return len(self.views) - 1

    def accessor(
        self, values: NDArray[np.generic], kind: str, target: int | None = None, bounds: bool = False
    ) -> int:
        """Accessor of plain values (count, ...), little-endian float32, uint16 or uint32."""
        entry: dict[str, Any] = {
            "bufferView": self.view(values.tobytes(), target),
            "componentType": _COMPONENT[values.dtype.name],
            "count": len(values),
            "type": kind,
        }
        if bounds:
            entry["min"] = _row(values.min(axis=0))
            entry["max"] = _row(values.max(axis=0))
        self.accessors.append(entry)
        return len(self.accessors) - 1

    def vertices(self, values: NDArray[np.floating], bounds: bool = False) -> int:
        """Accessor of an attribute (V, 2 or 3)."""
        values = np.ascontiguousarray(values, dtype="<f4")
        return self.accessor(values, f"VEC{values.shape[1]}", _ARRAY_BUFFER, bounds)

    def morph(self, values: Float32, epsilon: float, bounds: bool = False) -> int:
        """Accessor of displacements (V, 3), sparse where that is smaller."""
        moved = np.abs(values) > epsilon
        rows = np.flatnonzero(moved[:, 0] | moved[:, 1] | moved[:, 2])
        if not len(rows):
            rows = np.zeros(1, np.intp)  # a sparse accessor has at least one element
            values = np.zeros_like(values)
        index_type = "<u2" if len(values) <= 65536 else "<u4"
        index = rows.astype(index_type)
        if index.nbytes + 12 * len(rows) >= 12 * len(values):
            return self.vertices(values, bounds)
        kept = np.ascontiguousarray(values[rows], dtype="<f4")
        sparse = {
            "count": len(rows),
            "indices": {
                "bufferView": self.view(index.tobytes()),
                "componentType": _COMPONENT[index.dtype.name],
            },
            "values": {"bufferView": self.view(kept.tobytes())},
        }
        entry = {
            "componentType": _COMPONENT["float32"],
            "count": len(values),
            "type": "VEC3",
            "sparse": sparse,
        }
        if bounds:  # the vertices left out are zeros
            entry["min"] = _row(np.minimum(kept.min(axis=0), 0))
            entry["max"] = _row(np.maximum(kept.max(axis=0), 0))
        self.accessors.append(entry)
        return len(self.accessors) - 1

    def indices(self, triangles: NDArray[np.int64]) -> int:
        """Accessor of triangle corners."""
        flat = triangles.ravel()
        flat = flat.astype("<u2" if flat.max() <= _MAX_UINT16_INDEX else "<u4")
        return self.accessor(flat, "SCALAR", _ELEMENT_ARRAY_BUFFER)

    def track(self, values: NDArray[np.floating], kind: str, bounds: bool = False) -> int:
        """Accessor of animation input or output."""
        values = np.ascontiguousarray(values, dtype="<f4")
        return self.accessor(values, kind, bounds=bounds)

    def material(self, material: Material) -> int:
        if material not in self._material_of:
            color = _linear(np.asarray(material.color, np.float32)).tolist()
            surface: dict[str, Any] = {
                "metallicFactor": material.metallic,
                "roughnessFactor": material.roughness,
                "baseColorFactor": [*color, 1.0],
            }
            if material.texture is not None:
                surface["baseColorTexture"] = {"index": self.image(material.texture)}
            entry: dict[str, Any] = {"name": material.name, "pbrMetallicRoughness": surface}
            if material.double_sided:
                entry["doubleSided"] = True
            self._material_of[material] = len(self.materials)
            self.materials.append(entry)
        return self._material_of[material]

    def image(self, data: bytes) -> int:
        """Texture of PNG or JPEG bytes; images and textures are numbered alike."""
        if data not in self._image_of:
            self._image_of[data] = len(self.images)
            self.images.append({"bufferView": self.view(data), "mimeType": _mime(data)})
        return self._image_of[data]

    def container(self, document: dict[str, Any]) -> bytes:
        """The .glb: header, JSON chunk padded with blanks, binary chunk padded with zeros."""
        if self.images:
            document["samplers"] = [
                {
                    "magFilter": _LINEAR,
                    "minFilter": _LINEAR_MIPMAP_LINEAR,
                    "wrapS": _CLAMP_TO_EDGE,
                    "wrapT": _CLAMP_TO_EDGE,
                }
            ]
            document["images"] = self.images
            document["textures"] = [{"source": i, "sampler": 0} for i in range(len(self.images))]
        document["materials"] = self.materials
        document["accessors"] = self.accessors
        document["bufferViews"] = self.views
        document["buffers"] = [{"byteLength": len(self.chunk)}]
        text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
        text += b" " * (-len(text) % 4)
        binary = bytes(self.chunk) + b"\0" * (-len(self.chunk) % 4)
        total = 12 + 8 + len(text) + 8 + len(binary)
        return b"".join(
            [
                struct.pack("<4sII", b"glTF", 2, total),
                struct.pack("<I4s", len(text), b"JSON"),
                text,
                struct.pack("<I4s", len(binary), b"BIN\0"),
                binary,
            ]
        )


def _animation(builder: _Builder, animation: Animation) -> dict[str, Any]:
    start = builder.track(np.asarray(animation.times), "SCALAR", bounds=True)
    tracks: list[tuple[str, int]] = []
    if animation.weights is not None:
        tracks.append(("weights", builder.track(np.ravel(animation.weights), "SCALAR")))
    if animation.rotations is not None:
        tracks.append(("rotation", builder.track(_quaternions(animation.rotations), "VEC4")))
    if animation.translations is not None:
        moved = np.asarray(animation.translations) * METRES_PER_MM
        tracks.append(("translation", builder.track(moved, "VEC3")))
    return {
        "name": animation.name,
        "samplers": [{"input": start, "output": output, "interpolation": "LINEAR"} for _, output in tracks],
        "channels": [
            {"sampler": i, "target": {"node": 0, "path": channel}} for i, (channel, _) in enumerate(tracks)
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


def _linear(srgb: NDArray[np.floating]) -> Float32:
    """sRGB-coded values in [0, 1] -> linear light."""
    c = np.clip(srgb, 0, 1)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _row(values: NDArray[Any]) -> list[float]:
    return [float(value) for value in np.asarray(values, np.float64).reshape(-1)]


def _mime(data: bytes) -> str:
    if data.startswith(b"\x89PNG"):
        return "image/png"
    if data.startswith(b"\xff\xd8"):
        return "image/jpeg"
    raise ValueError("a texture must be PNG or JPEG bytes")


def _check(
    mesh: Mesh, parts: Sequence[Part], morphs: MorphTargets | None, animation: Animation | None
) -> None:
    n, t = len(mesh.vertices), len(mesh.triangles)
    wanted: list[tuple[str, NDArray[np.generic] | None, tuple[int, ...]]] = []
    for i, part in enumerate(parts):
        wanted.append((f"parts[{i}].triangles", part.triangles, (t,)))
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
