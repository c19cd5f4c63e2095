"""Z-buffer rasteriser, spherical-harmonic light, textures and previews; conventions: docs/conventions.md."""

from facerelief.rendering.lighting import ambient_light, directional_light, fold_light, rotate_light, shade
from facerelief.rendering.preview import preview_sheet
from facerelief.rendering.rasterizer import Fragments, interpolate, rasterize, visible_vertices
from facerelief.rendering.render import overlay, render_depth, shade_mesh
from facerelief.rendering.spherical_harmonics import sh_basis, sh_basis_jacobian
from facerelief.rendering.texture import complete_texture, sample_texture

__all__ = [
    "Fragments",
    "ambient_light",
    "complete_texture",
    "directional_light",
    "fold_light",
    "interpolate",
    "overlay",
    "preview_sheet",
    "rasterize",
    "render_depth",
    "rotate_light",
    "sample_texture",
    "sh_basis",
    "sh_basis_jacobian",
    "shade",
    "shade_mesh",
    "visible_vertices",
]
