"""All maps of one head in its uv: texture, normal map, displacement.

Tested by tests/facefolder/test_maps.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerelief.face.reconstruction import Reconstruction
from facerelief.facefolder.relief_merge import merged_relief
from facerelief.facefolder.relief_uv import faded, normal_map
from facerelief.facefolder.texture import appearance, enlarged, textured, working_size
from facerelief.rendering.texture import rasterize_islands
from facerelief.typed import Float32

_ZERO = 32768
"""Code of no displacement."""


@dataclass(frozen=True, eq=False)
class HeadMaps:
    """Colours and relief of a head."""

    colors: Float32
    """(N, 3) of the vertices, sRGB in [0, 1]."""
    texture: Float32 | None = None
    """(S, S, 3) sRGB in [0, 1]; None for a model without uv."""
    normal_map: NDArray[np.uint8] | None = None
    """(S, S, 3) as `relief_uv.normal_map`; None without uv or relief."""
    displacement: Float32 | None = None
    """(S, S) mm along the normals of the smooth surface; None without uv or relief."""


def head_maps(r: Reconstruction, size: int = 2048, same_subject: Sequence[Reconstruction] = ()) -> HeadMaps:
    """Texture and relief of a face in its model's uv, both fading where the photo shows nothing.

    Args:
        r: The face.
        size: Side S of the maps, texels.
        same_subject: Other photos' faces of the subject: what they show better comes from them, and relief is
            merged.
    """
    colors, texture = appearance(r, size, same_subject)
    if texture is None or r.fine is None:
        return HeadMaps(colors, texture)
    return HeadMaps(colors, texture, *relief_maps(r, size, same_subject))


def relief_maps(
    r: Reconstruction, size: int = 2048, same_subject: Sequence[Reconstruction] = ()
) -> tuple[NDArray[np.uint8], Float32]:
    """Normal map (S, S, 3) and displacement (S, S), mm, of a face whose model has uv; see `head_maps`."""
    faces = [r, *(other for other in same_subject if other.fine is not None)]
    small = max(working_size(face, size) for face in faces)
    islands = rasterize_islands(textured(r.model, r.vertices), small)
    height = faded(*merged_relief(faces, small, islands))
    normals = normal_map(r.model, r.vertices, height, islands)
    return enlarged(normals, size), enlarged(height, size)


def encode_displacement(displacement: Float32) -> tuple[NDArray[np.uint16], float]:
    """Code heights in 16 bit: code = 32768 + 32767 h / range, rounded.

    Args:
        displacement: (S, S) mm.

    Returns:
        (S, S), and the range, mm: the greatest height to either side, at least 0.1, rounded up to 0.1.
    """
    reach = max(float(np.ceil(10 * np.abs(displacement).max(initial=0)) / 10), 0.1)
    return np.rint(_ZERO + displacement * (32767 / reach)).astype(np.uint16), reach


def decode_displacement(coded: NDArray[np.uint16], reach: float) -> Float32:
    """Inverse of `encode_displacement`: (S, S) mm."""
    return ((coded.astype(np.float32) - _ZERO) * np.float32(reach / 32767)).astype(np.float32)
