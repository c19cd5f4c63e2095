"""Errors of a face whose shape and pose are known, in mm and per cent, and means over many samples.

docs/nets.md defines every measure. A measure of `networks.measures` with the same name is the same measure:
training and evaluation agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from facerelief.detection import DetectedFace, detect_faces
from facerelief.geometry.alignment import procrustes
from facerelief.geometry.boxes import overlap
from facerelief.geometry.camera import WeakPerspective
from facerelief.inference.crops import SquareCrop, coarse_crop
from facerelief.inverse.landmark_fit import FaceState
from facerelief.morphable.front import solid_triangles
from facerelief.morphable.landmark_sets import IBUG68_AMONG_MEDIAPIPE
from facerelief.morphable.model import FaceModel
from facerelief.rendering.rasterizer import rasterize, visible_vertices
from facerelief.typed import Bool, Float, Image

Progress = Callable[[int], None]
"""Called with the number of samples done."""
Notes = Callable[[str, int], Progress]
"""(subject, number of samples) -> `Progress`."""
T = TypeVar("T")


def counted(items: Iterable[T], progress: Progress) -> Iterator[T]:
    """The items, with a call of `progress` after each."""
    for done, item in enumerate(items, 1):
        yield item
        progress(done)


YAW_BINS = ((0, 15), (15, 30), (30, 45), (45, 90))
"""Degrees of |yaw|: a report has one part for each."""
ANGLES = ("pitch", "yaw", "roll")
LEAST_OVERLAP = 0.2
"""Intersection over union below which a detected face is not the labelled one."""
_JAW = 17
"""The first 17 of the 68 landmarks lie along the jaw."""


# ---------------------------------------------------------------- truth


@dataclass(frozen=True, eq=False)
class TrueFace:
    """The face region of a labelled face; F is the number of the model's face vertices."""

    state: FaceState
    """Camera in the image's pixels."""
    shape: Float
    """(F, 3) model space, mm."""
    points: Float
    """(F, 3) u px, v px, z mm."""
    seen: Bool
    """(F,) inside the crop, and hidden by nothing of the head by more than 1 mm."""
    marks: Float
    """(68, 2) px"""

    @property
    def face_px(self) -> float:
        """Root of the area of the landmarks' box in the image turned by the roll, px: the unit of landmark
        errors."""
        c, s = np.cos(self.state.camera.roll), np.sin(self.state.camera.roll)
        return face_px(self.marks @ np.array([[c, s], [-s, c]]))


def label_state(labels: Mapping[str, NDArray[Any]], start: str = "", k: int | None = None) -> FaceState:
    """Camera, identity and expression of a sample's labels; start: "previous_" for the k-th such state."""
    camera, identity, expression = (
        labels[f"{start}{name}"] if k is None else labels[f"{start}{name}"][k]
        for name in ("camera", "identity", "expression")
    )
    return FaceState(
        WeakPerspective.from_vector(camera), identity.astype(np.float32), expression.astype(np.float32)
    )


def true_face(model: FaceModel, state: FaceState, crop: SquareCrop) -> TrueFace:
    """True face region of an image; crop: the network's input, in which vertices count as seen."""
    vertices = model.shape(state.identity, state.expression)
    inside = crop.camera(state.camera).project(vertices)
    solid, _ = solid_triangles(model)
    rendered = rasterize(inside, solid, crop.size, crop.size)
    face = model.face_vertices
    shape = vertices[face]
    marks = state.camera.project(model.landmarks["ibug68"].of(vertices))[:, :2]
    seen = visible_vertices(inside, solid, rendered)[face]
    return TrueFace(state, shape, state.camera.project(shape), seen, marks)


def face_crop(model: FaceModel, state: FaceState, size: int) -> SquareCrop:
    """CoarseNet's crop about a labelled face."""
    vertices = model.shape(state.identity, state.expression)[model.face_vertices]
    return coarse_crop(state.camera.project(vertices), size, state.camera.roll)


# ---------------------------------------------------------------- errors


def state_errors(model: FaceModel, truth: TrueFace, found: FaceState) -> dict[str, float]:
    """All errors of a state, camera in the image's pixels: those of `shape_errors`, and

    nme68, nme51: of the landmarks and of those off the jaw, per cent (`nme`); pitch, yaw, roll: degrees.
    """
    vertices = model.shape(found.identity, found.expression)
    out = shape_errors(truth, vertices[model.face_vertices], found.camera)
    marks = found.camera.project(model.landmarks["ibug68"].of(vertices))[:, :2]
    out |= landmark_errors(marks, truth)
    apart = found.camera.vector[:3] - truth.state.camera.vector[:3]
    turned = np.abs((apart + np.pi) % (2 * np.pi) - np.pi)
    return out | dict(zip(ANGLES, np.degrees(turned).tolist()))


def shape_errors(truth: TrueFace, shape: Float, camera: WeakPerspective) -> dict[str, float]:
    """Errors in mm of a found shape (F, 3), model space, and its camera; NaN where nothing is seen.

    Means over the truth's seen vertices of the distance between corresponding points:
    surface_mm: in model space, neither posed nor aligned; rigid_mm: after the best rigid motion over these
    vertices; similar_mm: after the best similarity; posed_mm: in camera space, where px are divided by the
    true scale; level_mm: posed_mm without the mean error of depth, which an image does not show. rms_mm:
    root mean square of the distances of posed_mm over the whole face, seen or not.
    """
    names = ("surface_mm", "rigid_mm", "similar_mm", "posed_mm", "level_mm", "rms_mm")
    seen = truth.seen
    if np.count_nonzero(seen) < 3 or not np.isfinite(shape).all():
        return dict.fromkeys(names, float("nan"))
    true, own = (x[seen].astype(np.float64) for x in (truth.shape, shape))
    aligned = [procrustes(own, true, with_scale=scaled).apply(own) - true for scaled in (False, True)]
    apart = camera.project(shape).astype(np.float64) - truth.points
    apart[:, :2] /= truth.state.camera.scale
    level = apart[seen] - [0, 0, apart[seen, 2].mean()]
    values = [np.linalg.norm(x, axis=1).mean() for x in (own - true, *aligned, apart[seen], level)]
    values.append(np.sqrt(np.square(apart).sum(axis=1).mean()))
    return dict(zip(names, map(float, values)))


def landmark_errors(marks: Float, truth: TrueFace) -> dict[str, float]:
    """nme68 and nme51 of landmarks (68, 2), px."""
    size = truth.face_px
    return {"nme68": nme(marks, truth.marks, size), "nme51": nme(marks[_JAW:], truth.marks[_JAW:], size)}


def nme(marks: Float, truth: Float, size: float) -> float:
    """Mean distance of landmarks (L, 2) from the true ones in per cent of a size, all px."""
    return 100 * float(np.linalg.norm(marks[:, :2] - truth[:, :2], axis=1).mean()) / size


def face_px(marks: Float) -> float:
    """Root of the area of the box of landmarks (68, 2), px."""
    return float(np.sqrt(np.ptp(marks[:, :2], axis=0).prod()))


def face_in(image: Image, box: NDArray[Any]) -> DetectedFace | None:
    """Detected face of an image (H, W, 3) that overlaps a box (left, top, right, bottom), px, most.

    None where no face reaches `LEAST_OVERLAP`.
    """
    faces = detect_faces(image, small_faces=False)
    rated = [(float(overlap(np.array(face.box), np.asarray(box))), -k) for k, face in enumerate(faces)]
    best, k = max(rated, default=(0.0, 0))
    return faces[-k] if best >= LEAST_OVERLAP else None


def ibug68(landmarks: Float) -> Float:
    """(68, 2) of a detector's (478, 2): the MediaPipe points nearest to iBUG's."""
    return landmarks[list(IBUG68_AMONG_MEDIAPIPE), :2]


# ---------------------------------------------------------------- many samples


def means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each measure over the rows that have it."""
    names = dict.fromkeys(name for row in rows for name in row)
    out: dict[str, float] = {}
    for name in names:
        values = np.array([row.get(name, np.nan) for row in rows], np.float64)
        out[name] = float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
    return out


def yaw_bin(degrees: float) -> str:
    """Name of the bin of `YAW_BINS` of a yaw; the last bin holds all beyond it."""
    for low, high in YAW_BINS[:-1]:
        if low <= abs(degrees) < high:
            return f"{low}-{high}"
    return f"{YAW_BINS[-1][0]}+"


YAW_NAMES = tuple(yaw_bin(low) for low, _ in YAW_BINS)


def expression_groups(model: FaceModel, expression: Float) -> tuple[str, ...]:
    """Groups of an expression (E,): "mouth open", "eyes closed", "smile", or "neutral"; none for models
    without ARKit's names.

    Jaw open by 0.3; both lids by 0.5; mouth corners by 0.4 on average; no weight above 0.3.
    """
    index = {name: k for k, name in enumerate(model.expression_names)}
    wanted = {
        "mouth open": (("jawOpen",), 0.3),
        "eyes closed": (("eyeBlinkLeft", "eyeBlinkRight"), 0.5),
        "smile": (("mouthSmileLeft", "mouthSmileRight"), 0.4),
    }
    found: list[str] = []
    for group, (names, least) in wanted.items():
        if all(name in index for name in names):
            value = float(np.mean([expression[index[name]] for name in names]))
            found += [group] if value >= least else []
    if "jawOpen" in index and float(np.max(expression)) <= 0.3:
        found.append("neutral")
    return tuple(found)


@dataclass(frozen=True)
class CalibrationBin:
    """Samples whose stated errors are neighbours."""

    samples: int
    stated_mm: float
    """Mean stated error."""
    true_mm: float
    """Mean true error."""
    true_p90_mm: float
    """90th percentile of the true errors."""


@dataclass(frozen=True)
class Calibration:
    """Agreement of stated errors with true ones."""

    samples: int
    spearman: float
    """Rank correlation."""
    factor: float
    """Mean true over mean stated error."""
    bins: tuple[CalibrationBin, ...]
    """Equal parts of the samples, by the stated error."""


def calibration(stated: Float, true: Float, bins: int = 5) -> Calibration:
    """Agreement of stated errors (N,) with true ones (N,), both mm; NaN below two known samples."""
    known = np.isfinite(stated) & np.isfinite(true)
    stated, true = stated[known], true[known]
    if len(stated) < 2:
        return Calibration(len(stated), float("nan"), float("nan"), ())
    a, b = (np.argsort(np.argsort(x)).astype(float) for x in (stated, true))
    varied = np.ptp(stated) > 0 and np.ptp(true) > 0
    order = np.argsort(stated, kind="stable")
    return Calibration(
        len(stated),
        float(np.corrcoef(a, b)[0, 1]) if varied else float("nan"),
        float(true.mean() / max(float(stated.mean()), 1e-9)),
        tuple(
            CalibrationBin(
                len(part),
                float(stated[part].mean()),
                float(true[part].mean()),
                float(np.percentile(true[part], 90)),
            )
            for part in np.array_split(order, bins)
            if len(part)
        ),
    )


def ratio(a: float, b: float) -> float:
    """a / b; NaN where either is not finite or b is not positive."""
    return a / b if np.isfinite(a) and np.isfinite(b) and b > 0 else float("nan")
