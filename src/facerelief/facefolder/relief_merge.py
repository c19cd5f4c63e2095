"""Relief of several photos of one subject, merged in the texture's uv by trust.

What several photos show alike is the subject's; noise, shadow edges and shine are of one photo. Heights are
laid onto the first photo's by a smooth displacement, since fits differ by a millimetre or two, and averaged
in two bands: what is coarse with smooth weights, so that no photo's border shows (Burt & Adelson 1983), what
is fine with the weight of each texel, robustly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from facerelief.face.reconstruction import DepthPatch, Reconstruction
from facerelief.facefolder.relief_uv import relief_in_uv
from facerelief.facefolder.texture import has_uv, textured, working_size
from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.normals import vertex_normals
from facerelief.inverse.detail import DetailConfig, photo_albedo, skin_surface
from facerelief.morphable.model import FaceModel
from facerelief.rendering.rasterizer import Fragments, interpolate
from facerelief.rendering.registration import (
    RegistrationConfig,
    blurred,
    displaced,
    displacement,
    resized,
    weighted_mean,
)
from facerelief.rendering.texture import rasterize_islands
from facerelief.typed import Float, Float32


@dataclass(frozen=True)
class MergeConfig:
    """Lengths on the surface and weights of a merge."""

    registration: RegistrationConfig | None = field(default_factory=RegistrationConfig)
    """None where the fits lie exactly alike."""
    coarse_mm: float = 4.0
    """Gaussian that parts coarse heights from fine ones."""
    disagreement_mm: float = 0.05
    """Fine heights this far from the mean of all count half; or twice the usual distance, if that is more."""
    patch_mm: float = 1.0
    """Gaussian over which disagreement is averaged."""
    steps: int = 4
    """Steps of the robust mean."""
    covered: float = 0.1
    """Trust from which a photo shows its relief where no other does."""


_FEATHER_MM = 1.0
"""Gaussian of the weights' fall to the border of what a photo shows."""
_REGISTERED = 320
"""Side of the maps that are registered, texels."""
_LITTLE = np.float32(1e-6)
"""Weight of the first photo where no photo is trusted."""
_SHOWN = 0.3
"""Weight from which a photo's relief is replaced whole; see `relief_uv.faded`."""


@dataclass(frozen=True, eq=False)
class _View:
    """Relief of one photo in its own texels, and its displacement from the first photo's."""

    height: Float32
    """(S, S) mm."""
    weight: Float32
    """(S, S) as `relief_in_uv`."""
    trust: Float32
    """(S, S) in [0, 1]."""
    resolution: float
    """px/mm."""
    flow: Float32 | None = None
    """(S, S, 2) texels; None for the first photo."""

    def on_first(self, values: Float32) -> Float32:
        """Values (S, S) of this photo's texels, at the first photo's."""
        return values if self.flow is None else displaced(values, self.flow)

    def from_first(self, values: Float32) -> Float32:
        """Values (S, S) of the first photo's texels, at this photo's; the flow is smooth and short."""
        return values if self.flow is None else displaced(values, -displaced(self.flow, -self.flow))


def merged_relief(
    faces: Sequence[Reconstruction],
    size: int = 1024,
    islands: Fragments | None = None,
    config: MergeConfig | None = None,
) -> tuple[Float32, Float32]:
    """Relief of one subject in several photos, in the texture's uv; arguments and result as `relief_in_uv`.

    One photo gives its own relief. Where no photo is trusted, the first one's relief stays.

    Args:
        faces: One or more faces of one model with uv; texels are those of the first.
        size: Side S of the maps, texels.
        islands: The model's uv rasterised at this size, where the caller has it already.
        config: Lengths and weights.

    Returns:
        Heights (S, S), mm, and weights (S, S) in [0, 1].

    Raises:
        ValueError: No face is given, or the model has no uv.
    """
    if not faces:
        raise ValueError("no faces; expected at least one")
    config = config or MergeConfig()
    if islands is None:
        islands = rasterize_islands(textured(faces[0].model, faces[0].vertices), size)
    if len(faces) == 1:
        return relief_in_uv(faces[0], size, islands)
    texel = texel_mm(faces[0].model, size)
    return _merged(_registered(faces, islands, texel, config), texel, config)


def with_merged_relief(
    faces: Sequence[Reconstruction], size: int = 1024, config: MergeConfig | None = None
) -> list[Reconstruction]:
    """The faces with the relief that all their photos show, each as its own camera sees it.

    To the merged relief comes what a photo alone shows distinctly and with trust, such as wrinkles of its
    expression. A single face, one without relief, and a model without uv stay as they are.

    Args:
        faces: One subject in several photos, of one model.
        size: Largest side of the maps in which heights are merged, texels.
        config: Lengths and weights.
    """
    config = config or MergeConfig()
    with_relief = [i for i, face in enumerate(faces) if face.fine is not None]
    if len(with_relief) < 2 or not has_uv(faces[0].model):
        return list(faces)
    first = max(with_relief, key=lambda i: float(faces[i].camera.rotation[2, 2]) * _resolution(faces[i]))
    order = [first, *(i for i in with_relief if i != first)]
    size = max(working_size(faces[i], size) for i in with_relief)
    islands = rasterize_islands(textured(faces[first].model, faces[first].vertices), size)
    texel = texel_mm(faces[first].model, size)
    views = _registered([faces[i] for i in order], islands, texel, config)
    height, weight = _merged(views, texel, config)
    out = list(faces)
    for i, view in zip(order, views):
        out[i] = _with_change(faces[i], _change(view, height, weight, texel, config))
    return out


def texel_mm(model: FaceModel, size: int) -> float:
    """Median side of a texel of a (size, size) texture on the average face, mm."""
    face = model.face_vertices[model.triangles].all(axis=1)
    flat = np.column_stack([model.uv, np.zeros(len(model.uv))])
    on_face, in_uv = (
        np.linalg.norm(np.cross(points[t[:, 1]] - points[t[:, 0]], points[t[:, 2]] - points[t[:, 0]]), axis=1)
        for points, t in ((model.mean, model.triangles[face]), (flat, model.uv_triangles[face]))
    )
    usable = in_uv > 0
    return float(np.sqrt(np.median(on_face[usable] / in_uv[usable])) / size) if usable.any() else 1.0


def _resolution(r: Reconstruction) -> float:
    """px/mm at which relief was found."""
    assert r.fine is not None
    return r.camera.scale * min(DetailConfig.resolution / max(*r.fine.depth.shape, 1), 1.0)


def _registered(
    faces: Sequence[Reconstruction], islands: Fragments, texel: float, config: MergeConfig
) -> list[_View]:
    """Relief of faces with uv, and their displacements from the first."""
    views = [_view(face, islands, _FEATHER_MM / texel) for face in faces]
    if config.registration is None:
        return views
    size = len(islands.triangle)
    small = min(size, _REGISTERED)
    zoom = size / small
    maps = [resized(_log_luma(face, islands, zoom), (small, small)) for face in faces]
    weights = [resized(view.weight, (small, small)) for view in views]
    out = views[:1]
    for view, luma, weight in zip(views[1:], maps[1:], weights[1:]):
        flow = displacement(maps[0], luma, weights[0], weight, texel * zoom, config.registration)
        out.append(replace(view, flow=resized(flow, (size, size)) * np.float32(zoom)))
    return out


def _view(r: Reconstruction, islands: Fragments, feather: float) -> _View:
    """Relief of a face; its weight falls over `feather` texels to the border of what is hidden."""
    height, weight = relief_in_uv(r, len(islands.triangle), islands)
    weight *= np.clip(2 * blurred((weight > 0).astype(np.float32), feather) - 1, 0, 1)
    trust = np.ones_like(height)
    if r.trust is not None:
        known = np.nan_to_num(r.trust.depth).astype(np.float32)
        trust = _sampled(r, islands, known, r.trust.left, r.trust.top)
    return _View(height, weight, trust, 0.0 if r.fine is None else _resolution(r))


def _sampled(r: Reconstruction, islands: Fragments, values: Float32, left: int, top: int) -> Float32:
    """(S, S) values (h, w) of the photo's pixels from (left, top), at each texel; 0 beyond them."""
    import cv2

    places = r.camera.project(r.vertices)[:, :2] - [left, top]
    at = interpolate(islands, r.model.triangles, (places - 0.5).astype(np.float32))
    column, row = (np.ascontiguousarray(at[:, :, k]) for k in (0, 1))
    found = cv2.remap(values, column, row, cv2.INTER_LINEAR, borderValue=0)
    return np.where(islands.mask, np.asarray(found), 0).astype(np.float32)


def _log_luma(r: Reconstruction, islands: Fragments, zoom: float) -> Float32:
    """(S, S) logarithm of the photo's luma; `zoom` texels are averaged later."""
    assert r.fine is not None
    h, w = r.fine.depth.shape
    left, top = max(r.fine.left, 0), max(r.fine.top, 0)
    part = r.image[top : max(r.fine.top + h, top), left : max(r.fine.left + w, left)]
    luma = part.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) / np.float32(255)
    texel_px = r.camera.scale * texel_mm(r.model, len(islands.triangle)) * zoom
    if texel_px > 1:
        luma = blurred(luma, 0.4 * texel_px)
    return np.log(_sampled(r, islands, luma, left, top) + np.float32(0.05))


def _merged(views: Sequence[_View], texel: float, config: MergeConfig) -> tuple[Float32, Float32]:
    """Merged heights and their weights at the first photo's texels."""
    sigma = config.coarse_mm / texel
    fines: list[Float32] = []
    weights: list[Float32] = []
    base, total = np.zeros_like(views[0].height), np.zeros_like(views[0].height)
    cover = views[0].weight
    for view in views:
        seen = view.weight if view.flow is None else displaced(view.weight, view.flow)
        trust = view.on_first(view.trust)
        height = view.on_first(view.height)
        coarse = weighted_mean(height, seen, sigma)
        weight = seen * trust * np.float32(view.resolution)
        if view is views[0]:
            weight = weight + seen * _LITTLE
        soft = blurred(weight, sigma) * (seen > 0)
        base, total = base + soft * coarse, total + soft
        fines.append((height - coarse) * (seen > 0))
        weights.append(weight)
        cover = np.maximum(cover, seen * np.minimum(trust / np.float32(config.covered), 1))
    base = np.divide(base, total, out=np.zeros_like(base), where=total > 0)
    fine = _robust_mean(np.stack(fines), np.stack(weights), texel, config)
    return (base + fine) * (cover > 0), cover


def _robust_mean(values: Float32, weights: Float32, texel: float, config: MergeConfig) -> Float32:
    """(S, S) Cauchy-weighted mean of values (n, S, S), whose disagreement is averaged over patches."""
    sigma = config.patch_mm / texel

    def mean(given: Float) -> Float32:
        over = given.sum(axis=0)
        found = np.divide((given * values).sum(axis=0), over, out=np.zeros_like(over), where=over > 0)
        return found.astype(np.float32)

    result = mean(weights)
    for _ in range(config.steps):
        away = np.stack([np.sqrt(np.maximum(blurred((v - result) ** 2, sigma), 0)) for v in values])
        known = away[(weights > 0) & (weights < weights.sum(axis=0))]
        if not known.size:
            break
        scale = max(config.disagreement_mm, 2 * float(np.median(known)))
        result = mean(weights / (1 + (away / np.float32(scale)) ** 2))
    return result


def _change(view: _View, height: Float32, weight: Float32, texel: float, config: MergeConfig) -> Float32:
    """(S, S) mm to be added to a photo's own heights, at its texels."""
    away = (view.height - view.from_first(height)) * (view.weight > 0)
    smooth = weighted_mean(away, view.weight, config.patch_mm / texel)
    sure = (view.weight * view.trust > 0.5) & (view.weight > 0)
    usual = 1.4826 * float(np.median(np.abs(smooth[sure]))) if sure.any() else 0.0
    power = smooth**4
    distinct = view.trust * power / np.maximum(power + (3 * usual) ** 4, 1e-12)
    share = np.clip(np.minimum(view.weight, view.from_first(weight)) / _SHOWN, 0, 1)
    return ((distinct * smooth - away) * share * share * (3 - 2 * share)).astype(np.float32)


def _with_change(r: Reconstruction, change: Float32) -> Reconstruction:
    """A face whose heights (S, S) in uv change by so much, mm along the normal."""
    import cv2

    assert r.fine is not None
    fine, size = r.fine, np.float32(len(change))
    camera = r.camera.in_crop(fine.left, fine.top, 1.0)
    surface = skin_surface(r.model, camera.project(r.vertices), camera.scale, *fine.depth.shape)
    at = interpolate(surface.fragments, r.model.uv_triangles, r.model.uv.astype(np.float32))
    column = np.ascontiguousarray(at[:, :, 0] * size - np.float32(0.5))
    row = np.ascontiguousarray((1 - at[:, :, 1]) * size - np.float32(0.5))
    moved = np.asarray(cv2.remap(change, column, row, cv2.INTER_LINEAR, borderValue=0), np.float32)
    moved /= _along_depth(r, camera, surface.fragments)
    depth = np.where(surface.mask & np.isfinite(fine.depth), fine.depth + moved, fine.depth)
    patch = DepthPatch(depth.astype(np.float32), fine.left, fine.top)
    skin = r.skin
    if skin is not None:
        skin = photo_albedo(r.model, r.image, r.vertices, r.camera, r.albedo, r.light, patch)
    return replace(r, fine=patch, skin=skin)


def _along_depth(r: Reconstruction, camera: WeakPerspective, fragments: Fragments) -> Float32:
    """(h, w) height along the normal for each mm of depth, as in `relief_in_uv`."""
    points = camera.to_camera(r.vertices)
    normals = vertex_normals(points, r.model.triangles)
    both = interpolate(fragments, r.model.triangles, np.column_stack([normals, points]).astype(np.float32))
    normal, point = both[:, :, :3], both[:, :, 3:]
    k = np.float32(camera.inverse_distance)
    away = np.maximum(1 - k * point[:, :, 2], np.float32(0.1))
    along = normal[:, :, 2] - k * (normal[:, :, :2] * point[:, :, :2]).sum(axis=2) / away
    length = np.maximum(np.linalg.norm(normal, axis=2), np.float32(1e-9))
    return np.maximum(along / length, np.float32(DetailConfig.facing)).astype(np.float32)
