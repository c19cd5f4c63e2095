"""Albedo of the whole head: the photo without its light where the head is visible, completed elsewhere."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerelief.face.reconstruction import Reconstruction
from facerelief.geometry.adjacency import neighbour_mean, vertex_links
from facerelief.geometry.mesh import Mesh
from facerelief.geometry.normals import vertex_normals
from facerelief.geometry.patch import ColorPatch
from facerelief.inverse.detail import DetailConfig
from facerelief.morphable.front import lining_triangles, solid_triangles
from facerelief.morphable.model import FaceModel
from facerelief.rendering.lighting import shade
from facerelief.rendering.rasterizer import interpolate, rasterize
from facerelief.rendering.texture import complete_texture, paint_islands, pixels_per_texel, sample_texture
from facerelief.typed import Bool, Float, Float32

_MARGIN_MM = 7.0
"""Margin at the head's outline in which the photo may show the background."""
_SEAM_MM = 8.0
"""Width, inside the face's outline, of the blend from photo divided by coarse shading to found albedo."""
_SOFT_MM = 2.5
"""Blur of the coarse head's shading, since chin and ears of a fit are slightly displaced."""
_CHIN_MM = 30.0
"""Half the width of the part of the neck, under the chin, on which the photo is believed."""
_FLOOR = 0.35
"""Least shading beside the face, as a share of the face's: light is estimated on the face and
extrapolated to ears, neck and scalp."""
_DIM = (0.2, 0.6)
"""Shares of the face's median shading at which a texel has no weight, and full weight."""
_WHITE = (0.93, 1.07)
"""Albedo, in the darkest channel, at which a texel has full weight, and no weight."""
_DOMINANCE = 4
"""Power of a texel's weights when photos of one subject are merged."""
_FEWEST_TEXELS = 200
"""Texels that two photos must both show well before their tones are compared."""
_FINEST = 0.75
"""Pixels of the photo to a texel up to which texels need not be smaller."""
_LEAST_SIZE = 512
"""Least side at which textures are made: eyes and teeth are drawn by the model."""
_GRID = 384
"""Largest side of the grid on which the coarse head's smooth shading is rendered, px."""


def appearance(
    r: Reconstruction, size: int = 2048, same_subject: Sequence[Reconstruction] = ()
) -> tuple[Float32, Float32 | None]:
    """Albedo of the head, without light, as viewers expect it.

    It is made at `working_size` and enlarged: a small photo has no more to show.

    Args:
        r: The face.
        size: Side S of the texture, px.
        same_subject: Other photos' faces of the subject: what they show better comes from them, but the eyes.

    Returns:
        Colours (N, 3) of the vertices, and the texture (S, S, 3) or None for a model without uv; sRGB in
        [0, 1].
    """
    skin = model_skin(r)
    if not has_uv(r.model):
        return skin, None
    mesh, wanted = textured(r.model, r.vertices), size
    size = max(working_size(face, wanted) for face in (r, *same_subject))
    inner, eyes = _inner(r.model, mesh), r.model.eyeballs[mesh.triangles].all(axis=1)
    own = sampled, weight = _seen_albedo(r, mesh, size)
    if same_subject:
        others = [_seen_albedo(o, textured(o.model, o.vertices), size) for o in same_subject]
        finest = max(face.camera.scale for face in (r, *same_subject))
        sharp = [face.camera.scale / finest for face in (r, *same_subject)]
        sampled, weight = _merged(sampled, weight, others, sharp)
    skin_mesh, hair = _part(mesh, ~eyes & ~inner), hair_share(r.model)
    texture = complete_texture(sampled, weight, skin_mesh, r.model.symmetry, skin, hair=hair)
    if eyes.any():
        _paint_eyes(texture, *own, _part(mesh, eyes), skin)  # every photo has its own gaze
    if inner.any():
        paint_islands(texture, mesh, inner, skin)
    corner = np.full(r.model.n_vertices, -1, np.int64)
    corner[r.model.triangles.ravel()] = r.model.uv_triangles.ravel()
    column, row = (r.model.uv[corner] * [size, -size] + [0, size]).T
    at = texture[np.clip(row.astype(int), 0, size - 1), np.clip(column.astype(int), 0, size - 1)]
    colors = np.where(corner[:, None] >= 0, at, skin).astype(np.float32)
    return colors, np.clip(enlarged(texture, wanted), 0, 1)


def working_size(r: Reconstruction, size: int) -> int:
    """Side at which maps of `size` texels are made: halved while a texel stays finer than `_FINEST` pixels of
    the photo and the side above `_LEAST_SIZE`."""
    mesh = textured(r.model, r.vertices)
    front = r.model.face_vertices[mesh.triangles].all(axis=1)
    if not front.any():
        return size
    pixels = pixels_per_texel(_part(mesh, front), r.camera, size)
    while size % 2 == 0 and size // 2 >= _LEAST_SIZE and 2 * pixels <= _FINEST:
        size, pixels = size // 2, 2 * pixels
    return size


def enlarged(values: NDArray[Any], size: int) -> NDArray[Any]:
    """A map (s, s) or (s, s, C) at (size, size), cubic; the map itself where it has that size."""
    import cv2

    if len(values) == size:
        return values
    return np.asarray(cv2.resize(values, (size, size), interpolation=cv2.INTER_CUBIC), values.dtype)


@functools.lru_cache(maxsize=4)
def hair_share(model: FaceModel) -> Float32:
    """(N,) 1 on the scalp, falling to 0 over the skin beside it."""
    scalp = model.region("scalp") & ~model.region("ears")
    share = scalp.astype(np.float32)
    if scalp.any():
        mean = neighbour_mean(vertex_links(model.triangles, model.n_vertices).astype(np.float32))
        for _ in range(4):
            share = np.asarray(mean @ share, np.float32)
    return share


def _inner(model: FaceModel, mesh: Mesh) -> Bool:
    """(T,) triangles that no photo shows well, or not as the model has them: behind lips and lids, lashes."""
    return np.asarray(lining_triangles(model) | model.region("lashes")[mesh.triangles].all(axis=1))


def _seen_albedo(r: Reconstruction, mesh: Mesh, size: int) -> tuple[Float32, Float32]:
    """(S, S, 3) albedo in [0, 1] that the photo shows, and (S, S) its weight."""
    # ears and neck are fitted loosely, and the photo may show hair or clothes there
    beside = ~r.model.face_vertices | (np.abs(r.model.mean[:, 0]) > _CHIN_MM)
    loose = r.model.region("ears") | (r.model.region("neck") & beside)
    photo = without_light(r)
    sampled, weight = sample_texture(
        photo.color,
        _part(mesh, ~loose[mesh.triangles].any(axis=1) & ~_inner(r.model, mesh)),
        r.camera.in_crop(photo.left, photo.top, 1.0),
        size,
        margin_mm=_MARGIN_MM,
    )
    weight *= _lit(r, mesh, size) * _possible(sampled)
    return np.clip(sampled, 0.0, 1.0, out=sampled), weight


def _merged(
    own: Float32, own_weight: Float32, others: Sequence[tuple[Float32, Float32]], sharp: Sequence[float]
) -> tuple[Float32, Float32]:
    """Albedo and weight of several photos, in the tone of the first.

    Brightness of skin and light are told apart differently in each photo, so each is brought to the first's
    median. The best view of a texel dominates, by its weight and the photo's relative resolution `sharp` (own
    first): equal shares would blur what does not lie exactly alike.
    """
    share = (sharp[0] * own_weight) ** _DOMINANCE
    total, shares, best = own * share[:, :, None], share, own_weight
    for (color, weight), fine in zip(others, sharp[1:], strict=True):
        both = (own_weight > 0.5) & (weight > 0.5)
        gain = np.ones(3, np.float32)
        if both.sum() > _FEWEST_TEXELS:
            gain = np.median(own[both], axis=0) / np.maximum(np.median(color[both], axis=0), 1e-3)
        share = (fine * weight) ** _DOMINANCE
        total = total + np.clip(color * gain, 0.0, 1.0) * share[:, :, None]
        shares, best = shares + share, np.maximum(best, weight)
    return (total / np.maximum(shares, 1e-9)[:, :, None]).astype(np.float32), best


def without_light(r: Reconstruction) -> ColorPatch:
    """The part of the photo around the head divided by its shading; sRGB, not negative, without NaN.

    Inside the face it is the albedo that the method found (`r.skin`), elsewhere and without one the photo
    divided by the shading of the coarse head; the two blend over some mm. Colours above 1 (gloss, or the
    background where a fit is off) are clipped at 1.2. With a light of zeros the photo is taken as albedo.
    """
    uv = r.camera.project(r.vertices)[:, :2]
    height, width = r.image.shape[:2]
    left, top = (int(x) for x in np.clip(np.floor(uv.min(axis=0)) - 4, 0, (width, height)))
    right, bottom = (int(x) for x in np.clip(np.ceil(uv.max(axis=0)) + 4, (left, top), (width, height)))
    color: Float32 = r.image[top:bottom, left:right].astype(np.float32)
    color /= np.float32(255)
    if color.size == 0:
        return ColorPatch(color, left, top)
    shading, eyes = _head_shading(r, left, top, *color.shape[:2])
    if np.any(r.light):
        color /= shading
    if r.skin is not None:
        _blend_skin(color, left, top, r.skin, eyes, _SEAM_MM * r.camera.scale)
    return ColorPatch(np.clip(color, 0.0, DetailConfig.brightest, out=color), left, top)


def _vertex_shading(r: Reconstruction) -> tuple[Float32, Float32]:
    """Shading (N, 3) of the coarse head by the photo's light, and its median (3,) on the face's front."""
    normals = vertex_normals(r.camera.to_camera(r.vertices), r.model.triangles)
    shading: Float32 = shade(normals, r.light)
    front = r.model.face_vertices & (normals[:, 2] > 0.5)
    usual = np.median(shading[front], axis=0) if front.any() else np.ones(3)
    return shading, np.maximum(usual, DetailConfig.darkest).astype(np.float32)


def _lit(r: Reconstruction, mesh: Mesh, size: int) -> Float:
    """(S, S) weight of each texel: 0 in the dark, where a photo divided by its shading has noise and
    errors of the light model, rising to 1."""
    import cv2

    if not np.any(r.light):
        return np.ones((size, size), np.float32)
    shading, usual = _vertex_shading(r)
    dim, bright = _DIM
    share = np.clip(((shading / usual).min(axis=1) - dim) / (bright - dim), 0, 1)
    assert mesh.uv is not None
    assert mesh.uv_triangles is not None
    # smooth: a quarter of the texture's resolution is enough
    small = max(size // 4, 1)
    flat = np.column_stack([mesh.uv[:, 0], 1 - mesh.uv[:, 1], np.zeros(len(mesh.uv))]) * [small, small, 1]
    rendered = rasterize(flat, mesh.uv_triangles, small, small)
    dark = np.where(rendered.mask, interpolate(rendered, mesh.triangles, 1 - share), 0).astype(np.float32)
    return 1 - np.asarray(cv2.resize(dark, (size, size), interpolation=cv2.INTER_LINEAR), np.float32)


def _possible(albedo: Float32) -> Float:
    """(S, S) 1, falling to 0 where an albedo is above white."""
    white, impossible = _WHITE
    darkest = np.minimum(np.minimum(albedo[:, :, 0], albedo[:, :, 1]), albedo[:, :, 2])
    return np.clip((impossible - darkest) / (impossible - white), 0, 1)


def _head_shading(r: Reconstruction, left: int, top: int, height: int, width: int) -> tuple[Float32, Float32]:
    """Shading (h, w, 3) of the coarse head on a window of the photo, extended beyond the head, and the share
    (h, w) of eyeballs."""
    import cv2

    zoom = min(_GRID / max(height, width), 1.0)
    grid = max(round(width * zoom), 1), max(round(height * zoom), 1)
    uvz = (r.camera.project(r.vertices) - [left, top, 0.0]) * [grid[0] / width, grid[1] / height, 1.0]
    solid, ids = solid_triangles(r.model)
    rendered = rasterize(uvz, solid, grid[1], grid[0], cull_backfaces=True)
    shading, usual = _vertex_shading(r)
    shading = np.maximum(shading, np.maximum(DetailConfig.darkest, _FLOOR * usual)).astype(np.float32)
    sigma = max(_SOFT_MM * r.camera.scale * zoom, 0.5)
    little = np.float32(1e-3)
    seen = interpolate(rendered, solid, shading) + little * usual
    spread = np.asarray(cv2.GaussianBlur(seen, (0, 0), sigma), np.float32)
    spread /= np.asarray(cv2.GaussianBlur(rendered.mask.astype(np.float32) + little, (0, 0), sigma))[
        :, :, None
    ]
    ball = r.model.eyeballs[r.model.triangles].all(axis=1)
    eyes = np.append(ball, False)[ids[rendered.triangle]].astype(np.float32)

    def whole(x: Float32) -> Float32:
        return np.asarray(cv2.resize(x, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)

    return whole(spread), whole(eyes)


def _blend_skin(color: Float32, left: int, top: int, skin: ColorPatch, eyes: Float32, seam_px: float) -> None:
    """Blend the face's albedo over the window `color` (h, w, 3) at (left, top) of the photo, in place, except
    on the eyes (h, w): its share is 0 at its outline and 1 from `seam_px` inside."""
    import cv2

    x0, y0 = max(left, skin.left), max(top, skin.top)
    x1 = min(left + color.shape[1], skin.left + skin.color.shape[1])
    y1 = min(top + color.shape[0], skin.top + skin.color.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    own = skin.color[y0 - skin.top : y1 - skin.top, x0 - skin.left : x1 - skin.left]
    window = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
    there = np.asarray(np.isfinite(own).all(axis=2))
    # filled, since the openings of mouth and nostrils are no outline
    outlines, _ = cv2.findContours(np.asarray(there, np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros((there.shape[0] + 2, there.shape[1] + 2), np.uint8)
    cv2.drawContours(filled, outlines, -1, (1,), thickness=cv2.FILLED, offset=(1, 1))
    inside = np.asarray(cv2.distanceTransform(filled, cv2.DIST_L2, 3))[1:-1, 1:-1]
    share = np.clip(inside / max(seam_px, 1.0), 0, 1)
    share = (share * share * (3 - 2 * share) * there * (1 - eyes[window])).astype(np.float32)
    part = color[window]
    part += (np.where(there[:, :, None], own, 0) - part) * share[:, :, None]


def _paint_eyes(texture: Float32, sampled: Float32, weight: Float32, eyes: Mesh, colors: Float32) -> None:
    """Blend the eyeballs into a texture (S, S, 3), in place: the photo where they are visible, elsewhere the
    model's colours (N, 3), scaled to the brightness of the white in the photo.

    weight: (S, S) of the sampled texels. The smooth fill of the skin would spread the contrast of white
    and iris around the ball.
    """
    import cv2

    assert eyes.uv is not None
    assert eyes.uv_triangles is not None
    size = len(texture)
    flat = np.column_stack([eyes.uv[:, 0], 1 - eyes.uv[:, 1], np.zeros(len(eyes.uv))]) * [size, size, 1]
    used = flat[np.unique(eyes.uv_triangles), :2]
    low = np.clip(np.floor(used.min(axis=0)), 0, size - 1).astype(int)
    high = np.clip(np.ceil(used.max(axis=0)), low + 1, size).astype(int)
    window = slice(low[1], high[1]), slice(low[0], high[0])
    texture, sampled, weight = texture[window], sampled[window], weight[window]
    fragments = rasterize(flat - [*low, 0], eyes.uv_triangles, *weight.shape)
    own = interpolate(fragments, eyes.triangles, colors)
    island = fragments.mask
    inside = ((weight > 0) | ~island).astype(np.uint8)
    edge = np.asarray(cv2.distanceTransform(np.pad(inside, 1, constant_values=1), cv2.DIST_L2, 5))[1:-1, 1:-1]
    alpha = np.clip(np.minimum(weight / 0.5, edge * (256.0 / size)), 0, 1) * island
    white = (alpha > 0.9) & (own.min(axis=2) > 0.7 * float(colors[eyes.triangles].max()))
    tone = 0.75  # of eyes that are not visible: viewers do not render the shadow of lids and lashes
    if np.count_nonzero(white) >= 20:
        # lashes shade the white and dark glasses hide it: never below two thirds of the model's
        tone = float(np.clip(np.percentile(sampled[white] / own[white], 70), 0.65, 1.2))
    fill = np.clip(own * np.float32(tone), 0, 1)
    texture[island] = (fill + (sampled - fill) * alpha[:, :, None])[island]


def _part(mesh: Mesh, kept: NDArray[np.bool_] | np.bool_) -> Mesh:
    """A textured mesh with some of its triangles, kept (T,)."""
    assert mesh.uv_triangles is not None
    return replace(mesh, triangles=mesh.triangles[kept], uv_triangles=mesh.uv_triangles[kept])


def model_skin(r: Reconstruction) -> Float32:
    """(N, 3) skin colour of the fitted albedo, sRGB in [0, 1]."""
    return np.clip(r.model.skin(r.albedo), 0, 1)


def has_uv(model: FaceModel) -> bool:
    """True if the model has texture coordinates for each of its triangles."""
    return len(model.uv) > 0 and len(model.uv_triangles) == len(model.triangles)


def textured(model: FaceModel, vertices: Float32) -> Mesh:
    """The model's mesh with texture coordinates; vertices (N, 3) mm."""
    return Mesh(vertices, model.triangles, uv=model.uv, uv_triangles=model.uv_triangles)
