"""Images of meshes: shaded previews, depth, overlays."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.mesh import Mesh
from facerelief.geometry.normals import vertex_normals
from facerelief.rendering.lighting import fold_light
from facerelief.rendering.rasterizer import rasterize
from facerelief.typed import Float32, Image

CLAY = (0.78, 0.765, 0.745)
"""sRGB colour of meshes that bring none."""
_STUDIO = np.array(
    # direction from the face to the light (x right, y up, z toward the viewer), strength
    [
        [-0.50, 0.55, 0.70, 0.78],
        [0.85, 0.10, 0.45, 0.20],
        [0.55, 0.45, -0.60, 0.55],
        [-0.75, 0.10, -0.45, 0.25],
    ]
)


def shade_mesh(
    mesh: Mesh,
    camera: WeakPerspective,
    height: int,
    width: int,
    *,
    color: ArrayLike | None = None,
    light: ArrayLike | None = None,
    background: ArrayLike = (1.0, 1.0, 1.0),
    samples: int = 2,
) -> tuple[Image, Float32]:
    """A preview of a mesh (model space, mm) as `camera` sees it.

    color (3,) sRGB in [0, 1]; by default the mesh's own colours, or grey clay. Without `light` a small studio
    is used (key from the upper left, fill, two rims, a little gloss); a light (9, 3) of spherical harmonics
    in camera space shades as the fits do (`ambient_light()` shows plain colours). The inside of the surface
    is dark. `samples` squared samples a pixel smooth the edges. background: a colour, or an image
    (height, width, 3), uint8 or in [0, 1]: give the photo itself for an overlay without fringes.
    Returns (height, width, 3) uint8 and the covered share of each pixel, (height, width) float32 in [0, 1].
    Raises ValueError for shapes that do not fit.
    """
    from facerelief.rendering import _kernels

    if samples < 1:
        raise ValueError(f"samples is {samples}, expected at least 1")
    uvz = camera.in_crop(0.0, 0.0, samples).project(mesh.vertices.astype(np.float64))
    fragments = rasterize(uvz, mesh.triangles, height * samples, width * samples)
    normals = vertex_normals(camera.to_camera(mesh.vertices.astype(np.float32)), mesh.triangles)
    if color is not None:
        colors = np.asarray(color, dtype=np.float32).reshape(1, 3)
    elif mesh.colors is not None:
        colors = np.asarray(mesh.colors, dtype=np.float32)
        if colors.shape != mesh.vertices.shape:
            raise ValueError(f"mesh colours have shape {colors.shape}, expected {mesh.vertices.shape}")
    else:
        colors = np.asarray(CLAY, dtype=np.float32).reshape(1, 3)
    if light is None:
        colors = _decode_srgb(colors)
        studio = _STUDIO.copy()
        studio[:, :3] /= np.linalg.norm(studio[:, :3], axis=1, keepdims=True)
        folded = np.zeros((9, 3))
    else:
        studio = np.zeros((0, 4))
        folded = fold_light(light)
    behind = _unit_colors(background)
    behind = behind.reshape(1, 1, 3) if behind.ndim == 1 else behind
    if behind.shape not in ((1, 1, 3), (height, width, 3)):
        raise ValueError(f"background has shape {behind.shape}, expected (3,) or {(height, width, 3)}")
    image = np.empty((height, width, 3), np.uint8)
    coverage = np.empty((height, width), np.float32)
    _kernels.shade_fragments(
        fragments.triangle,
        fragments.barycentric,
        np.ascontiguousarray(mesh.triangles, np.int32),
        np.ascontiguousarray(normals, np.float32),
        np.ascontiguousarray(colors, np.float32),
        folded,
        studio,
        samples,
        np.ascontiguousarray(behind),
        image,
        coverage,
    )
    return image, coverage


def render_depth(
    vertices: ArrayLike,
    triangles: ArrayLike,
    camera: WeakPerspective,
    height: int,
    width: int,
    *,
    cull_backfaces: bool = True,
) -> Float32:
    """(height, width) float32 depth in mm along camera z, larger is nearer, NaN where the mesh is not.

    vertices (N, 3) model space, mm; triangles (T, 3). Surfaces seen from behind (the inside of the head
    through the open mouth) do not count unless `cull_backfaces` is off.
    """
    uvz = camera.project(vertices)
    return rasterize(uvz, triangles, height, width, cull_backfaces=cull_backfaces).depth


def overlay(image: ArrayLike, render: ArrayLike, mask: ArrayLike, alpha: float = 1.0) -> Image:
    """Blend a rendering over an image: image (1 - alpha mask) + render alpha mask.

    image and render (H, W, 3), uint8 or in [0, 1]; mask (H, W), boolean or the coverage that `shade_mesh`
    returns; alpha in [0, 1]. Returns (H, W, 3) uint8. Raises ValueError for shapes that do not fit.
    """
    base, top = _unit_colors(image), _unit_colors(render)
    share = np.asarray(mask, dtype=np.float32)
    if base.shape != top.shape or share.shape != base.shape[:2]:
        raise ValueError(f"image {base.shape}, render {top.shape} and mask {share.shape} do not match")
    share = (alpha * share)[:, :, None]
    return (np.clip(base + (top - base) * share, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def _unit_colors(colors: ArrayLike) -> Float32:
    """uint8 or float colours to float32 in [0, 1]."""
    given = np.asarray(colors)
    out = given.astype(np.float32)
    return out / np.float32(255.0) if np.issubdtype(given.dtype, np.uint8) else out


def _decode_srgb(colors: Float32) -> Float32:
    """sRGB-coded colours in [0, 1] to linear light."""
    c = np.clip(colors, 0.0, 1.0)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4).astype(np.float32)
