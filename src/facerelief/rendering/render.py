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
"""sRGB colour of meshes without colours."""
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
    """A shaded preview of a mesh; the inside of its surface is dark.

    Args:
        mesh: Model space, mm.
        camera: Pose, in px of the result.
        height: Of the result, px.
        width: Of the result, px.
        color: (3,) sRGB in [0, 1]; the mesh's own colours, else `CLAY`, unless given.
        light: (9, 3) spherical harmonics, camera space; `ambient_light()` shows plain colours. Unless given,
            four studio lights with a little gloss.
        background: (3,) colour, or (height, width, 3) image, uint8 or in [0, 1]; with the photo itself an
            overlay has no fringes.
        samples: Its square is the number of samples per pixel, which smooth the edges.

    Returns:
        (height, width, 3) RGB, and the covered share of each pixel (height, width) in [0, 1].

    Raises:
        ValueError: Shapes do not fit.
    """
    from facerelief.rendering import _kernels

    if samples < 1:
        raise ValueError(f"samples is {samples}, expected at least 1")
    uvz = camera.in_crop(0.0, 0.0, samples).project(mesh.vertices.astype(np.float64))
    fragments = rasterize(uvz, mesh.triangles, height * samples, width * samples)
    fragments = fragments.perspective(mesh.triangles, uvz[:, 2], camera.inverse_distance)
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
    """Depth of a mesh at the pixel centres.

    Args:
        vertices: (N, 3) model space, mm.
        triangles: (T, 3) vertex ids, counter-clockwise seen from outside.
        camera: Pose, in px of the result.
        height: Of the result, px.
        width: Of the result, px.
        cull_backfaces: Leave out triangles seen from behind, such as the inside of the head through the open
            mouth.

    Returns:
        (height, width) mm along camera z, larger is nearer, NaN off the mesh.
    """
    uvz = camera.project(vertices)
    fragments = rasterize(uvz, triangles, height, width, cull_backfaces=cull_backfaces)
    return fragments.perspective(triangles, uvz[:, 2], camera.inverse_distance).depth


def overlay(image: ArrayLike, render: ArrayLike, mask: ArrayLike, alpha: float = 1.0) -> Image:
    """Blend a rendering over an image: image (1 - alpha mask) + render alpha mask.

    Args:
        image: (H, W, 3), uint8 or float in [0, 1].
        render: Likewise.
        mask: (H, W), boolean or the coverage from `shade_mesh`.
        alpha: In [0, 1].

    Returns:
        (H, W, 3).

    Raises:
        ValueError: Shapes do not fit.
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
