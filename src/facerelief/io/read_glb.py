"""Reader of .glb files as engines show them: meshes with materials, morph targets and textures.

What is read: positions, normals, tangents, texture coordinates, vertex colours, morph targets, base colour
and normal textures, transforms of nodes. Skinned meshes come in their bind pose; animations are left out.

Tested by tests/io/test_read_glb.py.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import ImageError
from facerelief.typed import Float32, Image, Int32

_TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_TRIANGLES = 4


@dataclass(frozen=True, eq=False)
class Surface:
    """Material of a primitive."""

    color: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Linear, multiplies the texture."""
    texture: Image | None = None
    """(H, W, 3) sRGB."""
    normal_map: Image | None = None
    """(H, W, 3) tangent-space normals."""
    roughness: float = 1.0
    double_sided: bool = False


@dataclass(frozen=True, eq=False)
class Primitive:
    """Triangles with one material; V vertices."""

    vertices: Float32
    """(V, 3) mm."""
    triangles: Int32
    """(T, 3)"""
    surface: Surface
    normals: Float32 | None = None
    """(V, 3)"""
    tangents: Float32 | None = None
    """(V, 4)"""
    uv: Float32 | None = None
    """(V, 2), v up."""
    colors: Float32 | None = None
    """(V, 3) linear."""
    targets: Float32 = field(default_factory=lambda: np.zeros((0, 0, 3), np.float32))
    """(E, V, 3) displacements, mm."""
    normal_targets: Float32 | None = None
    """(E, V, 3) changes of the normals; None where the file has none."""


@dataclass(frozen=True, eq=False)
class Scene:
    """All meshes of a file."""

    primitives: tuple[Primitive, ...]
    names: tuple[str, ...] = ()
    """Morph targets of the first mesh that has some."""
    weights: tuple[float, ...] = ()
    """Their weights when the file is opened."""


def read_glb(path: str | Path) -> Scene:
    """Read a .glb file.

    Raises:
        ImageError: No .glb file, damaged, or with parts that this reader does not know; one line.
    """
    path = Path(path)
    try:
        return _Reader(path.read_bytes()).scene()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, IndexError, TypeError, struct.error) as error:
        raise ImageError(f"{path}: no .glb file that can be shown ({error})") from error


class _Reader:
    def __init__(self, data: bytes) -> None:
        if data[:4] != b"glTF" or len(data) < 20:
            raise ValueError("it does not begin with glTF")
        length, kind = struct.unpack_from("<I4s", data, 12)
        if kind != b"JSON":
            raise ValueError("its first part is not JSON")
        self.gltf: dict[str, Any] = json.loads(data[20 : 20 + length])
        if needed := set(self.gltf.get("extensionsRequired", ())):
            raise ValueError(f"it needs {', '.join(sorted(needed))}")
        self.chunk = memoryview(data)[28 + length :]
        self.images: dict[int, Image] = {}

    def scene(self) -> Scene:
        primitives: list[Primitive] = []
        names, weights = (), ()
        nodes = self.gltf.get("nodes", [])
        for index, matrix in self._placed():
            node = nodes[index]
            if "mesh" not in node:
                continue
            mesh = self.gltf["meshes"][node["mesh"]]
            placed = np.eye(4) if "skin" in node else matrix
            primitives += [self._primitive(p, placed) for p in mesh["primitives"]]
            found = tuple(mesh.get("extras", {}).get("targetNames", ()))
            if found and not names:
                names = found
                weights = tuple(node.get("weights", mesh.get("weights", [0.0] * len(found))))
        if not primitives:
            raise ValueError("it has no mesh")
        return Scene(tuple(primitives), names, weights)

    def _placed(self) -> list[tuple[int, NDArray[np.float64]]]:
        """Each node of the scene with its matrix in the world."""
        scene = self.gltf["scenes"][self.gltf.get("scene", 0)]
        todo = [(index, np.eye(4), 0) for index in scene["nodes"]]
        out: list[tuple[int, NDArray[np.float64]]] = []
        while todo:
            index, above, depth = todo.pop(0)
            if depth > 100:
                raise ValueError("its nodes form a circle")
            node = self.gltf["nodes"][index]
            matrix = above @ _local(node)
            out.append((index, matrix))
            todo += [(child, matrix, depth + 1) for child in node.get("children", ())]
        return out

    def _primitive(self, p: dict[str, Any], matrix: NDArray[np.float64]) -> Primitive:
        if p.get("mode", _TRIANGLES) != _TRIANGLES:
            raise ValueError("it has primitives other than triangles")
        attributes = p["attributes"]
        turn = matrix[:3, :3]
        positions = self.accessor(attributes["POSITION"])
        count = len(positions)
        ids = self.accessor(p["indices"])[:, 0] if "indices" in p else np.arange(count)
        if len(ids) and int(ids.max()) >= count:
            raise ValueError("its indices exceed its vertices")

        def given(name: str) -> NDArray[Any] | None:
            return self.accessor(attributes[name]) if name in attributes else None

        uv, normals, tangents, colors = map(given, ("TEXCOORD_0", "NORMAL", "TANGENT", "COLOR_0"))
        targets = p.get("targets", [])
        moved = [self.accessor(t["POSITION"]) if "POSITION" in t else np.zeros((count, 3)) for t in targets]
        turned = [self.accessor(t["NORMAL"]) for t in targets if "NORMAL" in t]
        return Primitive(
            vertices=(1000 * (positions @ turn.T + matrix[:3, 3])).astype(np.float32),
            triangles=np.ascontiguousarray(ids.reshape(-1, 3), np.int32),
            surface=self._surface(p.get("material")),
            normals=None if normals is None else (normals @ turn.T).astype(np.float32),
            tangents=None
            if tangents is None
            else np.column_stack([tangents[:, :3] @ turn.T, tangents[:, 3]]).astype(np.float32),
            uv=None if uv is None else np.column_stack([uv[:, 0], 1 - uv[:, 1]]).astype(np.float32),
            colors=None if colors is None else colors[:, :3].astype(np.float32),
            targets=np.stack([1000 * m @ turn.T for m in moved]).astype(np.float32)
            if moved
            else np.zeros((0, count, 3), np.float32),
            normal_targets=np.stack([t @ turn.T for t in turned]).astype(np.float32)
            if turned and len(turned) == len(targets)
            else None,
        )

    def accessor(self, index: int) -> NDArray[Any]:
        """(count, width) values; normalised integers as fractions, sparse ones filled in."""
        entry = self.gltf["accessors"][index]
        width, count = _WIDTHS[entry["type"]], entry["count"]
        kind = _TYPES[entry["componentType"]]
        if "bufferView" in entry:
            out = self._raw(entry["bufferView"], entry.get("byteOffset", 0), kind, count, width)
        else:
            out = np.zeros((count, width), kind)
        if "sparse" in entry:
            sparse = entry["sparse"]
            at, values = sparse["indices"], sparse["values"]
            rows = self._raw(
                at["bufferView"], at.get("byteOffset", 0), _TYPES[at["componentType"]], sparse["count"], 1
            )
            out = out.copy()
            out[rows[:, 0]] = self._raw(
                values["bufferView"], values.get("byteOffset", 0), kind, sparse["count"], width
            )
        if entry.get("normalized"):
            return out.astype(np.float32) / np.float32(np.iinfo(out.dtype).max)
        return out

    def _raw(self, view: int, offset: int, kind: str, count: int, width: int) -> NDArray[Any]:
        entry = self.gltf["bufferViews"][view]
        if entry.get("buffer", 0) != 0:
            raise ValueError("its data lie in another file")
        start = entry.get("byteOffset", 0) + offset
        item = np.dtype(kind).itemsize * width
        stride = entry.get("byteStride", item)
        size = stride * (count - 1) + item
        if count < 1 or min(start, offset) < 0 or stride < item or start + size > len(self.chunk):
            raise ValueError("its data are cut off")
        data = np.frombuffer(self.chunk[start : start + size], np.uint8)
        rows = np.lib.stride_tricks.as_strided(data, (count, item), (stride, 1))
        return np.ascontiguousarray(rows).view(kind).reshape(count, width)

    def _surface(self, index: int | None) -> Surface:
        if index is None:
            return Surface()
        entry = self.gltf["materials"][index]
        look = entry.get("pbrMetallicRoughness", {})
        red, green, blue = look.get("baseColorFactor", (1, 1, 1, 1))[:3]
        return Surface(
            color=(float(red), float(green), float(blue)),
            texture=self._texture(look.get("baseColorTexture")),
            normal_map=self._texture(entry.get("normalTexture")),
            roughness=float(look.get("roughnessFactor", 1.0)),
            double_sided=bool(entry.get("doubleSided", False)),
        )

    def _texture(self, entry: dict[str, Any] | None) -> Image | None:
        if entry is None:
            return None
        source = self.gltf["textures"][entry["index"]]["source"]
        if source not in self.images:
            view = self.gltf["bufferViews"][self.gltf["images"][source]["bufferView"]]
            start = view.get("byteOffset", 0)
            self.images[source] = _image(bytes(self.chunk[start : start + view["byteLength"]]))
        return self.images[source]


def _image(data: bytes) -> Image:
    import cv2

    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if found is None:
        raise ValueError("one of its images is damaged")
    return np.asarray(cv2.cvtColor(found, cv2.COLOR_BGR2RGB), np.uint8)


def _local(node: dict[str, Any]) -> NDArray[np.float64]:
    """(4, 4) transform of a node within its parent."""
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    x, y, z, w = node.get("rotation", (0.0, 0.0, 0.0, 1.0))
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    out = np.eye(4)
    out[:3, :3] = turn * np.array(node.get("scale", (1.0, 1.0, 1.0)))
    out[:3, 3] = node.get("translation", (0.0, 0.0, 0.0))
    return out
