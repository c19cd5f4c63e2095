"""Pictures of a .glb file as an engine shows it, with materials and normal map, without back faces.

The renderer is plain: linear light, one lamp and a sky of uniform colour, Lambert and a GGX highlight.

Tested by tests/facefolder/test_gallery.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.normals import vertex_normals
from facerelief.io.read_glb import Primitive, Scene, Surface
from facerelief.morphable.named_expressions import NAMED
from facerelief.rendering.preview import preview_sheet
from facerelief.rendering.rasterizer import interpolate, rasterize
from facerelief.typed import Bool, Float32, Float64, Image

SKY = (0.56, 0.72, 0.90)
"""Background, sRGB: what shines through a head is seen."""
_LAMP = np.array([0.45, 0.5, 0.74])
_LAMP_LIGHT, _SKY_LIGHT = 2.1, 0.42
_REFLECTANCE = 0.04
"""Share of light that skin and enamel reflect, seen from the front."""
_DISTANCE_MM = 900.0


@dataclass(frozen=True)
class View:
    """One picture."""

    name: str
    yaw: float = 0.0
    """Degrees, to the image's right."""
    expression: tuple[tuple[str, float], ...] | None = None
    """Weights by name, from neutral; those that the file opens with unless given."""
    zoom: float = 1.0


VIEWS: tuple[View, ...] = (
    View("front"),
    View("45 degrees", 45),
    View("profile", 90),
    View("smile", 15, (("smile", 1.0),)),
    View("jaw open", 0, (("jawOpen", 1.0),)),
    View("blink", 0, (("blink", 1.0),)),
)


def gallery_sheet(scene: Scene, size: int = 640, views: Sequence[View] = VIEWS, columns: int = 3) -> Image:
    """All views of a scene on one sheet, `columns` in a row; views of `size` px."""
    shown = [
        view
        for view in views
        if view.expression is None or _weights(scene, dict(view.expression)) is not None
    ]
    return preview_sheet(
        [(view.name, render_view(scene, view, size)) for view in shown], columns=columns, height=size
    )


def render_view(scene: Scene, view: View, size: int = 640) -> Image:
    """One view of a scene, (size, size, 3), with twice the resolution inside.

    Raises:
        ValueError: The scene has no such expression.
    """
    import cv2

    weights: Float64 | None = np.asarray(scene.weights, np.float64)
    if view.expression is not None:
        weights = _weights(scene, dict(view.expression))
    if weights is None:
        raise ValueError(f"the file has no expression for {view.name!r}")
    fine = 2 * size
    camera = _camera(scene, view, fine)
    image = np.broadcast_to(_linear(np.array(SKY)), (fine, fine, 3)).astype(np.float32)
    nearest = np.full((fine, fine), -np.inf, np.float32)
    for part in scene.primitives:
        _render(part, weights, camera, image, nearest)
    small = np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA), np.float32)
    return np.rint(255 * _coded(small)).astype(np.uint8)


def _weights(scene: Scene, named: Mapping[str, float]) -> Float64 | None:
    """(E,) weights of the scene's targets for expressions by name; None where it lacks one."""
    index = {name: i for i, name in enumerate(scene.names)}
    out = np.zeros(len(scene.names))
    for name, weight in named.items():
        for part, share in ({name: 1.0} if name in index else NAMED.get(name, {name: 1.0})).items():
            if part not in index:
                return None
            out[index[part]] += weight * share
    return out


def _camera(scene: Scene, view: View, size: int) -> WeakPerspective:
    """The whole head in the middle, seen from 90 cm."""
    points = np.concatenate([part.vertices for part in scene.primitives])
    low, high = points.min(axis=0), points.max(axis=0)
    reach = float(max(high[1] - low[1], high[0] - low[0], high[2] - low[2]))
    scale = 0.86 * size / reach * view.zoom
    camera = WeakPerspective(0.0, np.radians(view.yaw), 0.0, 0.0, 0.0, scale, 1 / _DISTANCE_MM)
    middle = camera.to_camera((low + high) / 2)
    return WeakPerspective(
        0.0,
        np.radians(view.yaw),
        0.0,
        size / 2 - scale * float(middle[0]),
        size / 2 + scale * float(middle[1]),
        scale,
        1 / _DISTANCE_MM,
    )


def _render(
    part: Primitive, weights: Float64, camera: WeakPerspective, image: Float32, nearest: Float32
) -> None:
    """Render a primitive over an image (H, W, 3), linear, where it is nearer than `nearest` (H, W)."""
    height, width = nearest.shape
    vertices, normals = _moved(part, weights)
    points = camera.to_camera(vertices).astype(np.float64)
    uvz = camera.project(vertices).astype(np.float64)
    triangles = part.triangles
    if not part.surface.double_sided:
        a, b, c = (uvz[triangles[:, k], :2] for k in range(3))
        turned = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0] < 0  # v is down
        triangles = triangles[turned]
    if not len(triangles):
        return
    fragments = rasterize(uvz, triangles, height, width)
    there = fragments.mask & (np.nan_to_num(fragments.depth, nan=-np.inf) > nearest)
    if not there.any():
        return

    def at(values: Float32 | Float64) -> Float32:
        return interpolate(fragments, triangles, values)[there]

    place = at(points)
    toward = np.array([0.0, 0.0, 1 / camera.inverse_distance]) - place
    toward /= np.linalg.norm(toward, axis=1, keepdims=True)
    normal = _unit(at(camera.to_camera(normals)))
    uv = None if part.uv is None else at(part.uv)
    if part.surface.normal_map is not None and uv is not None and part.tangents is not None:
        tangent = at(camera.to_camera(part.tangents[:, :3]))
        normal = _mapped(part.surface.normal_map, uv, normal, tangent, np.sign(at(part.tangents[:, 3])))
    away = (normal * toward).sum(axis=1) < 0
    normal[away & part.surface.double_sided] *= -1
    color = _albedo(part, uv, None if part.colors is None else at(part.colors))
    image[there] = _lit(color, normal, toward, part.surface)
    nearest[there] = fragments.depth[there]


def _moved(part: Primitive, weights: Float64) -> tuple[Float32, Float32]:
    """Vertices and unit normals (V, 3) with morph targets applied, as engines do."""
    vertices, normals = part.vertices, part.normals
    used = weights[: len(part.targets)].astype(np.float32)
    if used.any():
        vertices = vertices + np.tensordot(used, part.targets[: len(used)], 1)
        if normals is not None and part.normal_targets is not None:
            normals = normals + np.tensordot(used, part.normal_targets[: len(used)], 1)
    if normals is None:
        normals = vertex_normals(vertices, part.triangles)
    return vertices.astype(np.float32), np.asarray(normals, np.float32)


def _mapped(coded: Image, uv: Float32, normal: Float32, tangent: Float32, sign: Float32) -> Float32:
    """Normals (P, 3) turned by a tangent-space normal map at uv (P, 2)."""
    n = _sampled(coded, uv) * np.float32(2 / 255) - 1
    tangent = _unit(tangent - (tangent * normal).sum(axis=1, keepdims=True) * normal)
    across = sign[:, None] * np.cross(normal, tangent)
    return _unit(n[:, :1] * tangent + n[:, 1:2] * across + n[:, 2:] * normal)


def _albedo(part: Primitive, uv: Float32 | None, colors: Float32 | None) -> Float32:
    """(P, 3) linear colour."""
    surface = part.surface
    factor = np.array(surface.color, np.float32)
    if surface.texture is not None and uv is not None:
        return _linear(_sampled(surface.texture, uv) / 255) * factor
    if colors is not None:
        return colors * factor
    count = 0 if uv is None else len(uv)
    return np.broadcast_to(factor, (count, 3)) if uv is not None else factor[None]


def _lit(color: Float32, normal: Float32, toward: Float32, surface: Surface) -> Float32:
    """(P, 3) reflected light."""
    lamp = _LAMP / np.linalg.norm(_LAMP)
    facing = np.clip(normal @ lamp, 0, None)
    sky = _SKY_LIGHT * (0.75 + 0.25 * normal[:, 1])
    half = _unit(toward + lamp)
    square = max(surface.roughness, 0.05) ** 4
    level = np.clip((normal * half).sum(axis=1), 0, 1)
    seen = np.clip((normal * toward).sum(axis=1), 1e-3, 1)
    spread = square / (np.pi * (level * level * (square - 1) + 1) ** 2)
    k = (surface.roughness + 1) ** 2 / 8
    shadowing = 1 / ((seen * (1 - k) + k) * (facing * (1 - k) + k) * 4)
    fresnel = _REFLECTANCE + (1 - _REFLECTANCE) * (1 - np.clip((toward * half).sum(axis=1), 0, 1)) ** 5
    gloss = spread * shadowing * fresnel * facing
    matte = color * (facing * _LAMP_LIGHT / np.pi + sky)[:, None]
    return (matte + np.minimum(gloss * _LAMP_LIGHT, 4)[:, None]).astype(np.float32)


def _sampled(values: Image, uv: Float32) -> Float32:
    """(P, 3) bilinear samples of an image at uv (P, 2), v up."""
    import cv2

    height, width = values.shape[:2]
    column = (uv[:, 0] * width - 0.5).astype(np.float32)
    row = ((1 - uv[:, 1]) * height - 0.5).astype(np.float32)
    wide = 4096  # cv2.remap takes at most 32767 rows
    pad = -len(column) % wide
    column, row = (np.pad(x, (0, pad)).reshape(-1, wide) for x in (column, row))
    out = cv2.remap(values, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(out, np.float32).reshape(-1, 3)[: len(uv)]


def _unit(vectors: Float32 | Float64) -> Float32:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-9), np.float32)


def _linear(srgb: Float32 | Float64) -> Float32:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _coded(light: Float32) -> Float32:
    c = np.clip(light, 0, 1)
    return np.where(c <= 0.0031308, 12.92 * c, 1.055 * c ** (1 / 2.4) - 0.055).astype(np.float32)


def sky_share(image: Image, inside: Bool) -> float:
    """Share of the pixels `inside` (H, W) of a rendered view in which the sky is seen."""
    sky = np.abs(image.astype(int) - np.rint(255 * np.array(SKY)).astype(int)).max(axis=2) <= 2
    return float(sky[inside].mean()) if inside.any() else 0.0
