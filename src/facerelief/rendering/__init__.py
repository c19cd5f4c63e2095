"""Z-buffer rasteriser, spherical-harmonic light, textures and previews; conventions: docs/conventions.md."""

from facerelief.rendering.lighting import (
    ambient_light,
    directional_light,
    rotate_light,
    sh_basis,
    sh_basis_jacobian,
    shade,
)
from facerelief.rendering.rasterizer import Fragments, interpolate, rasterize, visible_vertices

__all__ = [
    "Fragments",
    "ambient_light",
    "directional_light",
    "interpolate",
    "rasterize",
    "rotate_light",
    "sh_basis",
    "sh_basis_jacobian",
    "shade",
    "visible_vertices",
]
