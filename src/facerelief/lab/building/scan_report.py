"""Measures of open model 2: fidelity to its source, symmetry, contact, folded triangles.

Tested by tests/lab/building/test_scan_model.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from scipy.spatial import KDTree

from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.mesh import Mesh
from facerelief.geometry.normals import vertex_normals
from facerelief.lab.building.contact import (
    LID_REACH_MM,
    Rims,
    inside_ball,
    lid_edges,
    lip_line,
    mesh_edges,
    turned_out,
)
from facerelief.lab.building.report import save_sheet
from facerelief.lab.building.scan_head import read_scan_head, scan_origin
from facerelief.lab.building.scan_units import WITH_BLINK, source_names
from facerelief.morphable.arkit import mirrored
from facerelief.morphable.model import FaceModel
from facerelief.rendering.preview import preview_sheet
from facerelief.rendering.render import shade_mesh
from facerelief.typed import Bool, Float, Float64, Image, Int32

LARGE_MM2 = 0.25
"""Triangles of less area at rest lie in the creases of mouth and eye corners."""
_INSIDE = np.array([(i, j, 4 - i - j) for i in range(5) for j in range(5 - i)]) / 4.0
"""(15, 3) barycentric places at which a triangle is sampled."""
CORNER_VERTICES = 2
"""Rim vertices beside a corner at which no gap is measured."""


@dataclass(frozen=True)
class ContactReport:
    """Largest distances over random identities, mm."""

    identities: int
    lid_gap_mm: float
    """Height of the gap between the rims of the lids at eyeBlink 1."""
    lid_gap_median_mm: float
    lid_depth_mm: float
    """Depth of the lids in the eyeball at eyeBlink 1, anywhere on their triangles."""
    lid_depth_median_mm: float
    lid_depth_others_mm: float
    """The largest depth when one of `WITH_BLINK` is on, too; on every tenth identity."""
    lip_gap_mm: float
    """Height of the gap between the lips' inner rims at mouthClose and jawOpen 0.5."""


@dataclass(frozen=True)
class SourceDistance:
    """Distance of the face to the source's, mm: medians and 99th percentiles over vertices and shapes."""

    identity_median_mm: float
    expression_median_mm: float
    identity_p99_mm: float
    expression_p99_mm: float


@dataclass(frozen=True)
class ModelMeasures:
    """All measures of one model."""

    symmetry_mm: float
    """Largest difference between a unit and the mirror image of its partner."""
    folded: int
    """Triangles that fold over in random expressions, in all of them together."""
    folded_large: int
    """Those of more than `LARGE_MM2` at rest."""
    expressions: int
    contact: ContactReport

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def measure_model(
    model: FaceModel, identities: int = 200, expressions: int = 1000, seed: int = 1
) -> ModelMeasures:
    """Measure symmetry, contact and folds of a model with 52 ARKit units.

    Args:
        model: Face model with regions for eyeballs, lids, mouth and eye sockets.
        identities: Random identities on which contact is measured.
        expressions: Random expressions, each of one to four units.
        seed: Seed of both.
    """
    return ModelMeasures(
        unit_asymmetry(model),
        *folded_triangles(model, expressions, seed),
        expressions,
        measure_contact(model, identities, seed),
    )


def unit_asymmetry(model: FaceModel) -> float:
    """Largest distance between a unit and its partner's mirror image, mm."""
    assert model.symmetry is not None
    worst = 0.0
    for k, name in enumerate(model.expression_names):
        other = model.expression[model.symmetry, :, model.expression_names.index(mirrored(name))] * [-1, 1, 1]
        worst = max(worst, float(np.linalg.norm(model.expression[:, :, k] - other, axis=1).max()))
    return worst


def measure_contact(model: FaceModel, identities: int = 200, seed: int = 1) -> ContactReport:
    """Gaps and depths of closed lids and lips on random identities."""
    rng = np.random.default_rng([seed, 7])
    lined = model.region("mouth", "eye_sockets", "eyeballs", "teeth", "gums", "tongue", "lashes")
    skin = model.triangles[(~lined | _shared(model, lined))[model.triangles].all(axis=1)]
    mean = model.mean.astype(np.float64)
    balls = [
        model.triangles[(model.eyeballs & (np.sign(mean[:, 0]) == side))[model.triangles].all(axis=1)]
        for side in (-1, 1)
    ]
    lids = [lid_edges(mean, skin, ball) for ball in balls]
    jaw = model.expression[:, :, model.expression_names.index("jawOpen")].astype(np.float64)
    lips = lip_line(mean, mesh_edges(model.triangles, model.quads), skin, jaw)
    lid_triangles = [
        skin[(_near(mean, rims) & turned_out(mean, model.triangles, ball))[skin].all(axis=1)]
        for rims, ball in zip(lids, balls)
    ]
    shut = model.expression_weights({"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0})
    closed = model.expression_weights({"mouthClose": 0.5, "jawOpen": 0.5})
    gaps: list[float] = []
    depths: list[float] = []
    others: list[float] = []
    more = [combination(model, units) + shut for units in WITH_BLINK]
    lip_gaps: list[float] = []
    for k in range(identities):
        identity = rng.standard_normal(model.n_identity).astype(np.float32)
        for weights in more if k % 10 == 0 else ():
            shape = model.shape(identity, weights).astype(np.float64)
            others += [_deepest(shape, *pair) for pair in zip(balls, lid_triangles)]
        shape = model.shape(identity, shut).astype(np.float64)
        for rims, ball, triangles in zip(lids, balls, lid_triangles):
            gaps.append(rim_gap(shape, rims))
            depths.append(_deepest(shape, ball, triangles))
        lip_gaps.append(rim_gap(model.shape(identity, closed), lips))
    return ContactReport(
        identities,
        max(gaps),
        float(np.median(gaps)),
        max(depths),
        float(np.median(depths)),
        max(others),
        max(lip_gaps),
    )


def _deepest(shape: Float64, ball: Int32, triangles: Int32) -> float:
    """Largest depth of some triangles of a shape (N, 3) in an eyeball, mm."""
    points = np.einsum("sk,tkd->std", _INSIDE, shape[triangles]).reshape(-1, 3)
    return float(inside_ball(points, shape, ball)[0].max())


def _near(mean: Float, rims: Rims) -> Bool:
    """(N,) vertices that the contact of lids may move."""
    rim = np.concatenate([rims.upper, rims.lower])
    return np.min([np.linalg.norm(mean - mean[v], axis=1) for v in rim], axis=0) < LID_REACH_MM


def _shared(model: FaceModel, lined: Bool) -> Bool:
    """(N,) vertices of the linings that the skin uses too: the rims."""
    skin = ~lined
    touched = skin[model.triangles].any(axis=1)
    out = np.zeros(model.n_vertices, bool)
    out[model.triangles[touched]] = True
    return out & lined


def rim_gap(shape: Float, rims: Rims) -> float:
    """Largest width of the opening between two rims of a shape (N, 3), seen from the front, mm.

    The distance of a vertex of the upper rim from the lower one, 0 where it lies below it: rims that run
    steeply or into depth, as at the outer corners of the eyes, count by their distance, not by height.
    """
    upper = shape[rims.upper[CORNER_VERTICES:-CORNER_VERTICES], :2].astype(np.float64)
    first, last = shape[rims.lower[:-1], :2], shape[rims.lower[1:], :2]
    along = last - first
    offset = upper[:, None] - first
    share = (offset * along).sum(axis=2) / np.maximum((along**2).sum(axis=1), 1e-9)
    offset = offset - np.clip(share, 0.0, 1.0)[:, :, None] * along
    distance = np.linalg.norm(offset, axis=2)
    rows, nearest = np.arange(len(upper)), distance.argmin(axis=1)
    d, o = along[nearest], offset[rows, nearest]
    above = d[:, 0] * o[:, 1] - d[:, 1] * o[:, 0] > 0
    beyond = (share[:, 0] < 0) & (nearest == 0) | (share[:, -1] > 1) & (nearest == len(along) - 1)
    return float((distance[rows, nearest] * (above & ~beyond)).max())


def folded_triangles(model: FaceModel, expressions: int, seed: int = 1) -> tuple[int, int]:
    """Number of triangles of the skin that fold over in random expressions of one to four units: all, and
    large.

    A triangle is folded where its normal points against the mean of its corners' normals, and does not at
    rest.
    """
    skin = ~model.region("eyeballs", "teeth", "gums", "tongue", "mouth", "eye_sockets", "lashes")
    triangles = model.triangles[skin[model.triangles].all(axis=1)]
    at_rest = _against(model.mean, triangles)
    corners = model.mean[triangles]
    area = 0.5 * np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    rng = np.random.default_rng([seed, 8])
    total = np.zeros(2, int)
    for _ in range(expressions):
        weights = np.zeros(model.n_expression, np.float32)
        chosen = rng.choice(model.n_expression, rng.integers(1, 5), replace=False)
        weights[chosen] = rng.random(len(chosen))
        folded = _against(model.shape(None, weights), triangles) & ~at_rest
        total += folded.sum(), (folded & (area > LARGE_MM2)).sum()
    return int(total[0]), int(total[1])


def _against(shape: Float, triangles: Int32) -> Bool:
    """(T,) triangles whose normal points against the sum of their corners' normals."""
    corners = shape[triangles]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    around = vertex_normals(shape, triangles)[triangles].sum(axis=1)
    return (normal * around).sum(axis=1) < 0


def source_distance(
    model: FaceModel, folder: str | Path, identities: int = 20, seed: int = 1
) -> SourceDistance:
    """Distance of the model's face to the source's, in mm, over random identities and all units.

    Args:
        model: Open model 2.
        folder: Folder of the source files.
        identities: Random identities.
        seed: Their seed.
    """
    head = read_scan_head(Path(folder) / "ict_facekit_light.npz", Path(folder) / "ict_facekit_parts.npz")
    distance, source = map(np.asarray, KDTree(head.mean - scan_origin(head)).query(model.mean))
    face = np.flatnonzero(model.region("face") & (distance < 0.05))
    rows = source[face]
    rng = np.random.default_rng([seed, 9])
    shapes: list[Float] = []
    for _ in range(identities):
        draw = rng.standard_normal(model.n_identity)
        shapes.append(np.linalg.norm(model.identity[face] @ draw - head.identity[rows] @ draw, axis=1))
    units: list[Float] = []
    for k, name in enumerate(model.expression_names):
        sources = source_names(name)
        if sources:
            wanted = sum(head.expression[rows, :, head.expression_names.index(s)] for s in sources)
            units.append(np.linalg.norm(model.expression[face, :, k] - wanted, axis=1))
    return SourceDistance(
        float(np.median(shapes)),
        float(np.median(units)),
        float(np.percentile(shapes, 99)),
        float(np.percentile(units, 99)),
    )


def write_scan_report(
    model: FaceModel,
    folder: str | Path,
    out: str | Path,
    progress: Callable[[str], None] = lambda text: None,
) -> None:
    """Measure a model and render its sheets.

    Writes model2_report.json and the images model2_samples.png, model2_units.png and model2_combinations.png
    into `out`.

    Args:
        model: Open model 2.
        folder: Folder of its source files.
        out: Folder to write to.
        progress: Called with a line about each step.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    measures = measure_model(model)
    distance = source_distance(model, folder)
    report = (
        {"model": model.name, "version": model.version} | measures.to_json() | {"source": asdict(distance)}
    )
    (out / "model2_report.json").write_text(json.dumps(report, indent=2) + "\n")
    progress(json.dumps(report))
    for name, sheet in (
        ("samples", sample_sheet(model)),
        ("units", unit_sheet(model)),
        ("combinations", combination_sheet(model)),
    ):
        save_sheet(sheet, out / f"model2_{name}.png")


COMBINATIONS: dict[str, dict[str, float]] = {
    "full smile": {"mouthSmile": 1.0, "cheekSquint": 0.8, "eyeSquint": 0.4, "mouthUpperUp": 0.3},
    "smile, closed": {"mouthSmile": 0.8, "cheekRaiser": 0.5},
    "laugh": {"mouthSmile": 1.0, "jawOpen": 0.4, "cheekSquint": 1.0, "eyeSquint": 0.7, "mouthUpperUp": 0.4},
    "anger": {"browDown": 1.0, "noseSneer": 0.6, "eyeSquint": 0.5, "mouthPress": 0.7},
    "rage": {"browDown": 1.0, "noseSneer": 1.0, "jawOpen": 0.35, "mouthUpperUp": 0.7, "mouthLowerDown": 0.8},
    "disgust": {"noseSneer": 1.0, "mouthUpperUp": 0.6, "cheekSquint": 0.6, "browDown": 0.4},
    "surprise": {"browInnerUp": 0.9, "browOuterUp": 1.0, "eyeWide": 1.0, "jawOpen": 0.45},
    "fear": {"browInnerUp": 1.0, "browDown": 0.4, "eyeWide": 1.0, "mouthStretch": 0.8, "jawOpen": 0.15},
    "sadness": {"browInnerUp": 1.0, "mouthFrown": 0.8, "mouthShrugLower": 0.5},
    "contempt": {"mouthSmileLeft": 0.7, "mouthDimpleLeft": 0.8, "mouthPressLeft": 0.5},
    "oo": {"mouthPucker": 0.9, "mouthFunnel": 0.4, "jawOpen": 0.1},
    "oh": {"mouthFunnel": 0.8, "jawOpen": 0.3},
    "ah": {"jawOpen": 0.7},
    "ee": {"mouthStretch": 0.5, "mouthSmile": 0.4, "mouthLowerDown": 0.5, "mouthUpperUp": 0.2},
    "ff": {"mouthRollLower": 0.6, "mouthUpperUp": 0.4, "jawOpen": 0.08},
    "mm": {"mouthRollLower": 0.6, "mouthRollUpper": 0.6, "mouthPress": 0.6},
    "wink": {"eyeBlinkLeft": 1.0, "cheekSquintLeft": 0.8, "mouthSmileLeft": 0.5},
    "eyes shut tight": {"eyeBlink": 1.0, "eyeSquint": 1.0, "cheekSquint": 1.0, "browDown": 0.7},
    "puffed cheeks": {"cheekPuff": 1.0, "mouthPress": 0.5},
    "tongue out": {"tongueOut": 1.0, "jawOpen": 0.5, "mouthLowerDown": 0.3},
}
"""Combinations of units that faces make; names without a side stand for both sides."""


def combination(model: FaceModel, weights: dict[str, float]) -> Float:
    """(E,) weights of a combination; a unit without a side sets both."""
    named: dict[str, float] = {}
    for name, weight in weights.items():
        sides = [name] if name in model.expression_names else [name + "Left", name + "Right"]
        named |= dict.fromkeys(sides, weight)
    return model.expression_weights(named)


def combination_sheet(model: FaceModel, size: int = 300) -> Image:
    """Clay images of `COMBINATIONS`, from the front and turned."""
    panels = [
        (name, clay(model, model.shape(None, combination(model, weights)), size, yaw))
        for name, weights in COMBINATIONS.items()
        for yaw in (0.0, 0.6)
    ]
    return preview_sheet(panels, columns=8)


def unit_sheet(model: FaceModel, size: int = 260) -> Image:
    """Clay images of every unit at weight 1, the mirror images of the left side's left out."""
    panels: list[tuple[str, Image]] = []
    for name in model.expression_names:
        if name.endswith("Right") and name.removesuffix("Right") + "Left" in model.expression_names:
            continue
        shape = model.shape(None, model.expression_weights({name: 1.0}))
        panels.append((name, clay(model, shape, size, 0.35)))
    return preview_sheet(panels, columns=8)


def sample_sheet(model: FaceModel, count: int = 24, size: int = 260, seed: int = 1000) -> Image:
    """Clay images of random identities."""
    rng = np.random.default_rng(seed)
    draws = [rng.standard_normal(model.n_identity).astype(np.float32) for _ in range(count)]
    return preview_sheet([("", clay(model, model.shape(draw), size, 0.35)) for draw in draws], columns=8)


def clay(model: FaceModel, shape: Float, size: int, yaw: float) -> Image:
    """A shape (N, 3) in clay, turned by `yaw` radians, its face filling the image (size, size, 3)."""
    face = shape[model.region("face")]
    camera = WeakPerspective(0.0, yaw, 0.0, 0.0, 0.0, 0.8 * size / float(np.ptp(face[:, 1])))
    u, v, _ = camera.project(face.mean(axis=0)[None].astype(np.float64))[0]
    camera = replace(camera, translation_u=size / 2 - u, translation_v=size / 2 - v)
    return shade_mesh(Mesh(np.asarray(shape, np.float32), model.triangles), camera, size, size)[0]
