"""In-plane rotation: the same face from photos and clips turned by any angle.

A turned photo is the same measurement of the same face, so shape, yaw, pitch and relief must stay and roll
must follow. Photos are turned about their middle on a canvas that holds all of them, black beyond.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from facerelief.errors import FacereliefError
from facerelief.face.reconstruction import DepthPatch, Reconstruction
from facerelief.geometry.camera import WeakPerspective
from facerelief.lab.datasets.photos import Photo
from facerelief.lab.evaluation.metrics.reports import TARGETS, Target
from facerelief.lab.evaluation.metrics.tables import Printed, number, tabulate
from facerelief.pipeline.reconstructor import Reconstructor, ReconstructorConfig
from facerelief.runtime.workers import ordered_results
from facerelief.tracking.tracker import Tracker, TrackerConfig
from facerelief.typed import Float, Float32, Float64, Image

MOST_MM, MOST_DEGREES, LEAST_SHARE = 0.5, 3.0, 0.95
"""Targets: difference of shape and of roll that the least share of turned images keeps."""
_SURE = 0.7
"""A confidence from which a wrong roll counts as a confident error."""


@dataclass(frozen=True)
class Turn:
    """One turned image against the upright one."""

    degrees: float
    """Angle by which the image is turned counter-clockwise as seen."""
    shape_mm: float
    """Mean distance of the face's vertices in model space, expression on; NaN where no face was found."""
    roll_deg: float
    """Error of roll; likewise for the next two."""
    yaw_deg: float
    pitch_deg: float
    relief_mm: float
    """Root mean square difference of the relief on the pixels that both have."""
    confidence: float

    @property
    def found(self) -> bool:
        """True if the face was found."""
        return math.isfinite(self.shape_mm)

    @property
    def kept(self) -> bool:
        """True if shape and roll are within the targets."""
        return self.shape_mm <= MOST_MM and self.roll_deg <= MOST_DEGREES


@dataclass(frozen=True)
class TurnPart:
    """Statistics over some of the turned images."""

    images: int
    found: float
    """Share with a face."""
    within: float
    """Share of all whose shape and roll are within the targets."""
    shape_mm: tuple[float, float, float]
    """Median, 95th percentile and largest; likewise below."""
    roll_deg: tuple[float, float, float]
    yaw_deg: tuple[float, float, float]
    relief_mm: tuple[float, float, float]


@dataclass(frozen=True)
class RollReport:
    """Turned images against upright ones."""

    what: str
    """Of what: the photos, or a clip."""
    images: int
    """Upright photos, or frames of the clip."""
    whole: TurnPart = field(metadata={"key": "all"})
    by_angle: dict[str, TurnPart]
    worst: list[tuple[str, Turn]]
    """Those that differ most, or were not found."""
    confidence: dict[str, float]
    """Mean confidence of images within the targets and of those beyond; share of those beyond that are
    confident."""
    failures: dict[str, str]
    targets: list[Target] = field(metadata=TARGETS)


# ---------------------------------------------------------------- turning


def turned(image: Image, degrees: float) -> tuple[Image, Float64]:
    """An image turned counter-clockwise as seen, on a canvas that holds all of it.

    Args:
        image: (H, W, 3).
        degrees: Angle.

    Returns:
        The image (H', W', 3), black beyond the old one, and (2, 3) from points of the old to points of the
        new, px.
    """
    import cv2

    height, width = image.shape[:2]
    angle = math.radians(degrees)
    c, s = round(math.cos(angle), 12), round(math.sin(angle), 12)
    turn = np.array([[c, s], [-s, c]])  # v is down
    size = np.ceil(np.abs(turn) @ [width, height] - 1e-6).astype(int)
    matrix = np.column_stack([turn, size / 2 - turn @ [width / 2, height / 2]])
    index = matrix.copy()  # pixel centres are at + 0.5 in points, at whole numbers in OpenCV
    index[:, 2] += turn @ [0.5, 0.5] - 0.5
    out = cv2.warpAffine(image, index, (int(size[0]), int(size[1])), flags=cv2.INTER_CUBIC)
    return np.asarray(out, np.uint8), matrix


# ---------------------------------------------------------------- one image


class _Face(NamedTuple):
    """Figures of a face that are compared."""

    shape: Float32
    """(F, 3) face vertices, model space, mm."""
    camera: WeakPerspective
    relief: DepthPatch | None
    confidence: float


def _seen(result: Reconstruction) -> _Face:
    shape = result.model.shape(result.identity, result.expression)[result.model.face_vertices]
    relief = None
    if result.fine is not None:
        relief = DepthPatch(result.fine.depth - result.coarse.depth, result.fine.left, result.fine.top)
    return _Face(shape, result.camera, relief, result.confidence)


def _lost(degrees: float) -> Turn:
    nan = float("nan")
    return Turn(degrees, nan, nan, nan, nan, nan, 0.0)


def _compared(upright: _Face, other: _Face, matrix: Float64, degrees: float) -> Turn:
    expected = upright.camera.moved(matrix)
    roll, yaw, pitch = (
        abs(math.degrees(math.remainder(getattr(expected, name) - getattr(other.camera, name), math.tau)))
        for name in ("roll", "yaw", "pitch")
    )
    apart = float(np.linalg.norm(upright.shape - other.shape, axis=1).mean())
    relief = float("nan")
    if upright.relief is not None and other.relief is not None:
        relief = _relief_apart(upright.relief, other.relief, matrix)
    return Turn(degrees, apart, roll, yaw, pitch, relief, other.confidence)


def _relief_apart(upright: DepthPatch, other: DepthPatch, matrix: Float64) -> float:
    """Root mean square difference, mm, of a relief and that of the turned image, turned back."""
    import cv2

    index = matrix.copy()
    index[:, 2] += index[:, :2] @ [upright.left + 0.5, upright.top + 0.5] - 0.5
    index[:, 2] -= [other.left, other.top]
    size = upright.depth.shape[::-1]
    known = np.isfinite(other.depth).astype(np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    back, share = (cv2.warpAffine(x, index, size, flags=flags) for x in (np.nan_to_num(other.depth), known))
    both = np.isfinite(upright.depth) & (share > 0.999)
    apart = (back - upright.depth)[both]
    return float(np.sqrt(np.square(apart).mean())) if apart.size else float("nan")


# ---------------------------------------------------------------- photos

_WORKER: list[tuple[Reconstructor, Sequence[float]]] = []


def _start(model: str, config: ReconstructorConfig, angles: Sequence[float]) -> None:
    _WORKER[:] = [(Reconstructor(model, config), angles)]


def _photo_turns(photo: Photo) -> list[Turn] | str:
    """All turns of a photo, or why there are none."""
    from facerelief.io.images import read_image

    make, angles = _WORKER[0]
    try:
        image = read_image(photo.file)
        result = make(image)[0]
    except FacereliefError as error:
        return str(error)
    upright, points = _seen(result), result.landmarks68_px[:, :2]
    turns: list[Turn] = []
    for degrees in angles:
        moved, matrix = turned(image, degrees)
        middle = matrix[:, :2] @ points.mean(axis=0) + matrix[:, 2]
        try:
            faces = make(moved)
        except FacereliefError:
            turns.append(_lost(degrees))
            continue
        apart = [float(np.linalg.norm(f.landmarks68_px[:, :2].mean(axis=0) - middle)) for f in faces]
        best = int(np.argmin(apart))
        near = apart[best] < 0.3 * float(np.ptp(points, axis=0).max())
        turns.append(_compared(upright, _seen(faces[best]), matrix, degrees) if near else _lost(degrees))
    return turns


def evaluate_photo_rolls(
    photos: Sequence[Photo],
    angles: Sequence[float],
    model: str = "open",
    config: ReconstructorConfig | None = None,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> RollReport:
    """Reconstruct photos upright and turned.

    Args:
        photos: Photos; of each the best face counts.
        angles: Degrees by which they are turned.
        model: Name or file of the face model.
        config: Method.
        workers: Processes; the figures do not depend on their number.
        progress: Called with the number of photos done and of all.
    """
    config = config or ReconstructorConfig()
    turns: list[tuple[str, Turn]] = []
    failures: dict[str, str] = {}
    with ordered_results(
        _photo_turns, photos, workers=workers, start=_start, arguments=(model, config, tuple(angles))
    ) as results:
        for done, (photo, found) in enumerate(zip(photos, results), 1):
            if isinstance(found, str):
                failures[str(photo.file)] = found
            else:
                turns += [(f"{photo.file.parent.name}/{photo.file.name}", turn) for turn in found]
            progress(done, len(photos))
    return roll_report("photos", len(photos) - len(failures), turns, failures)


# ---------------------------------------------------------------- clips

TILTING = 1.5
"""Degrees by which a tilting clip turns from frame to frame."""


def evaluate_clip_rolls(
    name: str,
    frames: Sequence[Image],
    times: Sequence[float],
    angles: Sequence[float],
    start: Callable[[TrackerConfig], Tracker] = lambda config: Tracker(config=config),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> RollReport:
    """Follow the face of a clip upright, turned by each angle, and tilting to 180 degrees and back.

    Args:
        name: Of the clip.
        frames: (H, W, 3) images.
        times: Their times, s.
        angles: Degrees by which the whole clip is turned.
        start: Makes a fresh tracker.
        progress: Called with the number of tracks done and of all.
    """
    config = TrackerConfig(detail=False, depth=False)
    upright = [face for _, face in _followed(start(config), frames, times, np.zeros(len(frames)))]
    swing = TILTING * np.arange(len(frames))
    ways = {f"{angle:g}": np.full(len(frames), angle) for angle in angles}
    ways |= {"tilting": 180 - np.abs(swing % 360 - 180)}
    turns: list[tuple[str, Turn]] = []
    for done, (way, degrees) in enumerate(ways.items(), 1):
        track = _followed(start(config), frames, times, degrees)
        for k, (before, (matrix, after)) in enumerate(zip(upright, track)):
            if before is None:
                continue
            label = float("nan") if way == "tilting" else float(degrees[k])
            turn = _lost(label) if after is None else _compared(before, after, matrix, label)
            turns.append((f"{way} degrees, frame {k}", turn))
        progress(done, len(ways))
    return roll_report(name, sum(face is not None for face in upright), turns, {})


def _followed(
    tracker: Tracker, frames: Iterable[Image], times: Sequence[float], degrees: Float
) -> list[tuple[Float64, _Face | None]]:
    found: list[tuple[Float64, _Face | None]] = []
    for image, time, angle in zip(frames, times, degrees):
        moved, matrix = turned(image, float(angle))
        face = tracker.step(moved, float(time))[1]
        found.append((matrix, None if face is None else _seen(face)))
    return found


# ---------------------------------------------------------------- report


def roll_report(
    what: str, images: int, turns: Sequence[tuple[str, Turn]], failures: dict[str, str]
) -> RollReport:
    """Statistics over all turned images and by angle.

    Args:
        what: See `RollReport`.
        images: Upright images.
        turns: Name of the image, and its turn; an angle of NaN is one that changes in a clip.
        failures: Photo -> why it was left out.
    """
    angles = sorted({turn.degrees for _, turn in turns if math.isfinite(turn.degrees)})
    parts = {f"{angle:g}": [t for _, t in turns if t.degrees == angle] for angle in angles}
    if tilting := [t for _, t in turns if math.isnan(t.degrees)]:
        parts["tilting"] = tilting
    whole = turn_part([turn for _, turn in turns])
    worst = sorted(turns, key=lambda item: -math.inf if not item[1].found else -_badness(item[1]))[:10]
    good = [t.confidence for _, t in turns if t.kept]
    bad = [t.confidence for _, t in turns if t.found and not t.kept]
    return RollReport(
        what,
        images,
        whole,
        {name: turn_part(part) for name, part in parts.items()},
        list(worst),
        {
            "within": float(np.mean(good)) if good else float("nan"),
            "beyond": float(np.mean(bad)) if bad else float("nan"),
            "confident_beyond": float(np.mean(np.array(bad) >= _SURE)) if bad else 0.0,
        },
        failures,
        [
            Target("share of turned images within 0.5 mm and 3 degrees", whole.within, at_least=LEAST_SHARE),
            Target("shape, 95th percentile, mm", whole.shape_mm[1], at_most=MOST_MM),
            Target("roll, 95th percentile, degrees", whole.roll_deg[1], at_most=MOST_DEGREES),
        ],
    )


def _badness(turn: Turn) -> float:
    return max(turn.shape_mm / MOST_MM, turn.roll_deg / MOST_DEGREES)


def turn_part(turns: Sequence[Turn]) -> TurnPart:
    """Statistics over turned images; of those without a face only the shares."""

    def spread(values: list[float]) -> tuple[float, float, float]:
        known = np.array([x for x in values if math.isfinite(x)])
        if not len(known):
            return float("nan"), float("nan"), float("nan")
        return float(np.median(known)), float(np.quantile(known, 0.95)), float(known.max())

    return TurnPart(
        len(turns),
        float(np.mean([t.found for t in turns])) if turns else float("nan"),
        float(np.mean([t.kept for t in turns])) if turns else float("nan"),
        spread([t.shape_mm for t in turns]),
        spread([t.roll_deg for t in turns]),
        spread([t.yaw_deg for t in turns]),
        spread([t.relief_mm for t in turns]),
    )


def printed(report: RollReport) -> list[Printed]:
    """The report as it is printed."""
    rows = [("all", report.whole), *report.by_angle.items()]
    at = ["" if math.isnan(turn.degrees) else f" at {turn.degrees:g}" for _, turn in report.worst]
    worst = ", ".join(
        f"{name}{angle}: {number(turn.shape_mm)} mm, {number(turn.roll_deg)} degrees"
        for angle, (name, turn) in zip(at[:5], report.worst)
    )
    sure = {key: number(value) for key, value in report.confidence.items()}
    return [
        tabulate(
            f"{report.what}: {report.images} upright images against turned ones",
            "turn|images|found|within|shape median|95 %|most, mm|roll 95 %|most|yaw 95 %, degrees"
            "|relief 95 %, mm",
            "{0}|{1.images}|{1.found:.1%}|{1.within:.1%}|{1.shape_mm[0]:.3f}|{1.shape_mm[1]:.3f}|"
            "{1.shape_mm[2]:.3f}|{1.roll_deg[1]:.2f}|{1.roll_deg[2]:.2f}|{1.yaw_deg[1]:.2f}|{1.relief_mm[1]:.3f}",
            rows,
        ),
        f"worst: {worst}",
        f"confidence within the targets {sure['within']}, beyond {sure['beyond']}; "
        f"confident ones among those beyond {sure['confident_beyond']}",
        report.targets,
    ]
