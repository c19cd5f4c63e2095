"""Detail of a fitted face: its relief and the photo's own albedo, without light.

*Relief* is the height of the skin above the coarse surface (found in `relief`); *detail* is all that the
model cannot hold and pixels show, relief and albedo. The order is that of Guo et al. (TPAMI 2019): model fit,
then relief with the parametric albedo, then the albedo from the photo with the refined normals, blended with
the parametric one.
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass, field, replace

import numpy as np

from facerelief.geometry.adjacency import diagonals, neighbour_mean, vertex_links
from facerelief.geometry.boxes import bounds
from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.depth import camera_normals, normals_from_depth
from facerelief.geometry.patch import ColorPatch, DepthPatch
from facerelief.inverse.landmark_fit import FaceState
from facerelief.inverse.photometric_term import Appearance
from facerelief.inverse.relief import solve_relief
from facerelief.inverse.relief_config import ReliefConfig
from facerelief.morphable.front import front_triangles, solid_triangles
from facerelief.morphable.model import FaceModel
from facerelief.rendering.lighting import shade
from facerelief.rendering.rasterizer import Fragments, interpolate, rasterize
from facerelief.typed import Bool, Float, Float32, Image, Int32

DARKEST_SKIN = 0.02
"""Parametric albedo is held above this."""

BARE, BARE_MM = (0.24, 0.5), 2.0
"""Shares of bare skin between which trust rises, and the deviation of the Gaussian that averages them."""
SURELY_NOT = (0.02, 0.12)
"""The same for the pixel's own share: what is surely hair has no trust beside skin either."""


@dataclass(frozen=True)
class DetailConfig:
    """Relief and albedo of the photo."""

    resolution: int = 512
    """Relief is found at the photo's own resolution, but at most this many px along the face's longer
    side."""
    relief: ReliefConfig = field(default_factory=ReliefConfig)
    """Weights and schedule of shape from shading."""
    beta: float = 0.7
    """Share of the photo's own albedo; the rest is the parametric one."""
    darkest: float = 0.1
    """The photo is divided by shading of at least this."""
    brightest: float = 1.2
    """Albedo is held below this."""
    facing: float = 0.25
    """Surface whose normal has a smaller z gets no relief."""
    facets_mm: float = 1.2
    """Deviation of the Gaussian that rounds off the model's triangles before relief is found; 0 for none."""
    brows: float = 0.1
    """Weight of pixels of the brows, beside 1 for bare skin: hair is dark whatever its slope."""
    brow_margin_mm: float = 3.0
    """Hairs of the brows may stand this far beyond the model's."""


@dataclass(frozen=True, eq=False)
class Detail:
    """Relief and albedo of a face, on the photo's pixels."""

    coarse: DepthPatch
    """Depth of the model's face region, skin and eyes."""
    fine: DepthPatch
    """The same with relief."""
    skin: ColorPatch
    """Albedo, on the pixels of `fine`."""
    trust: DepthPatch
    """Mask of trust in [0, 1] on the pixels of `fine`: bare, well lit skin that the relief explains."""
    timings_ms: dict[str, float]


@dataclass(frozen=True, eq=False)
class _Rendering:
    """The model rendered into a part of the photo: coarse depth, albedo, and the places of relief."""

    zoom: float
    depth: Float32
    """(h, w) mm, NaN off the face and the eyes."""
    albedo: Float32
    """(h, w, 3)"""
    skin: Bool
    """(h, w) the face's skin."""
    brows: Float32
    """(h, w) share of brows, 0 to 1."""


def find_detail(
    model: FaceModel,
    image: Image,
    state: FaceState,
    appearance: Appearance,
    config: DetailConfig | None = None,
    bare_skin: Float32 | None = None,
) -> Detail:
    """Find relief and albedo of a fitted face.

    Never fails on an image: where nothing can be seen, relief is 0 and albedo is the parametric one.

    Args:
        model: Face model of the fit.
        image: (H, W, 3) uint8 RGB.
        state: Pose and shape, in px of the image.
        appearance: Skin and light.
        config: Weights and schedule.
        bare_skin: (H, W) share of bare skin in [0, 1]; there is no relief elsewhere.
    """
    config = config or DetailConfig()
    started = time.perf_counter()
    vertices = model.shape(state.identity, state.expression)
    skin = np.clip(model.skin(appearance.albedo), DARKEST_SKIN, config.brightest)
    uvz = state.camera.project(vertices)
    window, side = _window(model, uvz, image.shape)
    left, top, right, bottom = window
    zoom = min(config.resolution / side, 1.0)
    whole = _rendered(model, uvz, skin, window, 1.0)
    work = whole if zoom == 1.0 else _rendered(model, uvz, skin, window, zoom)
    rendered = time.perf_counter()

    photo = image[top:bottom, left:right].astype(np.float32) / np.float32(255.0)
    seen = photo if zoom == 1.0 else _shrunk(photo, work)
    camera = state.camera.in_crop(left, top, zoom)
    scale = _scale_on(work.depth, camera)
    normals = camera_normals(work.depth, camera)
    mask = work.skin & (np.nan_to_num(normals[:, :, 2]) > config.facing)
    light = appearance.light
    base = rounded(work.depth, mask, config.facets_mm * scale)
    trust = brow_trust(work.brows, scale, config)
    if bare_skin is not None:
        trust = trust * bare_trust(bare_skin[top:bottom, left:right], work.depth.shape, scale)
    relief = solve_relief(seen, work.albedo, base, light, scale, mask, config.relief, trust)
    solved = time.perf_counter()

    fine = base + relief.displacement
    displacement = np.nan_to_num(fine - work.depth)
    shading = shade(np.nan_to_num(camera_normals(fine, camera)), light).astype(np.float32)
    albedo, believed = work.albedo, relief.trust
    if zoom != 1.0:
        known = np.isfinite(work.depth)
        displacement = _enlarged(displacement, np.ones_like(known), photo.shape[:2], zoom)
        shading = _enlarged(shading, known, photo.shape[:2], zoom)
        believed = _enlarged(believed, np.ones_like(known), photo.shape[:2], zoom)
        albedo = whole.albedo
    coarse = whole.depth
    color = blended_albedo(photo, albedo, shading, config)
    color[np.isnan(coarse)] = np.nan
    ended = time.perf_counter()
    return Detail(
        coarse=DepthPatch(coarse, left, top),
        fine=DepthPatch((coarse + displacement).astype(np.float32), left, top),
        skin=ColorPatch(np.asarray(color, np.float32), left, top),
        trust=DepthPatch(np.asarray(believed, np.float32), left, top),
        timings_ms={
            "depth": 1e3 * (rendered - started),
            "relief": 1e3 * (solved - rendered),
            "albedo": 1e3 * (ended - solved),
        },
    )


def bare_trust(share: Float32, size: tuple[int, ...], scale: float) -> Float32:
    """Trust of a mask of bare skin, on another grid.

    The mask is averaged before, since the shadows of deep wrinkles are doubted line by line, while hair is
    doubted over whole areas.

    Args:
        share: (h, w) share of bare skin.
        size: (rows, columns) of the grid.
        scale: Of the grid, px/mm.

    Returns:
        (rows, columns) 0 where less than `BARE[0]` around is bare skin, 1 from `BARE[1]` on; 0 in hair.
    """
    import cv2

    found = np.asarray(cv2.resize(share, (size[1], size[0]), interpolation=cv2.INTER_AREA), np.float32)
    around = np.asarray(cv2.GaussianBlur(found, (0, 0), max(BARE_MM * scale, 0.5)), np.float32)
    return _rising(around, *BARE) * _rising(found, *SURELY_NOT)


def _rising(values: Float32, low: float, high: float) -> Float32:
    """0 below `low`, 1 above `high`, smooth between."""
    x = np.clip((values - low) / (high - low), 0, 1)
    return np.asarray(x * x * (3 - 2 * x), np.float32)


def _scale_on(depth: Float32, camera: WeakPerspective) -> float:
    """Scale of a camera at the median of a depth map, px/mm: relief is found as under weak perspective."""
    known = depth[np.isfinite(depth)]
    if not camera.inverse_distance or not known.size:
        return camera.scale
    return float(camera.scale * camera.magnification(np.median(known)))


def coarse_depth(
    model: FaceModel, vertices: Float32, camera: WeakPerspective, shape: tuple[int, ...]
) -> DepthPatch:
    """Depth of the model's face region, skin and eyes, on the pixels of a photo.

    Args:
        model: Face model of the vertices.
        vertices: (N, 3) model space, mm.
        camera: Pose, in px of the photo.
        shape: (H, W, ...) of the photo.
    """
    uvz = camera.project(vertices)
    (left, top, right, bottom), _ = _window(model, uvz, shape)
    uvz = uvz - [left, top, 0.0]
    fragments = rasterize_face(model, uvz, bottom - top, right - left)
    skin, eyes = face_pixels(model, fragments)
    return DepthPatch(
        np.where(skin | eyes, fragments.depth, np.float32(np.nan)).astype(np.float32), left, top
    )


def blended_albedo(
    photo: Float, parametric: Float, shading: Float, config: DetailConfig | None = None
) -> Float:
    """(h, w, 3) beta photo / shading + (1 - beta) parametric, each (h, w, 3), within [0, brightest]."""
    config = config or DetailConfig()
    own = photo / np.maximum(shading, np.float32(config.darkest))
    np.clip(own, 0.0, config.brightest, out=own)
    own *= np.float32(config.beta)
    own += np.float32(1 - config.beta) * parametric
    return own


def photo_albedo(
    model: FaceModel,
    image: Image,
    vertices: Float32,
    camera: WeakPerspective,
    albedo: Float32,
    light: Float32,
    fine: DepthPatch,
    config: DetailConfig | None = None,
) -> ColorPatch:
    """Albedo of photo and model, blended as in `find_detail`, of a face of known relief.

    Args:
        model: Face model of the vertices.
        image: (H, W, 3) uint8 RGB.
        vertices: (N, 3) model space, mm.
        camera: Pose, in px of the image.
        albedo: (A,) coefficients, or none for the mean skin.
        light: (9, 3) in camera space.
        fine: Depth with relief on the photo's pixels.
        config: Shares of the two albedos.
    """
    h, w = fine.depth.shape
    photo = image[fine.top : fine.top + h, fine.left : fine.left + w] / np.float32(255)
    shading = shade(np.nan_to_num(camera_normals(fine.depth, camera, fine.left, fine.top)), light)
    uvz = camera.in_crop(fine.left, fine.top, 1.0).project(vertices)
    solid, _ = solid_triangles(model)
    fragments = rasterize(uvz, solid, h, w, cull_backfaces=True)
    own = np.clip(model.skin(albedo if len(albedo) else None), DARKEST_SKIN, 1.2).astype(np.float32)
    color = blended_albedo(photo, interpolate(fragments, solid, own), shading, config)
    color[np.isnan(fine.depth)] = np.nan
    return ColorPatch(color.astype(np.float32), fine.left, fine.top)


def _window(model: FaceModel, uvz: Float, shape: tuple[int, ...]) -> tuple[tuple[int, int, int, int], float]:
    """The part of the photo with face and eyes (left, top, right, bottom), and the face's longer side, px, of
    projected vertices (N, 3)."""
    shown = model.face_vertices | model.eyeballs
    height, width = shape[:2]
    low, high = bounds(uvz[shown, :2])
    left, top = (int(x) for x in np.clip(np.floor(low) - 1, 0, (width - 1, height - 1)))
    right, bottom = (int(x) for x in np.clip(np.ceil(high) + 1, (left + 1, top + 1), (width, height)))
    return (left, top, right, bottom), float((high - low).max())


def _rendered(
    model: FaceModel, uvz: Float, skin: Float32, window: tuple[int, int, int, int], zoom: float
) -> _Rendering:
    """The whole head but its lashes is rasterised, since it hides parts of the face, but only face and eyes
    are kept."""
    left, top, right, bottom = window
    height, width = int(np.ceil((bottom - top) * zoom)), int(np.ceil((right - left) * zoom))
    inside = (uvz - [left, top, 0.0]) * [zoom, zoom, 1.0]
    kept, ids = solid_triangles(model)
    fragments = rasterize(inside, kept, height, width, cull_backfaces=True)
    fragments = replace(fragments, triangle=ids[fragments.triangle])
    attributes = np.column_stack([skin, brow_share(model)]).astype(np.float32)
    values = interpolate(fragments, model.triangles, attributes)
    on_face, eyes = face_pixels(model, fragments)
    depth = np.where(on_face | eyes, fragments.depth, np.float32(np.nan))
    albedo, brows = np.ascontiguousarray(values[..., :3]), np.ascontiguousarray(values[..., 3])
    return _Rendering(zoom, depth.astype(np.float32), albedo, on_face, brows)


def rasterize_face(model: FaceModel, uvz: Float, height: int, width: int) -> Fragments:
    """Rasterise face and eyes without the rest of the head, in half the time.

    In all poses that show a face the rest lies behind or beside them.

    Args:
        model: Face model of the vertices.
        uvz: (N, 3) px, px, mm along camera z.
        height: Rows.
        width: Columns.

    Returns:
        Fragments with ids of `model.triangles`.
    """
    kept, ids = front_triangles(model)
    fragments = rasterize(uvz, kept, height, width, cull_backfaces=True)
    return replace(fragments, triangle=ids[fragments.triangle])


def face_pixels(model: FaceModel, fragments: Fragments) -> tuple[Bool, Bool]:
    """(h, w) skin within the face's smooth outline, and (h, w) eyeballs, of a rasterised model."""
    from facerelief.inverse import _kernels

    skin: Bool = np.empty(fragments.triangle.shape, np.bool_)
    eyes: Bool = np.empty_like(skin)
    kinds, share, triangles = _triangle_kinds(model)
    _kernels.face_pixels(fragments.triangle, fragments.barycentric, kinds, triangles, share, skin, eyes)
    return skin, eyes


@functools.lru_cache(maxsize=4)
def _triangle_kinds(model: FaceModel) -> tuple[Image, Float32, Int32]:
    """(T,) 1 within the face's outline, 2 crossed by it, 3 of the eyeballs, else 0; (N,) share and (T, 3)
    triangles as the kernel takes them."""
    share, whole, eyes = face_outline(model)
    inner = (share[model.triangles] >= 0.5).all(axis=1)
    kinds = np.where(eyes[:-1], 3, np.where(whole[:-1], np.where(inner, 1, 2), 0)).astype(np.uint8)
    return kinds, share, np.ascontiguousarray(model.triangles, np.int32)


@dataclass(frozen=True, eq=False)
class SkinSurface:
    """A coarse face on a grid of pixels, as relief is found on it: FineNet's data and its use share it."""

    fragments: Fragments
    depth: Float32
    """(h, w) mm along camera z, NaN off skin and eyes."""
    mask: Bool
    """(h, w) skin that may have relief."""
    base: Float32
    """(h, w) the depth without the model's facets, which relief displaces."""


def skin_surface(
    model: FaceModel, uvz: Float, scale: float, height: int, width: int, config: DetailConfig | None = None
) -> SkinSurface:
    """Rasterise a face as `find_detail` does.

    Args:
        model: Face model of the vertices.
        uvz: (N, 3) px, px, mm along camera z.
        scale: px/mm.
        height: Rows.
        width: Columns.
        config: Facets and the least facing.
    """
    config = config or DetailConfig()
    fragments = rasterize_face(model, uvz, height, width)
    skin, eyes = face_pixels(model, fragments)
    depth = np.where(skin | eyes, fragments.depth, np.float32(np.nan)).astype(np.float32)
    facing = np.nan_to_num(normals_from_depth(depth, scale)[:, :, 2])
    mask = skin & (facing > config.facing)
    return SkinSurface(fragments, depth, mask, rounded(depth, mask, config.facets_mm * scale))


def rounded(depth: Float32, mask: Bool, sigma: float) -> Float32:
    """Depth (h, w), mm, smoothed inside a mask (h, w) by a Gaussian of `sigma` px.

    Less and less toward the mask's border, near which depth stays as it is.
    """
    import cv2

    if sigma <= 0 or not mask.any():
        return depth
    inside = mask.astype(np.float32)
    middle = np.float32(np.median(depth[mask]))  # single precision: small numbers keep their digits
    held = np.where(mask, depth - middle, 0).astype(np.float32)
    mean = cv2.GaussianBlur(held, (0, 0), sigma) / np.maximum(
        cv2.GaussianBlur(inside, (0, 0), sigma), np.float32(1e-3)
    )
    framed = np.pad(mask.astype(np.uint8), 1)
    distance = np.asarray(cv2.distanceTransform(framed, cv2.DIST_L2, 3))[1:-1, 1:-1]
    # nothing where the mask cuts the Gaussian off: on a slope its mean would be biased
    share = np.clip(distance / (2.5 * sigma) - 1, 0, 1).astype(np.float32)
    return np.where(mask, depth + share * (mean - held), depth).astype(np.float32)


@functools.lru_cache(maxsize=4)
def brow_share(model: FaceModel) -> Float32:
    """(N,) 1 in the brows, falling to 0 over the skin beside them, where hairs may still be.

    All 0 where the model names no brows.
    """
    brows = model.region("brows")
    share = brows.astype(np.float32)
    mean = neighbour_mean(vertex_links(model.triangles, model.n_vertices).astype(np.float32))
    for _ in range(4):
        share = np.maximum(brows, np.minimum(1.5 * (mean @ share), 1)).astype(np.float32)
    return share


def brow_trust(share: Float32, scale: float, config: DetailConfig | None = None) -> Float32:
    """Weights (h, w) of pixels by the brows' share of them (h, w), with the brows widened by a soft margin.

    Args:
        share: `brow_share` on the pixels.
        scale: px/mm.
        config: Weight and margin.
    """
    import cv2

    config = config or DetailConfig()
    if not share.any():
        return np.ones_like(share)
    size = 2 * round(config.brow_margin_mm * scale) + 1
    wide = cv2.dilate(share, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))
    soft = cv2.GaussianBlur(wide, (0, 0), max(config.brow_margin_mm / 3 * scale, 0.3))
    return np.asarray(1 - np.float32(1 - config.brows) * soft, np.float32)


@functools.lru_cache(maxsize=4)
def face_outline(model: FaceModel) -> tuple[Float32, Bool, Bool]:
    """Outline of the face's region, without the steps of its triangles.

    Returns:
        Share (N,), at least 0.5 inside when interpolated; mask (T + 1,) of triangles that may belong to the
        face at all, and mask (T + 1,) of those of the eyeballs; the last entry, for pixels without triangle,
        is False.
    """
    face = model.face_vertices
    t = model.triangles
    corners = face[t]
    # eyes and mouth end at the lids' and lips' own edges
    sharp = model.region("eyes", "lips")
    sharp_triangle = sharp[t].any(axis=1)
    # diagonals run toward the middle on both sides of the face: with them the outline has a notch there
    links = vertex_links(t, model.n_vertices) - diagonals(model.mean, t)
    mean = neighbour_mean(links.astype(np.float32))
    share = face.astype(np.float32)
    for _ in range(12):
        share = np.where(sharp, face, 0.5 * share + 0.5 * (mean @ share)).astype(np.float32)
    whole = np.where(sharp_triangle, corners.all(axis=1), (share[t] >= 0.5).any(axis=1))
    eyes = model.eyeballs
    return share, np.append(whole, False), np.append(eyes[t].all(axis=1), False)


def _shrunk(photo: Float32, work: _Rendering) -> Float32:
    """The window of the photo on the working grid."""
    import cv2

    height, width = work.depth.shape
    blurred = cv2.GaussianBlur(photo, (0, 0), 0.45 / work.zoom)
    # pixel centres sit at +0.5
    shift = 0.5 * work.zoom - 0.5
    matrix = np.array([[work.zoom, 0, shift], [0, work.zoom, shift]])
    small = cv2.warpAffine(
        blurred, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(small, np.float32)


def _enlarged(values: Float, known: Bool, shape: tuple[int, int], zoom: float) -> Float:
    """Values (h, w[, C]) of the working grid on the photo's grid of `shape`; unknown ones from their
    neighbours."""
    import cv2

    shift = 0.5 * zoom - 0.5
    matrix = np.array([[zoom, 0, shift], [0, zoom, shift]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP

    def larger(x: Float) -> Float32:
        out = cv2.warpAffine(
            np.ascontiguousarray(x), matrix, shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        return np.asarray(out, np.float32)

    if known.all():
        return larger(values.astype(np.float32))
    share = known.astype(np.float32)
    weight = np.maximum(larger(share), np.float32(1e-3))
    wide = share if values.ndim == 2 else share[:, :, None]
    return larger(values * wide) / (weight if values.ndim == 2 else weight[:, :, None])
