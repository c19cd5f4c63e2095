"""Report of the open model for docs/model.md: residuals, specificity, samples, expressions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.mesh import Mesh
from facerelief.lab.building.open_model import Build
from facerelief.lab.building.population import residuals
from facerelief.morphable.model import FaceModel
from facerelief.rendering.render import shade_mesh
from facerelief.typed import Image

COMPONENTS = (5, 10, 20, 40, 60, 80, 100)
SHOWN_UNITS = (
    "eyeBlinkLeft", "eyeBlinkRight", "eyeLookInLeft", "eyeWideRight", "browInnerUp", "browDownLeft",
    "jawOpen", "mouthFunnel", "mouthPucker", "mouthSmileLeft", "mouthFrownRight", "mouthUpperUpLeft",
    "mouthRollLower", "mouthLeft", "cheekPuff", "noseSneerRight",
)  # fmt: skip


def write_report(
    build: Build,
    folder: str | Path,
    *,
    persons: int = 200,
    seed: int = 1000,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, object]:
    """Measure a freshly built model on identities it was not made from, and render it.

    Writes into `folder`: model_report.json and the images model_residual.png, model_samples.png,
    model_expressions.png. Residual: distance from each narrow-face vertex of an unseen scan to the fitted
    surface, mm. Specificity: mean vertex distance from a random sample to the nearest of 1,000 scan persons
    fitted by the model (narrow face, mm).
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model = build.model
    draws = (
        np.random.default_rng(seed)
        .standard_normal((persons, build.scans.identity.shape[2]))
        .astype(np.float32)
    )
    rows: list[dict[str, float]] = []
    for k in COMPONENTS:
        # the curve's other points need fewer identities than the last, which has a target
        some = draws if k == COMPONENTS[-1] else draws[: max(persons // 4, 1)]
        found = residuals(
            model.mean, model.identity[:, :, :k], build.surface.skin_triangles, build.scans, some
        )
        rows.append(
            {
                "components": k,
                "persons": len(some),
                "median_mm": float(np.median(found)),
                "mean_mm": float(found.mean()),
                "p90_mm": float(np.percentile(found, 90)),
                "specificity_mm": _specificity(build, k, seed),
            }
        )
        progress(f"{k} components: median {rows[-1]['median_mm']:.2f} mm, mean {rows[-1]['mean_mm']:.2f} mm")
    variance = build.statistics.variance
    report: dict[str, object] = {
        "model": model.name,
        "version": model.version,
        "seed": seed,
        "residual": rows,
        "variance_kept": float(variance[: model.n_identity].sum() / variance.sum()),
        "symmetric_components": int((build.statistics.sign > 0).sum()),
    }
    (folder / "model_report.json").write_text(json.dumps(report, indent=2) + "\n")
    _plot(rows, folder / "model_residual.png")
    save_sheet(sample_sheet(model, 24, seed), folder / "model_samples.png")
    save_sheet(expression_sheet(model), folder / "model_expressions.png")
    return report


def _specificity(build: Build, k: int, seed: int, samples: int = 100, persons: int = 1000) -> float:
    """Mean distance of random samples to the nearest linearly projected scan identity, mm."""
    rng = np.random.default_rng([seed, 1])
    narrow = np.flatnonzero(build.model.regions["narrow_face"])[::16]
    basis = build.model.identity[:, :, :k]
    face = np.flatnonzero(build.model.regions["narrow_face"])[::4]
    # where each face vertex lies on the scan mesh, so that a person's scan gives its vertices
    from facerelief.geometry.closest import ClosestPoint

    hit = ClosestPoint(build.scans.mean, build.scans.triangles).query(build.draped[face])
    corners = build.scans.triangles[hit.triangle]
    moves = (build.scans.identity[corners] * hit.barycentric[:, :, None, None].astype(np.float32)).sum(axis=1)
    a = basis[face].reshape(-1, k).astype(np.float64)
    project = np.linalg.solve(a.T @ a + 1e-3 * np.eye(k), a.T @ moves.reshape(len(a), -1))
    population = rng.standard_normal((persons, moves.shape[2])) @ project.T
    drawn = rng.standard_normal((samples, k))
    b = basis[narrow].astype(np.float64)
    shapes = np.einsum("nik,pk->pni", b, population)
    nearest = [np.linalg.norm(shapes - b @ d, axis=2).mean(axis=1).min() for d in drawn]
    return float(np.mean(nearest))


def portrait(
    model: FaceModel, vertices: NDArray[np.float32], yaw: float = 0.0, size: int = 240, scale: float = 0.9
) -> Image:
    """(size, size, 3) the head with the model's mean skin, upright, `yaw` radians turned."""
    camera = WeakPerspective(0.0, yaw, 0.0, size / 2, size / 2 - 12 * scale, scale)
    mesh = Mesh(vertices, model.triangles, np.clip(model.albedo_mean, 0, 1))
    return shade_mesh(mesh, camera, size, size)[0]


def sample_sheet(model: FaceModel, count: int, seed: int) -> Image:
    """Random identities, every third one turned; last the first four components at -3 and +3."""
    rng = np.random.default_rng(seed)
    pictures: list[Image] = []
    for i in range(count):
        person = model.shape(rng.standard_normal(model.n_identity))
        pictures.append(portrait(model, person, 0.6 if i % 3 == 2 else 0.0))
    for k in range(4):
        for value in (-3.0, 3.0):
            coefficients = np.zeros(model.n_identity)
            coefficients[k] = value
            pictures.append(portrait(model, model.shape(coefficients), 0.35))
    return _grid(pictures, 8)


def expression_sheet(model: FaceModel) -> Image:
    """Expressions of `SHOWN_UNITS` at weight 1."""
    import cv2

    pictures: list[Image] = []
    for name in SHOWN_UNITS:
        shape = model.shape(None, model.expression_weights({name: 1.0}))
        picture = np.ascontiguousarray(portrait(model, shape, 0.2, scale=1.15))
        cv2.putText(picture, name, (6, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (40, 40, 40), 1, cv2.LINE_AA)
        pictures.append(picture)
    return _grid(pictures, 8)


def _grid(pictures: list[Image], columns: int) -> Image:
    rows = [np.hstack(pictures[i : i + columns]) for i in range(0, len(pictures), columns)]
    return np.vstack(rows)


def _plot(rows: list[dict[str, float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.6))
    x = [r["components"] for r in rows]
    for key, label in (
        ("mean_mm", "residual, mean"),
        ("median_mm", "residual, median"),
        ("specificity_mm", "specificity"),
    ):
        axes.plot(x, [r[key] for r in rows], marker="o", label=label)
    axes.axhline(1.1, color="0.7", linestyle="--", linewidth=1)
    axes.axhline(0.6, color="0.7", linestyle=":", linewidth=1)
    axes.set_xlabel("identity components")
    axes.set_ylabel("mm, narrow face")
    axes.set_ylim(bottom=0)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def save_sheet(picture: Image, path: Path) -> None:
    """Write an RGB image as PNG."""
    import cv2

    cv2.imwrite(str(path), np.ascontiguousarray(picture[..., ::-1]), [cv2.IMWRITE_PNG_COMPRESSION, 9])
