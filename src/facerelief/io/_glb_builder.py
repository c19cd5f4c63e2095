"""The binary chunk of a .glb file and the glTF arrays that point into it.

Tested by tests/io/test_glb.py.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerelief.typed import Float32

# glTF's numbers
_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963
_COMPONENT = {"float32": 5126, "uint16": 5123, "uint32": 5125, "uint8": 5121}
_CLAMP_TO_EDGE = 33071
_LINEAR, _LINEAR_MIPMAP_LINEAR = 9729, 9987
_MAX_UINT16_INDEX = 65534  # 65535 restarts a primitive


@dataclass(frozen=True)
class Material:
    """A surface of glTF's metallic-roughness model."""

    name: str = "face"
    texture: bytes | None = None
    """PNG or JPEG file."""
    color: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """sRGB in [0, 1]; multiplies the texture."""
    roughness: float = 0.9
    metallic: float = 0.0
    double_sided: bool = False
    normal_texture: bytes | None = None
    """PNG or JPEG file of a tangent-space normal map; it takes uv, and the mesh is written with tangents."""


class Builder:
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
        """Accessor of plain values (count, ...), little-endian float32, uint8, uint16 or uint32."""
        entry: dict[str, Any] = {
            "bufferView": self.view(values.tobytes(), target),
            "componentType": _COMPONENT[values.dtype.name],
            "count": len(values),
            "type": kind,
        }
        if bounds:
            entry["min"] = row(values.min(axis=0))
            entry["max"] = row(values.max(axis=0))
        self.accessors.append(entry)
        return len(self.accessors) - 1

    def vertices(self, values: NDArray[np.floating], bounds: bool = False) -> int:
        """Accessor of an attribute (V, 2 to 4)."""
        values = np.ascontiguousarray(values, dtype="<f4")
        return self.accessor(values, f"VEC{values.shape[1]}", _ARRAY_BUFFER, bounds)

    def joints(self, values: NDArray[np.uint8]) -> int:
        """Accessor of joint ids (V, 4)."""
        return self.accessor(np.ascontiguousarray(values), "VEC4", _ARRAY_BUFFER)

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
            entry["min"] = row(np.minimum(kept.min(axis=0), 0))
            entry["max"] = row(np.maximum(kept.max(axis=0), 0))
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
            color = linear(np.asarray(material.color, np.float32)).tolist()
            surface: dict[str, Any] = {
                "metallicFactor": material.metallic,
                "roughnessFactor": material.roughness,
                "baseColorFactor": [*color, 1.0],
            }
            if material.texture is not None:
                surface["baseColorTexture"] = {"index": self.image(material.texture)}
            entry: dict[str, Any] = {"name": material.name, "pbrMetallicRoughness": surface}
            if material.normal_texture is not None:
                entry["normalTexture"] = {"index": self.image(material.normal_texture)}
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


def linear(srgb: NDArray[np.floating]) -> Float32:
    """sRGB-coded values in [0, 1] -> linear light."""
    c = np.clip(srgb, 0, 1)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4).astype(np.float32)


def row(values: NDArray[Any]) -> list[float]:
    return [float(value) for value in np.asarray(values, np.float64).reshape(-1)]


def _mime(data: bytes) -> str:
    if data.startswith(b"\x89PNG"):
        return "image/png"
    if data.startswith(b"\xff\xd8"):
        return "image/jpeg"
    raise ValueError("a texture must be PNG or JPEG bytes")
