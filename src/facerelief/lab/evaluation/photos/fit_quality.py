"""Quality of inverse rendering on photos without a known shape.

Measured on each photo: distance of the re-rendered face from the photo, size of the relief, its correlation
with edges of the skin's colour, and the share of skin tone that the fit explains by light. `fit_report` gives
means by group and identity consistency.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import FacereliefError
from facerelief.face.reconstruction import DepthPatch, Reconstruction
from facerelief.geometry.depth import normals_from_depth
from facerelief.lab.datasets.photos import Photo
from facerelief.morphable.model import FaceModel
from facerelief.pipeline.reconstructor import Reconstructor, ReconstructorConfig
from facerelief.rendering.lighting import LUMA, shade
from facerelief.runtime.workers import ordered_results
from facerelief.typed import Bool, Float

CROP = 256
"""Cells along the crop in which the relief's size is measured."""
_CROP_MARGIN = 1.15


@dataclass(frozen=True, eq=False)
class FitMeasures:
    """Measures of one photo."""

    photo: Photo
    coarse_error: float
    """Mean absolute colour difference in [0, 1] inside the face between the photo and the coarse model with
    its albedo and light."""
    full_error: float
    """The same with relief and the photo's albedo."""
    coarse_cells: float
    """High-pass of the coarse depth (depth minus Gaussian of 2 cells, in a crop of 256 cells), root mean
    square, cells."""
    fine_cells: float
    """The same of the depth with relief."""
    skin_cells: float
    """The same on plain skin alone, away from eyes, nose, lips and the outline, whose edges outweigh all
    wrinkles in the other two."""
    relief_mm: float
    """Root mean square displacement."""
    edge_correlation: float
    """The larger correlation of the displacement's slope with the slope of the model's albedo (brows, lips,
    beard) and with that of the photo's colour tones, which light hardly changes."""
    tone: float
    """Brightness of the photo's skin (median)."""
    albedo: float
    """Brightness of the albedo found for it (median)."""
    light: float
    """Brightness of the light that falls on it (median)."""
    identity: NDArray[np.float32]
    """(K,)"""
    confidence: float
    warnings: tuple[str, ...]
    timings_ms: dict[str, float]


@dataclass(frozen=True)
class MeasuredFits:
    """Measures of many photos."""

    measures: list[FitMeasures]
    failures: dict[str, str] = field(default_factory=dict[str, str])
    """Photo -> reason why it was not measured."""

    def groups(self) -> list[str]:
        return sorted({m.photo.group for m in self.measures})

    def of(self, group: str) -> list[FitMeasures]:
        return [m for m in self.measures if m.photo.group == group]


def evaluate_fits(
    photos: Sequence[Photo],
    model: str = "open",
    config: ReconstructorConfig | None = None,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> MeasuredFits:
    """Reconstruct and measure every photo's best face; the result does not depend on `workers`."""
    report = MeasuredFits([])
    with ordered_results(
        _measured, photos, workers=workers, start=_start, arguments=(model, config)
    ) as results:
        for done, result in enumerate(results, 1):
            if isinstance(result, FitMeasures):
                report.measures.append(result)
            else:
                report.failures[str(result[0].file)] = result[1]
            progress(done, len(photos))
    return report


_WORKER: list[Reconstructor] = []


def _start(model: str, config: ReconstructorConfig | None) -> None:
    _WORKER[:] = [Reconstructor(model, config or ReconstructorConfig("fit", max_faces=1))]


def _measured(photo: Photo) -> FitMeasures | tuple[Photo, str]:
    try:
        return measure(photo, _WORKER[0](photo.file)[0])
    except FacereliefError as error:
        return photo, str(error)


def rerendered(result: Reconstruction, patch: DepthPatch, albedo: Float) -> tuple[Float, Float]:
    """The face rendered from a surface with an albedo under the result's light, and the photo itself.

    Args:
        patch: depth of face and eyes, coarse or fine.
        albedo: (h, w, 3) on the patch's pixels.

    Returns:
        Rendered and photographed colours, (P, 3) each, sRGB in [0, 1], of the patch's known pixels.
    """
    height, width = patch.depth.shape
    known = np.isfinite(patch.depth)
    photo = result.image[patch.top : patch.top + height, patch.left : patch.left + width][known] / 255.0
    normals = normals_from_depth(patch.depth, result.camera.scale)[known]
    return np.clip(albedo[known] * shade(normals, result.light), 0, 1), photo


def measure(photo: Photo, result: Reconstruction) -> FitMeasures:
    """All measures of one reconstructed photo."""
    assert result.fine is not None
    assert result.skin is not None
    parametric, plain = rendered_albedo(result)
    errors: list[float] = []
    for patch, albedo in ((result.coarse, parametric), (result.fine, result.skin.color)):
        rendered, seen = rerendered(result, patch, albedo)
        errors.append(float(np.abs(rendered - seen).mean()) if len(seen) else float("nan"))
    displacement = result.fine.depth - result.coarse.depth
    skin = _skin_vertices(result)
    found = np.clip(result.model.skin(result.albedo), 0, 1.2)[skin] @ LUMA
    normals = result.camera.to_camera(_normals(result)[skin])
    light = shade(normals, result.light) @ LUMA
    return FitMeasures(
        photo=photo,
        coarse_error=errors[0],
        full_error=errors[1],
        coarse_cells=high_pass(result, result.coarse.depth),
        fine_cells=high_pass(result, result.fine.depth),
        skin_cells=high_pass(result, result.fine.depth, plain),
        relief_mm=float(np.sqrt(np.nanmean(displacement**2))),
        edge_correlation=_edges(result, displacement, parametric),
        tone=float(np.median(found * light)),
        albedo=float(np.median(found)),
        light=float(np.median(light)),
        identity=result.identity,
        confidence=result.confidence,
        warnings=result.warnings,
        timings_ms=result.timings_ms,
    )


def high_pass(result: Reconstruction, depth: Float, where: Bool | None = None) -> float:
    """Root mean square, in cells, of depth minus its Gaussian (2 cells) in a crop of 256 cells around the
    face.

    Args:
        depth: (h, w) mm on the pixels of `result.coarse`, NaN off the face.
        where: (h, w) only these pixels enter the Gaussian; three cells along their outline do not count.
    """
    import cv2

    known = np.isfinite(depth)
    if not known.any():
        return float("nan")
    rows, columns = np.flatnonzero(known.any(axis=1)), np.flatnonzero(known.any(axis=0))
    if where is not None:
        known = known & where
    side = _CROP_MARGIN * float(max(np.ptp(rows), np.ptp(columns)) + 1)
    zoom = CROP / side
    middle = np.array([np.mean(columns[[0, -1]]), np.mean(rows[[0, -1]])]) + 0.5
    shift = CROP / 2 - zoom * middle + 0.5 * zoom - 0.5
    matrix = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
    cells = np.where(known, depth, 0.0).astype(np.float32) * np.float32(result.camera.scale * zoom)
    share = known.astype(np.float32)
    if zoom < 1:
        sigma = 0.45 / zoom
        cells, share = (np.asarray(cv2.GaussianBlur(x, (0, 0), sigma)) for x in (cells, share))
    cells, share = (
        np.asarray(cv2.warpAffine(x, matrix, (CROP, CROP), flags=cv2.INTER_LINEAR)) for x in (cells, share)
    )
    inside = share > 0.99
    z = np.where(inside, cells / np.maximum(share, 1e-6), 0).astype(np.float32)
    weight = inside.astype(np.float32)
    blurred = cv2.GaussianBlur(z, (0, 0), 2.0) / np.maximum(cv2.GaussianBlur(weight, (0, 0), 2.0), 1e-6)
    core = cv2.erode(weight, np.ones((7, 7), np.uint8)) > 0
    return float(np.sqrt(np.mean((z - blurred)[core] ** 2))) if core.any() else float("nan")


def _edges(result: Reconstruction, displacement: Float, parametric: Float) -> float:
    import cv2

    skin = np.isfinite(displacement)
    inner = cv2.erode(skin.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    if inner.sum() < 100:
        return float("nan")

    def slope(values: Float) -> Float:
        smooth = cv2.GaussianBlur(np.nan_to_num(values).astype(np.float32), (0, 0), 1.5)
        dx, dy = (cv2.Sobel(smooth, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
        return np.hypot(dx, dy)[inner]

    patch = result.coarse
    height, width = patch.depth.shape
    photo = result.image[patch.top : patch.top + height, patch.left : patch.left + width] / 255.0
    logs = np.log(photo + 0.03)
    tones = np.hypot(slope(logs[:, :, 0] - logs[:, :, 1]), slope(logs[:, :, 1] - logs[:, :, 2]))
    of_model = slope(parametric @ LUMA)
    relief = slope(displacement)
    # grey photos have no tones
    known = [other for other in (tones, of_model) if other.std() > 1e-9]
    if relief.std() < 1e-9 or not known:
        return 0.0
    return float(max(np.corrcoef(relief, other)[0, 1] for other in known))


def rendered_albedo(result: Reconstruction) -> tuple[Float, Bool]:
    """The model's albedo (h, w, 3) on the pixels of `result.coarse`, and a mask (h, w) of plain skin: face
    without eyes, nose, lips and brows and a few mm around them."""
    from facerelief.rendering.rasterizer import interpolate, rasterize

    patch, model = result.coarse, result.model
    camera = result.camera.in_crop(patch.left, patch.top, 1.0)
    fragments = rasterize(
        camera.project(result.vertices), model.triangles, *patch.depth.shape, cull_backfaces=True
    )
    skin = np.clip(model.skin(result.albedo), 0.02, 1.2)
    rendered = interpolate(
        fragments, model.triangles, np.column_stack([skin, _not_plain(model)]).astype(np.float32)
    )
    return rendered[..., :3], fragments.mask & (rendered[..., 3] < 0.01)


@functools.lru_cache(maxsize=4)
def _not_plain(model: FaceModel) -> Bool:
    """(N,) vertices that are not plain skin, and their neighbours."""
    from facerelief.geometry.adjacency import neighbour_mean, vertex_links

    other = ~model.face_vertices | model.region("eyes", "nose", "lips", "brows")
    mean = neighbour_mean(vertex_links(model.triangles, model.n_vertices))
    for _ in range(2):
        other = (mean @ other.astype(np.float64)) > 0
    return np.asarray(other)


def _normals(result: Reconstruction) -> Float:
    from facerelief.geometry.normals import vertex_normals

    return vertex_normals(result.vertices, result.model.triangles)


def _skin_vertices(result: Reconstruction) -> NDArray[np.bool_]:
    """(N,) plain skin that faces the camera."""
    model = result.model
    plain = model.face_vertices.copy()
    for name in ("lips", "brows", "eyes"):
        if name in model.regions:
            plain &= ~model.regions[name]
    return plain & (result.camera.to_camera(_normals(result))[:, 2] > 0.5)
