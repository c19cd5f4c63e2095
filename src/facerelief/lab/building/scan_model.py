"""`facerelief model build --scans`: open model 2, ICT-FaceKit Light adapted.

The source's shapes stay as they are: 100 identity components in standard deviations and its expression shapes
under ARKit's names. Added are a mesh of what can be seen, exact symmetry, one uv square, regions and
landmarks, a moving tongue, and contact of lids and lips on every identity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import ModelError
from facerelief.lab.building.calibration import calibrate_landmarks
from facerelief.lab.building.contact import (
    LIP_REACH_MM,
    Contact,
    Rims,
    lid_edges,
    lip_line,
    mesh_edges,
    regress,
)
from facerelief.lab.building.observations import Observations
from facerelief.lab.building.scan_head import ScanHead, read_scan_head, scan_origin
from facerelief.lab.building.scan_mesh import FACE_TILE, HeadMesh, head_mesh, mirror_map, triangulated
from facerelief.lab.building.scan_regions import (
    MULTI_PIE_OUTLINE,
    Surface,
    outline_contours,
    place_landmarks,
    region_masks,
)
from facerelief.lab.building.scan_units import UNITS, WITH_BLINK, expression_units, symmetric_identity
from facerelief.lab.building.surface import skin_colors, with_detected_brows
from facerelief.morphable.model import Corrective, FaceModel, SurfacePoints
from facerelief.morphable.readers.ict import IBUG68
from facerelief.typed import Float, Float64, Int32

NAME = "facerelief-open2"
VERSION = "2.0"
LICENCE = (
    "MIT; shapes, expressions and mesh: ICT-FaceKit Light, (c) 2020 USC Institute for Creative Technologies, "
    "MIT, adapted by facerelief"
)
_MIRROR = np.array([-1.0, 1.0, 1.0])
_LID_LINE = 0.82
"""Place of the closed lids between the upper rim (0) and the lower one (1) of the blinking face."""


def build_scan_model(
    folder: str | Path,
    faces: Observations | None = None,
    like: FaceModel | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> FaceModel:
    """Build open model 2.

    Args:
        folder: Folder with ict_facekit_light.npz, ict_facekit_parts.npz and mediapipe478_to_ict.npz.
        faces: Landmarks detected on photos, to place the model's landmarks as the detector does; left as
            carried over without.
        like: Model of the same mesh whose landmarks are taken instead.
        progress: Called with a line about each step.

    Returns:
        The model, with hand-made colours until `facerelief model albedo` learns them.

    Raises:
        ModelError: A file is missing or is another one, or `like` has another mesh.
    """
    folder = Path(folder)
    head = read_scan_head(folder / "ict_facekit_light.npz", folder / "ict_facekit_parts.npz")
    origin = scan_origin(head)
    progress("mesh")
    mesh = head_mesh(head, origin)
    mean = mesh.positions(head.mean - origin)
    symmetry = _symmetry(head, mesh, mean)
    mean = 0.5 * (mean + mean[symmetry] * _MIRROR)
    identity, signs = symmetric_identity(mesh.displacements(head.identity), symmetry)
    expression = expression_units(head, mesh, symmetry, mean)
    triangles, uv_triangles, quads = triangulated(mesh, mean)
    surface = Surface(mean, triangles, _vertex_uv(mesh, len(mean)), mesh, symmetry)
    progress("contact of lids and lips")
    _keep_lips_closed(surface, quads, identity, expression)
    correctives = _close(surface, identity, expression, signs)
    progress("landmarks, regions, colours")
    points68, points478 = _source_landmarks(head, folder / "mediapipe478_to_ict.npz")
    landmarks = place_landmarks(surface, points68 - origin, points478 - origin)
    if like is not None:
        if not np.array_equal(like.triangles, triangles):
            raise ModelError(f"model {like.name!r} has another mesh: its landmarks cannot be kept")
        landmarks = dict(like.landmarks)
    model = FaceModel(
        name=NAME,
        mean=mean.astype(np.float32),
        identity=identity.astype(np.float32),
        expression=expression.astype(np.float32),
        expression_names=UNITS,
        triangles=triangles,
        albedo_mean=np.full((len(mean), 3), 0.5, np.float32),
        albedo=np.zeros((len(mean), 3, 0), np.float32),
        uv=mesh.uv.astype(np.float32),
        uv_triangles=uv_triangles,
        landmarks=landmarks,
        regions=region_masks(surface, landmarks),
        symmetry=symmetry,
        correctives=correctives,
        quads=quads,
        version=VERSION,
        licence=LICENCE,
    )
    if faces is not None:
        progress("landmarks placed as the detector finds them")
        model = calibrate_landmarks(model, faces.any, faces.neutral)
    return _finished(surface, model)


def _finished(surface: Surface, model: FaceModel) -> FaceModel:
    """The model with what depends on the calibrated landmarks."""
    landmarks = with_detected_brows(dict(model.landmarks))
    rims = _lip_line(surface, model.quads, model.expression[:, :, UNITS.index("jawOpen")])
    landmarks["ibug68"] = _on_lip_line(landmarks["ibug68"], rims, surface.mean)
    masks = region_masks(surface, landmarks)
    albedo_mean, albedo = skin_colors(surface.mean, surface.triangles, masks)
    return replace(
        model,
        landmarks=landmarks,
        regions=masks,
        contours=outline_contours(surface, landmarks, masks),
        albedo_mean=albedo_mean,
        albedo=albedo,
    )


def _symmetry(head: ScanHead, mesh: HeadMesh, mean: Float64) -> Int32:
    """(N,) mirror partners: lips touch at rest, so their motion tells them apart."""
    features = [mean]
    for names, weight in (
        (("jawOpen",), 0.5),
        (("mouthUpperUp_L", "mouthUpperUp_R"), 0.5),
        (("eyeBlink_L", "eyeBlink_R"), 0.3),
        (("mouthLowerDown_L", "mouthLowerDown_R"), 0.5),
    ):
        moves = sum(head.expression[:, :, head.expression_names.index(name)] for name in names)
        features.append(weight * (mesh.operator @ moves))
    return mirror_map(
        np.concatenate(features, axis=1), np.concatenate([f * _MIRROR for f in features], axis=1)
    )


def _vertex_uv(mesh: HeadMesh, n: int) -> Float64:
    """(N, 2) a source uv of each vertex in its own tile, for the face's: u and v in [0, 1]."""
    out = np.zeros((n, 2))
    corners = mesh.polygons >= 0
    out[mesh.polygons[corners]] = mesh.uv[mesh.uv_polygons[corners]]
    _, left, bottom, side = FACE_TILE
    return (out - [left, bottom]) / side


def _source_landmarks(head: ScanHead, table: Path) -> tuple[Float64, Float64]:
    """(68, 3) and (478, 3) mm on the source's mean."""
    try:
        with np.load(table, allow_pickle=False) as arrays:
            triangles, weights = arrays["tri"].reshape(-1, 3), arrays["bary"].reshape(-1, 3)
    except (OSError, KeyError, ValueError) as error:
        raise ModelError(
            f"{table}: not a table of landmarks ({error}); expected tri and bary (478, 3)"
        ) from error
    ids = list(MULTI_PIE_OUTLINE) + list(IBUG68[17:])
    return head.mean[ids], (head.mean[triangles] * weights[:, :, None]).sum(axis=1)


def _close(
    surface: Surface, identity: Float64, expression: Float64, signs: NDArray[np.int64]
) -> tuple[Corrective, ...]:
    """Correct blinks: the constant part in `expression`, in place, the rest as correctives."""
    mean, triangles = surface.mean, surface.triangles
    skin = surface.triangles_of(surface.mesh.vertices_of("face", "sides"))
    # the skin and the linings of the openings move together
    lined = surface.mesh.vertices_of("face", "sides", "eye_sockets")
    blink, blink_right = UNITS.index("eyeBlinkLeft"), UNITS.index("eyeBlinkRight")
    ball = surface.triangles_of(surface.eyeballs & (mean[:, 0] > 0))
    shut = mean + expression[:, :, blink]
    eye = lid_edges(mean, skin, ball)
    lining = lined & ~surface.mesh.vertices_of("face", "sides")
    lid = Contact.prepare(mean, shut, triangles, lined, eye, ball, lining, line=_LID_LINE)
    together = [
        np.sum([expression[:, :, _left(name)] * weight for name, weight in units.items()], axis=0)
        for units in WITH_BLINK
    ]
    constant, linear = regress(lid, shut, identity, together)
    vertices, constant, linear = _with_lashes(surface, lid, constant, linear)
    other = surface.symmetry[vertices]
    expression[vertices, :, blink] += constant
    expression[other, :, blink_right] += constant * _MIRROR
    return (
        Corrective(blink, vertices.astype(np.int32), linear.astype(np.float32)),
        Corrective(
            blink_right,
            other.astype(np.int32),
            (linear * _MIRROR[:, None] * signs).astype(np.float32),
        ),
    )


def _left(name: str) -> int:
    """Index of a unit, of its left side where it has two."""
    return UNITS.index(name if name in UNITS else name + "Left")


def _lip_line(surface: Surface, quads: int, jaw_open: Float) -> Rims:
    skin = surface.triangles_of(surface.mesh.vertices_of("face", "sides"))
    return lip_line(surface.mean, mesh_edges(surface.triangles, quads), skin, jaw_open.astype(np.float64))


def _on_lip_line(points: SurfacePoints, rims: Rims, mean: Float64) -> SurfacePoints:
    """iBUG's inner lips at the vertices where closed lips touch: at rest they coincide but for the mesh's
    width."""
    vertices, weights = points.vertices.copy(), points.weights.copy()
    at = points.of(mean)
    for ids, rim in ((range(61, 64), rims.upper), (range(65, 68), rims.lower)):
        for k in ids:
            vertices[k] = rim[np.abs(mean[rim, 0] - at[k, 0]).argmin()]
            weights[k] = (1.0, 0.0, 0.0)
    return SurfacePoints(vertices, weights)


def _keep_lips_closed(surface: Surface, quads: int, identity: Float64, expression: Float64) -> None:
    """Keep identities from parting the lips, and close what mouthClose leaves open, in place."""
    mean, mesh = surface.mean, surface.mesh
    jaw, close = (UNITS.index(name) for name in ("jawOpen", "mouthClose"))
    rims = _lip_line(surface, quads, expression[:, :, jaw])
    lined = mesh.vertices_of("face", "sides", "mouth")
    lips = Contact.prepare(mean, mean, surface.triangles, lined, rims, reach=LIP_REACH_MM)
    for k in range(identity.shape[2]):
        identity[lips.patch, :, k] += lips.pull(identity[:, :, k])
    closed = mean + expression[:, :, jaw] + expression[:, :, close]
    both = lips.pull(closed, gaps_only=True)
    row = np.searchsorted(lips.patch, surface.symmetry[lips.patch])
    expression[lips.patch, :, close] += 0.5 * (both + both[row] * _MIRROR)


def _with_lashes(
    surface: Surface, lid: Contact, constant: Float64, linear: Float64
) -> tuple[NDArray[np.int64], Float64, Float64]:
    """The lids' correction with the lashes of that eye, which move as the nearest vertex of a rim does."""
    mean = surface.mean
    lashes = np.flatnonzero(surface.mesh.vertices_of("lashes") & (mean[:, 0] > 0))
    # a lash lies nearest to its lid at its root: all of its vertices follow the root's rim vertex
    levels = 6
    roots = lashes.reshape(-1, levels, 2)[:, :1].repeat(levels, axis=1).reshape(-1)
    nearest = np.linalg.norm(mean[roots][:, None] - mean[lid.rim][None], axis=2).argmin(axis=1)
    row = np.searchsorted(lid.patch, lid.rim[nearest])
    vertices = np.concatenate([lid.patch, lashes])
    return vertices, np.concatenate([constant, constant[row]]), np.concatenate([linear, linear[row]])
