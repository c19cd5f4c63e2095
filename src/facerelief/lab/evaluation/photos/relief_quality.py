"""Relief of photos without truth: explained shading, strength by band, relief where no bare skin is seen.

Each photo is fitted once; its coarse surface, FineNet's relief on it (where the shipped networks are made
for the model) and the solver's are compared on the same pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from facerelief.detection import detect_faces
from facerelief.errors import FacereliefError, NoFaceError
from facerelief.geometry.depth import normals_from_depth
from facerelief.geometry.patch import DepthPatch
from facerelief.inference.evidence import EvidenceRunner
from facerelief.inference.runners import FineRunner, has_shipped_coefficients
from facerelief.inverse.detail import find_detail
from facerelief.inverse.fit import FitConfig, fit_face
from facerelief.io.images import read_image
from facerelief.lab.datasets.photos import Photo
from facerelief.lab.evaluation.photos.relief_consistency import AtlasRelief, atlas_relief
from facerelief.lab.evaluation.photos.shading import ShadingGrid, band
from facerelief.morphable import FaceModel, named_model
from facerelief.runtime.threads import load_linear_algebra
from facerelief.runtime.workers import ordered_results
from facerelief.typed import Float, Float32, Image

BANDS_PX = ((0.8, 1.5), (1.5, 4.0), (4.0, 10.0))
"""Gaussians, px of a face 240 px wide, between which strength is measured: pores, wrinkles, folds."""
WRINKLES_PX = (1.0, 4.0)
"""The band of false relief and of relief on untrusted pixels."""
UNTRUSTED = 0.3
"""Pixels trusted less than this show no bare, well lit skin."""
TILE = 300
"""Height of a sheet's tiles, px."""


@dataclass(frozen=True, eq=False)
class ReliefMeasures:
    """Relief of one photo."""

    coarse: float
    """Explained shading of the coarse surface; likewise below."""
    net: float
    """FineNet's; NaN where it is not made for the model."""
    solver: float
    strength_mm: tuple[float, float, float]
    """Standard deviation on plain skin in each of `BANDS_PX`."""
    wrinkles_mm: float
    """The same in `WRINKLES_PX`."""
    untrusted_share: float
    """Share of the relief's energy in `WRINKLES_PX` that lies on untrusted pixels of the face."""
    untrusted_pixels: float
    """Share of the face's pixels that are untrusted."""
    atlas: AtlasRelief
    tiles: Image | None
    """Row of the contact sheet: photo, clay lit from the left and from the right, relief in the atlas."""


def measure_reliefs(
    photos: Sequence[Photo],
    model: str,
    config: FitConfig | None = None,
    *,
    tiles: int = 0,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[dict[Photo, ReliefMeasures], dict[str, str]]:
    """Fit and measure photos.

    Args:
        photos: The photos, each once.
        model: Face model, as `named_model` takes it.
        config: Weights of the fit and of its relief.
        tiles: Rows of a contact sheet that are made, of photos evenly spread.
        workers: Processes; the figures do not depend on it.
        progress: Told the number of photos done, and of all.

    Returns:
        Photo -> measures, and file -> reason why it was left out.
    """
    step = max(len(photos) / tiles, 1.0) if tiles else 1.0
    shown = {int(k * step) for k in range(tiles)}
    jobs = [(photo, index in shown) for index, photo in enumerate(photos)]
    found: dict[Photo, ReliefMeasures] = {}
    failures: dict[str, str] = {}
    with ordered_results(
        _measured, jobs, workers=workers, start=_start, arguments=(model, config)
    ) as results:
        for done, (photo, measures) in enumerate(zip(photos, results, strict=True), 1):
            if isinstance(measures, str):
                failures[str(photo.file)] = measures
            else:
                found[photo] = measures
            progress(done, len(photos))
    return found, failures


_WORKER: list[tuple[FaceModel, FitConfig, FineRunner | None, EvidenceRunner]] = []


def _start(name: str, config: FitConfig | None) -> None:
    load_linear_algebra()
    model = named_model(name)
    net = FineRunner(model) if has_shipped_coefficients(model) else None
    _WORKER[:] = [(model, config or FitConfig(), net, EvidenceRunner(model))]


def _measured(job: tuple[Photo, bool]) -> ReliefMeasures | str:
    photo, shown = job
    model, config, net, evidence = _WORKER[0]
    try:
        image = read_image(photo.file)
        faces = detect_faces(image, max_faces=1)
        if not faces:
            raise NoFaceError(f"{photo.file}: no face found; give an image with a visible face")
    except FacereliefError as error:
        return str(error)
    box, landmarks = faces[0].box, faces[0].landmarks
    seen = evidence(image, landmarks)
    fit = fit_face(model, image, box, landmarks, config, dense=seen.dense, bare_skin=seen.bare_skin)
    detail = find_detail(model, image, fit.state, fit.appearance, config.detail, seen.bare_skin)
    vertices = model.shape(fit.state.identity, fit.state.expression)
    camera = fit.state.camera
    marks = camera.project(model.landmarks["ibug68"].of(vertices))[:, :2]
    grid = ShadingGrid.of(image, float(camera.scale), detail.coarse, detail.fine, marks)
    if grid is None:
        return f"{photo.file}: the fitted face lies outside the photo"
    by_net = float("nan")
    if net is not None:
        by_net = grid.explained(net(image, fit.state, vertices).on(detail.coarse))
    relief = grid.relief(detail.coarse, detail.fine)
    share, pixels = untrusted_share(grid, relief, detail.trust)
    atlas = atlas_relief(model, vertices, camera, detail.coarse, detail.fine)
    bands = [grid.strength(relief, *limits) for limits in BANDS_PX]
    return ReliefMeasures(
        coarse=grid.explained(detail.coarse),
        net=by_net,
        solver=grid.explained(detail.fine),
        strength_mm=(bands[0], bands[1], bands[2]),
        wrinkles_mm=grid.strength(relief, *WRINKLES_PX),
        untrusted_share=share,
        untrusted_pixels=pixels,
        atlas=atlas,
        tiles=_tiles(image, detail.fine, float(camera.scale), atlas) if shown else None,
    )


def untrusted_share(grid: ShadingGrid, relief: Float, trust: DepthPatch) -> tuple[float, float]:
    """Shares of a relief's (h, w) energy, and of the face's pixels, that lie where trust is low."""
    whole = np.zeros(grid.known.shape, np.float32)
    rows, columns = trust.depth.shape
    whole[trust.top : trust.top + rows, trust.left : trust.left + columns] = np.nan_to_num(trust.depth)
    face = grid.share > 0.99
    low = face & (grid.brought(whole) < UNTRUSTED)
    energy = np.square(band(relief, face, *WRINKLES_PX)) * face
    return float(energy[low].sum() / max(float(energy.sum()), 1e-12)), float(low.sum() / max(face.sum(), 1))


def clay(depth: Float32, scale: float, azimuth: float) -> Image:
    """Depth (h, w), mm, as matt clay in raking light from `azimuth` degrees to the right; black off it."""
    angle, height = np.radians(azimuth), np.radians(15.0)
    lamp = [np.sin(angle) * np.cos(height), np.sin(height), np.cos(angle) * np.cos(height)]
    normals = normals_from_depth(depth, scale)
    shading = 0.12 + 0.85 * np.clip(np.nan_to_num(normals) @ np.asarray(lamp, np.float32), 0, 1)
    shading[~np.isfinite(depth)] = 0
    return np.repeat(np.rint(255 * np.clip(shading, 0, 1))[..., None], 3, axis=2).astype(np.uint8)


def sheet(rows: Sequence[Image]) -> Image:
    """Rows (`ReliefMeasures.tiles`) one below the other, black beside the narrower ones."""
    width = max(row.shape[1] for row in rows)
    return np.vstack([np.pad(row, ((0, 4), (0, width - row.shape[1]), (0, 0))) for row in rows])


def _tiles(image: Image, fine: DepthPatch, scale: float, atlas: AtlasRelief) -> Image:
    import cv2

    height, width = fine.depth.shape
    photo = image[fine.top : fine.top + height, fine.left : fine.left + width]
    grey = np.where(atlas.known, 0.5 + atlas.height / 0.8, 0)
    flat = np.repeat(np.rint(255 * np.clip(grey, 0, 1))[..., None], 3, axis=2).astype(np.uint8)
    tiles = [photo, clay(fine.depth, scale, -60.0), clay(fine.depth, scale, 60.0), flat]
    sized = [
        cv2.resize(t, (round(TILE * t.shape[1] / t.shape[0]), TILE), interpolation=cv2.INTER_AREA)
        for t in tiles
    ]
    return np.asarray(np.hstack(sized), np.uint8)
