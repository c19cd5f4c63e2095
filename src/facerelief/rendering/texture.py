"""Textures: sampled from a photo where the surface is visible, completed by symmetry and a smooth fill.

Convention: a texture is (S, S, 3) float32 in [0, 1], sRGB-coded; uv has v up (OBJ), so the texel in row i,
column j is centred at u = (j + 0.5) / S, v = 1 - (i + 0.5) / S. Meshes have `uv` and `uv_triangles`, one uv
triangle per triangle.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.mesh import Mesh
from facerelief.geometry.normals import triangle_ids, vertex_normals
from facerelief.rendering._smooth import SurfaceSmoother
from facerelief.rendering.rasterizer import Fragments, interpolate, rasterize
from facerelief.typed import Bool, Float32, Float64, Int32

_LOW, _HIGH = 0.15, 0.6
"""n_z from which a texel's weight rises from 0, and from which it is 1."""
_SKIN_RANGE = 0.3
"""Difference of log colours from the median at which something is half skin, half something else."""
_FEWEST = 20
"""Vertices below which no tone is taken from them."""
_FLOOR = 0.02
"""Darkest colour in ratios."""


def sample_texture(
    image: ArrayLike,
    mesh: Mesh,
    camera: WeakPerspective,
    size: int = 512,
    *,
    tolerance_mm: float = 1.5,
    margin_mm: float = 4.0,
) -> tuple[Float32, Float32]:
    """Sample the visible surface's colours from a photo into a texture.

    Each texel's point is projected into the image and sampled bilinearly (from a smaller copy where the photo
    is much finer than the texture).

    Args:
        image: (H, W, 3), uint8 or float in [0, 1].
        mesh: Model space, mm, with uv.
        camera: Pose, in px of the image.
        size: Side of the texture, texels.
        tolerance_mm: Surface this far behind another part still counts as visible.
        margin_mm: Within this distance of the mesh's outline in the photo the weight is reduced, since there
            an inexact fit would show the background.

    Returns:
        Texture (size, size, 3) and weight (size, size): 0 where unseen (hidden, outside the photo, n_z below
        0.15, off the uv islands), rising with n_z to 1 at 0.6.

    Raises:
        ValueError: The mesh has no uv, or shapes do not fit.
    """
    import cv2

    from facerelief.rendering import _texture_kernels

    photo = np.asarray(image)
    if photo.ndim != 3 or photo.shape[2] != 3:
        raise ValueError(f"image has shape {photo.shape}, expected (H, W, 3)")
    uv_fragments, uv, uv_triangles = _rasterize_islands(mesh, size)
    texture = np.zeros((size, size, 3), np.float32)
    weight = np.zeros((size, size), np.float32)
    free = np.zeros((size, size), np.float32)
    triangles = triangle_ids(mesh.triangles, len(mesh.vertices))
    uvz: Float64 = camera.project(mesh.vertices.astype(np.float64)).astype(np.float64)

    footprint = _pixels_per_texel(uvz, triangles, uv, uv_triangles)
    colors, scale = _shrunk_crop(photo, uvz, max(footprint, 1.0), camera.scale)
    if colors is None:
        return texture, weight
    # occlusion is decided on a grid about as fine as the texture
    zoom = int(np.clip(round(max(footprint, 1.0) / footprint), 1, 4))
    height, width = colors.shape[0] * zoom, colors.shape[1] * zoom
    rendered = rasterize(uvz * np.array([zoom, zoom, 1.0]), triangles, height, width)
    # beside an outline the photo may show a nearer or farther surface: leave a margin for an inexact fit
    rounds = int(np.clip(round(margin_mm * 0.5 * scale * zoom), zoom, 6))
    square = np.ones((2 * rounds + 1, 2 * rounds + 1), np.uint8)
    nearest = np.asarray(cv2.dilate(np.nan_to_num(rendered.depth, nan=-np.inf), square), np.float32)
    inner = _outline_margin(rendered.mask, zoom, margin_mm * scale * zoom)
    normals = vertex_normals(camera.to_camera(mesh.vertices.astype(np.float64)), triangles)
    _texture_kernels.sample_texels(
        uv_fragments.triangle,
        uv_fragments.barycentric,
        triangles,
        np.ascontiguousarray(uvz, np.float64),
        np.ascontiguousarray(normals[:, 2], np.float64),
        np.ascontiguousarray(colors),
        nearest,
        inner,
        float(zoom),
        (rounds + 1.0) / (scale * zoom),
        float(tolerance_mm),
        _LOW,
        _HIGH,
        texture,
        weight,
        free,
    )
    weight *= _smooth_share(free, weight > 0)
    texture[weight == 0] = 0.0
    return texture, weight


def _shrunk_crop(
    photo: NDArray[Any], uvz: Float64, shrink: float, scale: float
) -> tuple[Float32 | None, float]:
    """The photo around a mesh, made `shrink` times smaller, colours in [0, 1], and its scale in px/mm.

    uvz (N, 3) px, px, mm: moved into the crop's own pixel grid in place. None where the mesh is not in the
    photo.
    """
    height, width = photo.shape[:2]
    finite = uvz[np.isfinite(uvz).all(axis=1)]
    if len(finite) == 0:
        return None, scale
    left = int(np.clip(np.floor(finite[:, 0].min()) - 4, 0, width))
    top = int(np.clip(np.floor(finite[:, 1].min()) - 4, 0, height))
    right = int(np.clip(np.ceil(finite[:, 0].max()) + 4, 0, width))
    bottom = int(np.clip(np.ceil(finite[:, 1].max()) + 4, 0, height))
    target = (round((right - left) / shrink), round((bottom - top) / shrink))
    if min(target) < 2:
        return None, scale
    crop = photo[top:bottom, left:right]
    if shrink > 1.25:
        import cv2

        crop = np.asarray(cv2.resize(np.ascontiguousarray(crop), target, interpolation=cv2.INTER_AREA))
    colors = crop.astype(np.float32)
    if np.issubdtype(photo.dtype, np.uint8):
        colors /= np.float32(255.0)
    # the two directions may be rounded differently
    uvz[:, 0] = (uvz[:, 0] - left) * (colors.shape[1] / (right - left))
    uvz[:, 1] = (uvz[:, 1] - top) * (colors.shape[0] / (bottom - top))
    return colors, scale * colors.shape[1] / (right - left)


def complete_texture(
    texture: ArrayLike,
    weight: ArrayLike,
    mesh: Mesh,
    symmetry: ArrayLike | None = None,
    fallback: ArrayLike | None = None,
    *,
    keep: float = 0.5,
    feather: float | None = None,
    hair: Float32 | None = None,
) -> Float32:
    """Fill the parts of a texture that a photo did not show.

    Unseen texels come from the mirrored side, its brightness fitted smoothly to the seen side, then from the
    fallback fitted likewise; texels beyond the uv islands repeat the nearest one, so that filtering shows no
    seam. Texels of weight >= `keep` that lie `feather` texels or more inside the seen part stay; nearer its
    edge they blend, and so do texels whose mirror image is seen better and has quite another colour.

    Args:
        texture: (S, S, 3) from `sample_texture`.
        weight: (S, S) likewise.
        mesh: With uv.
        symmetry: (N,) id of each vertex's mirror image, -1 for none.
        fallback: (N, 3) vertex colours for parts that neither side shows (a model's skin); by default the
            median seen colour.
        keep: Weight from which texels stay as they are.
        feather: Width of the blend, texels; S / 64 by default.
        hair: (N,) share of hair at each vertex: unseen skin takes its tone from what is seen of skin alone,
            unseen hair from what is seen of hair; one tone for both unless given.

    Returns:
        (S, S, 3) float32 in [0, 1] without NaN.

    Raises:
        ValueError: Shapes do not fit.
    """
    colors, seen_weight = _colors_and_weight(texture, weight)
    size = len(colors)
    fragments, uv, uv_triangles = _rasterize_islands(mesh, size)
    triangles = triangle_ids(mesh.triangles, len(mesh.vertices))
    island = fragments.mask

    alpha = _share_kept(seen_weight, island, keep, size / 64.0 if feather is None else max(feather, 1e-6))
    corner_of_vertex = np.zeros(len(mesh.vertices), np.int64)
    corner_of_vertex[triangles.ravel()] = uv_triangles.ravel()
    at_vertex = uv[corner_of_vertex]
    smoother = SurfaceSmoother(triangles, mesh.vertices)

    known, known_weight = colors, alpha
    if symmetry is not None:
        corners = _mirrored_corners(triangles, uv_triangles, uv, np.asarray(symmetry))
        mirrored, mirrored_weight = _mirror(fragments, corners, uv, colors, alpha)
        both = np.minimum(3.0 * np.minimum(alpha, mirrored_weight), 1.0).astype(np.float32)
        ratio = _ratio(_vertex_colors(colors, both, at_vertex), _vertex_colors(mirrored, both, at_vertex))
        mirrored *= interpolate(fragments, triangles, np.exp(smoother.fit(*ratio)))
        alpha = alpha * _trust(fragments, corners, uv, colors, mirrored, seen_weight)
        known_weight = (alpha + mirrored_weight * (1.0 - alpha)).astype(np.float32)
        share = alpha / np.maximum(known_weight, np.float32(1e-6))
        known = np.subtract(colors, mirrored, dtype=np.float32)
        known *= share[:, :, None]
        known += mirrored
        del mirrored, mirrored_weight, both, share, ratio  # a few tens of MB at the peak
    else:
        known = known.copy()

    samples, sample_weight = _vertex_colors(known, known_weight, at_vertex)
    base = _base_colors(fallback, samples, sample_weight)
    ratio, ratio_weight = _ratio((samples, sample_weight), (base, np.ones(len(base))))
    ratio = smoother.fit(ratio, ratio_weight) if hair is None else _tones(smoother, ratio, ratio_weight, hair)
    fill = interpolate(fragments, triangles, (base * np.exp(ratio)).astype(np.float32))
    del fragments
    out = known
    out -= fill
    out *= known_weight[:, :, None]
    out += fill
    whole = alpha >= 1.0
    out[whole] = colors[whole]
    return _extend(np.clip(out, 0.0, 1.0, out=out), island)


def paint_islands(texture: Float32, mesh: Mesh, chosen: Bool, colors: ArrayLike, margin: int = 4) -> None:
    """Paint triangles with vertex colours, in place. Texels around them that no triangle covers repeat the
    nearest one that a triangle covers, so that filtering shows no seam.

    Args:
        texture: (S, S, 3).
        mesh: With uv.
        chosen: (T,) triangles to be painted.
        colors: (N, 3) of the mesh's vertices.
        margin: Width of the border, texels.
    """
    import cv2

    fragments, _, _ = _rasterize_islands(mesh, len(texture))
    own = np.append(chosen, False)[fragments.triangle]
    painted = interpolate(fragments, mesh.triangles, np.asarray(colors, np.float32))
    texture[own] = painted[own]
    near = np.asarray(cv2.dilate(own.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=margin)) > 0
    near &= ~fragments.mask
    texture[near] = _extend(texture, fragments.mask)[near]


def _share_kept(weight: Float32, island: Bool, keep: float, width: float) -> Float32:
    """(S, S) share of the photo that stays: by weight, and by distance to the seen part's edge.

    The islands' own edges do not count.
    """
    import cv2

    inside = ((weight > 0) | ~island).astype(np.uint8)
    edge = np.asarray(cv2.distanceTransform(np.pad(inside, 1, constant_values=1), cv2.DIST_L2, 5))[1:-1, 1:-1]
    alpha = np.minimum(weight / keep, edge / width)
    return _smooth_step(np.where(island, alpha, 0.0)).astype(np.float32)


def _colors_and_weight(texture: ArrayLike, weight: ArrayLike) -> tuple[Float32, Float32]:
    """Contiguous (S, S, 3) colours and (S, S) weight without NaN; ValueError on other shapes."""
    colors = np.ascontiguousarray(np.nan_to_num(np.asarray(texture, dtype=np.float32)))
    seen_weight = np.nan_to_num(np.asarray(weight, dtype=np.float32))
    size = len(colors)
    if colors.shape != (size, size, 3) or seen_weight.shape != (size, size):
        raise ValueError(
            f"texture {colors.shape} and weight {seen_weight.shape}, expected (S, S, 3) and (S, S)"
        )
    return colors, seen_weight


def _tones(smoother: SurfaceSmoother, ratio: Float64, weight: Float64, hair: Float32) -> Float64:
    """Smooth log ratios (N, 3) of seen to base colours, of skin and of hair apart.

    Skin is what lies near the median ratio of the vertices without hair, hair likewise: locks over forehead
    and temples, beards and shadows do not colour ears and neck, nor shine on hair the scalp.
    """
    plain = (weight > 0.5) & (hair < 0.5)
    if plain.sum() < _FEWEST:
        return smoother.fit(ratio, weight)

    def usual(among: Bool) -> Float64:
        apart = np.abs(ratio - np.median(ratio[among], axis=0)).max(axis=1)
        return 1 / (1 + (apart / _SKIN_RANGE) ** 4)

    skin = smoother.fit(ratio, weight * (1 - hair) * usual(plain))
    locks = (weight > 0.5) & (hair > 0.5)
    if locks.sum() < _FEWEST:
        return skin
    return skin + hair[:, None] * (smoother.fit(ratio, weight * hair * usual(locks)) - skin)


def _base_colors(fallback: ArrayLike | None, samples: Float64, weight: Float64) -> Float64:
    """(N, 3) colours for vertices that neither side shows: the fallback, or the median of those seen."""
    if fallback is not None:
        base = np.clip(np.asarray(fallback, dtype=np.float64), _FLOOR, 1.0)
        if base.shape != samples.shape:
            raise ValueError(f"fallback has shape {base.shape}, expected {samples.shape}")
        return base
    some = samples[weight > 0.5]
    return (
        np.full(samples.shape, 0.5) if len(some) == 0 else np.tile(np.median(some, axis=0), (len(samples), 1))
    )


def _outline_margin(mask: Bool, begin_px: float, margin_px: float) -> Float32:
    """(h, w) 0 within begin_px of the rendered mesh's outline and its openings, 1 margin_px further in."""
    import cv2

    filled = np.pad(mask.astype(np.uint8), 1, constant_values=1)
    distance = np.asarray(cv2.distanceTransform(filled, cv2.DIST_L2, 5))[1:-1, 1:-1].astype(np.float32)
    return np.clip((distance - begin_px) / max(margin_px, 1e-3), 0.0, 1.0).astype(np.float32)


def _smooth_share(free: Float32, candidate: Bool) -> Float32:
    """(S, S) `free` among the candidates, without lone texels that differ from their neighbours."""
    import cv2

    near = np.asarray(cv2.GaussianBlur(free * candidate, (0, 0), 2.0))
    all_ = np.asarray(cv2.GaussianBlur(candidate.astype(np.float32), (0, 0), 2.0))
    return np.clip((near / np.maximum(all_, 1e-6) - 0.5) / 0.4, 0.0, 1.0).astype(np.float32)


def pixels_per_texel(mesh: Mesh, camera: WeakPerspective, size: int) -> float:
    """Median side of a texel of a (size, size) texture in the image, px, where triangles face the viewer."""
    uv, uv_triangles = _texel_places(mesh, size)
    return _pixels_per_texel(
        np.asarray(camera.project(mesh.vertices), np.float64), mesh.triangles, uv, uv_triangles
    )


def rasterize_islands(mesh: Mesh, size: int) -> Fragments:
    """The mesh rasterised in texture space, (size, size) texels; ValueError for a mesh without uv."""
    return _rasterize_islands(mesh, size)[0]


def _rasterize_islands(mesh: Mesh, size: int) -> tuple[Fragments, Float64, Int32]:
    """The mesh rasterised in texture space, its uv in texels (row down), and the checked uv triangles."""
    uv, uv_triangles = _texel_places(mesh, size)
    flat = np.column_stack([uv, np.zeros(len(uv))])
    return rasterize(flat, uv_triangles, size, size), uv, uv_triangles


def _texel_places(mesh: Mesh, size: int) -> tuple[Float64, Int32]:
    """uv (M, 2) in texels (row down), and the checked uv triangles."""
    if mesh.uv is None or mesh.uv_triangles is None or len(mesh.uv_triangles) != len(mesh.triangles):
        raise ValueError(
            "the mesh has no uv for each triangle: a texture needs Mesh.uv and Mesh.uv_triangles"
        )
    up = mesh.uv.astype(np.float64)
    uv = np.column_stack([up[:, 0], 1.0 - up[:, 1]]) * float(size)
    return uv, triangle_ids(mesh.uv_triangles, len(uv))


def _pixels_per_texel(uvz: Float64, triangles: Int32, uv: Float64, uv_triangles: Int32) -> float:
    """Median side of a texel's footprint in the image, px, over the triangles that face the viewer."""
    in_image = _areas(uvz[:, :2], triangles)
    in_texture = np.abs(_areas(uv, uv_triangles))
    use = np.isfinite(in_image) & (in_image < 0) & (in_texture > 0)  # y is down: facing is negative
    if not use.any():
        return 1.0
    return float(np.median(np.sqrt(-in_image[use] / in_texture[use])))


def _areas(points: Float64, triangles: Int32) -> Float64:
    """(T,) twice the signed areas of triangles of points (N, 2)."""
    a, b, c = (points[triangles[:, k]] for k in range(3))
    return (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])


def _mirrored_corners(
    triangles: Int32, uv_triangles: Int32, uv: Float64, symmetry: NDArray[np.integer]
) -> Int32:
    """(T, 3) uv ids of each triangle's mirror image, corner for corner; -1 where there is none."""
    if symmetry.shape[0] <= int(triangles.max(initial=-1)):
        raise ValueError(f"symmetry has {len(symmetry)} entries, the triangles name vertex {triangles.max()}")
    count = int(max(triangles.max(initial=0), symmetry.max(initial=0))) + 1
    image = symmetry[triangles].astype(np.int64)
    exists = (image >= 0).all(axis=1)

    def key(ids: NDArray[np.integer]) -> NDArray[np.int64]:
        s = np.sort(ids.astype(np.int64), axis=1)
        return (s[:, 0] * count + s[:, 1]) * count + s[:, 2]

    own = key(triangles)
    order = np.argsort(own)
    place = np.minimum(np.searchsorted(own, key(image), sorter=order), len(own) - 1)
    partner = order[place]
    matched = exists & (own[partner] == key(image))
    # corners of a partner in this triangle's order
    same = image[:, :, None] == triangles[partner][:, None, :]
    through = np.take_along_axis(uv_triangles[partner], same.argmax(axis=2), axis=1)
    # squares split along the other diagonal have no partner: any uv of the vertices, unless that tears it
    any_uv = np.zeros(count, np.int64)
    any_uv[triangles.ravel()] = uv_triangles.ravel()
    loose = any_uv[np.maximum(image, 0)]
    own_size = np.ptp(uv[uv_triangles], axis=1).max(axis=1)
    loose_size = np.ptp(uv[loose], axis=1).max(axis=1)
    loose_good = exists & (loose_size <= 4.0 * own_size + 1e-9)
    corners = np.where(matched[:, None], through, np.where(loose_good[:, None], loose, -1))
    return np.ascontiguousarray(corners, np.int32)


def _mirror(
    fragments: Fragments, corners: Int32, uv: Float64, colors: Float32, alpha: Float32
) -> tuple[Float32, Float32]:
    """The mirror image of colours (S, S, 3) with weights alpha (S, S), and its weights."""
    from facerelief.rendering import _texture_kernels

    mirrored, weight = np.empty_like(colors), np.empty_like(alpha)
    _texture_kernels.mirror_texels(
        fragments.triangle, fragments.barycentric, corners, uv, colors, alpha, mirrored, weight
    )
    return mirrored, weight


def _trust(
    fragments: Fragments, corners: Int32, uv: Float64, colors: Float32, mirrored: Float32, weight: Float32
) -> Float32:
    """(S, S) 1, falling to 0 where a texel is seen worse than its mirror image and has quite another colour.

    Such texels mostly lie on a turned head's far side, where a fit that is a little off shows the wall
    behind.
    """
    import cv2

    _, other = _mirror(fragments, corners, uv, colors, weight)
    worse = np.clip((other - weight - 0.1) / 0.3, 0.0, 1.0).astype(np.float32)
    doubt = np.zeros_like(worse)
    at = (worse > 0) & (weight > 0)
    apart = np.abs(np.log((colors[at] + 0.05) / (mirrored[at] + 0.05))).max(axis=1)
    doubt[at] = worse[at] * np.clip((apart - 0.25) / 0.35, 0.0, 1.0)
    wider = cv2.dilate(doubt, np.ones((3, 3), np.uint8))
    return 1.0 - np.asarray(cv2.GaussianBlur(wider, (0, 0), len(weight) / 256.0)) * at


def _vertex_colors(colors: Float32, weight: Float32, uv: Float64) -> tuple[Float64, Float64]:
    """Blurred colours (N, 3) and weights (N,) at the vertices' texels."""
    import cv2

    size = len(colors)
    small = max(size // 4, 1)
    sigma = small / 170.0
    shrunk = np.asarray(cv2.resize(weight, (small, small), interpolation=cv2.INTER_AREA))
    soft = np.asarray(cv2.GaussianBlur(shrunk, (0, 0), sigma))
    shrunk = cv2.resize(colors * weight[:, :, None], (small, small), interpolation=cv2.INTER_AREA)
    mixed = np.asarray(cv2.GaussianBlur(np.asarray(shrunk), (0, 0), sigma))
    row = np.clip((uv[:, 1] * (small / size)).astype(np.int64), 0, small - 1)
    column = np.clip((uv[:, 0] * (small / size)).astype(np.int64), 0, small - 1)
    w = soft[row, column].astype(np.float64)
    good = w > 0.02
    return mixed[row, column] / np.where(good, w, 1.0)[:, None], np.where(good, w, 0.0)


def _ratio(
    numerator: tuple[Float64, Float64], denominator: tuple[Float64, Float64]
) -> tuple[Float64, Float64]:
    """Log ratio (N, 3) of two sets of colours, and the weights (N,) of both together."""
    a, b = (np.log(np.maximum(colors, _FLOOR)) for colors, _ in (numerator, denominator))
    return np.clip(a - b, -1.5, 1.5), np.minimum(numerator[1], denominator[1])


def _smooth_step(x: Float32) -> Float32:
    x = np.clip(x, 0.0, 1.0)
    return (x * x * (3.0 - 2.0 * x)).astype(np.float32)


def _extend(texture: Float32, island: Bool) -> Float32:
    """Texels beyond the islands take the colour of the nearest texel on one."""
    import cv2

    if island.all() or not island.any():
        return texture
    outside = (~island).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(outside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    labels = np.asarray(labels).astype(np.int64)
    source = np.zeros(int(labels.max()) + 1, np.int64)
    source[labels[island]] = np.flatnonzero(island)
    return texture.reshape(-1, 3)[source[labels]]
