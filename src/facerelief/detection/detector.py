"""Detection of all faces of an image.

MediaPipe's short-range detector runs on the whole image at 128 x 128 px, where it finds faces from about an
eighth of the image's longer side. A candidate is kept only if the landmark network finds a face too. Where
none is found, the image is searched turned and reduced; where none or only small ones are found, in growing
resolution: at 512 px in one piece, then in overlapping 512 px tiles. The detector is convolutional, so it
runs at 512 px unchanged, for a quarter of the cost of the 128 px tiles that cover the same area.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from facerelief.detection.landmarks import (
    FACE_MARGIN,
    LEFT_EYE_CORNERS,
    NETWORKS,
    RIGHT_EYE_CORNERS,
    Square,
    eye_points,
    face_square,
    planes,
    sample,
    settled_points,
    sigmoid,
)
from facerelief.geometry.boxes import overlap
from facerelief.io.images import as_image
from facerelief.runtime import load_network
from facerelief.typed import Float32, Float64, Image

FRAME = 128
TILE = 512
TILE_OVERLAP = 128
"""Overlap of neighbouring tiles, px: a face that fits in it is whole in one of the two."""
LEVELS = (512, 1024, 2048)
"""Longer side, in px, at which the image is searched for small faces."""
ENOUGH = {512: 0.2, 1024: 0.07, 2048: 0.035}
"""Level to the size of the largest known face, as a part of the image's longer side, from which the level is
skipped."""
SAME_BOX = 0.3
"""Intersection over union from which two boxes are of one face."""
SAME_INSIDE = 0.6
"""Share of the smaller box inside the larger from which they are."""
SURE_SCORE = 0.8
SURE_ODDS = 16.0
SURE_ODDS_SCORED = 8.0
"""A face is sure from SURE_ODDS on, log-odds of the landmark network, or from SURE_ODDS_SCORED on with a
detector score of SURE_SCORE. Upside-down faces taken for upright ones stay below; nearly all faces of
ordinary photos are above."""
WEAK_SCORE = 0.7
WEAK_ODDS = 3.0
"""Below both, a face is dropped from an image in which another one is sure."""
FALSE_SCORE = 0.6
FALSE_ODDS = 2.0
"""Below both, it is dropped from any image."""
SMALL_SCORE = 0.75
SMALL_ODDS = 8.0
"""A face found only in high resolution must reach one of these: among hundreds of tiles some cloth or foliage
resembles a face. Nearly all faces of 20 px and more reach them."""


@dataclass(frozen=True, eq=False)
class DetectedFace:
    """One face of an image; lengths in px of the image."""

    box: tuple[float, float, float, float]
    """Left, top, right, bottom of the 468 mesh points: brows to chin, not the hair. May reach outside the
    image."""
    confidence: float
    """0..1, the detector's score."""
    landmarks: Float32
    """(478, 2) points in MediaPipe's order; 468..472 iris of the person's right eye, 473..477 of the left,
    centre first."""
    landmarks_z: Float32
    """(478,) relative depth in px, larger is nearer; a hint, not a measurement."""
    landmark_confidence: float
    """0..1, the landmark network's probability that its crop shows a face."""
    roll: float
    """Radians, positive counter-clockwise as seen; 0 for level eyes."""
    outside: float = 0.0
    """Part of the mesh points that lie outside the image, 0..1; their positions are extrapolated."""

    @property
    def size(self) -> float:
        """Longer side of the box, px."""
        left, top, right, bottom = self.box
        return max(right - left, bottom - top)

    @property
    def truncated(self) -> bool:
        """True if the image's frame cuts the face."""
        return self.outside > 0.01


@dataclass(frozen=True)
class _Frame:
    """One input of the detector."""

    matrix: Float64
    """(2, 3) from px of the input to px of the image."""
    size: int
    """Side of the input, px."""


@functools.cache
def _anchors(size: int) -> Float32:
    """(M, 2) anchor centres in px of a square input: two per cell of 8 px, then six per cell of 16 px."""
    parts: list[Float32] = []
    for stride, count in ((8, 2), (16, 6)):
        centres = (np.arange(size // stride, dtype=np.float32) + 0.5) * stride
        x, y = np.meshgrid(centres, centres)
        parts.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), count, axis=0))
    return np.concatenate(parts)


def run_detector(inputs: Float32) -> tuple[Float32, Float32]:
    """(1, 3, n, n) in [-1, 1] -> boxes (1, M, 16) in px from their anchors, scores (1, M) before the logistic
    function."""
    boxes, scores = load_network(NETWORKS / "face_detection.onnx", shapes={"image": inputs.shape})(inputs)
    return boxes, scores


def _propose(source: Image, to_source: Float64, frame: _Frame, threshold: float) -> Float64:
    """Candidates in one input of the detector.

    Args:
        source: The image, perhaps reduced.
        to_source: (2,) its scale.
        frame: The input.
        threshold: Least score.

    Returns:
        (M, 8) score, x, y, side, and x, y, x, y of the right and the left eye, px of the image.
    """
    matrix = frame.matrix * to_source[:, None]
    crop = sample(source, matrix, frame.size)
    boxes, scores = run_detector(planes(crop, 1 / 127.5, -1.0)[None])
    keep = np.flatnonzero(scores[0] >= _odds(threshold))
    if keep.size == 0:
        return np.empty((0, 8))
    raw = boxes[0, keep].astype(np.float64)
    anchors = _anchors(frame.size)[keep]
    points = np.stack([raw[:, 0:2], raw[:, 4:6], raw[:, 6:8]], axis=1) + anchors[:, None]
    points = points @ frame.matrix[:, :2].T + frame.matrix[:, 2]
    side = raw[:, 2:4].max(axis=1) * math.hypot(frame.matrix[0, 0], frame.matrix[1, 0])
    found = np.column_stack([sigmoid(scores[0, keep]), points[:, 0], side, points[:, 1], points[:, 2]])
    return found[np.isfinite(found).all(axis=1) & (side > 1)]


def _merge(candidates: Float64) -> Float64:
    """Non-maximum suppression that averages, by score, the candidates that overlap the best one."""
    rest = candidates[np.argsort(-candidates[:, 0], kind="stable")]
    half = rest[:, 3:4] / 2
    boxes = np.hstack([rest[:, 1:3] - half, rest[:, 1:3] + half])
    merged: list[Float64] = []
    while len(rest):
        same = overlap(boxes, boxes[0]) > SAME_BOX
        same[0] = True
        group = rest[same]
        row = (group * group[:, :1]).sum(axis=0) / group[:, 0].sum()
        row[0] = group[0, 0]
        merged.append(row)
        rest, boxes = rest[~same], boxes[~same]
    return np.array(merged).reshape(-1, 8)


class _Search:
    """Search for the faces of one image at several turns and resolutions."""

    def __init__(self, image: Image, min_confidence: float) -> None:
        self.image = image
        self.height, self.width = image.shape[:2]
        self.long = max(self.height, self.width)
        self.threshold = min_confidence
        self.odds = _odds(min_confidence)
        self.faces: list[DetectedFace] = []
        self._reduced: dict[int, tuple[Image, Float64]] = {}
        self._halves: list[Image] = []

    @property
    def sure(self) -> bool:
        """True if one of the faces is sure."""
        return any(_sure(face) for face in self.faces)

    @property
    def largest(self) -> float:
        """Longer side of the largest face that is not weak, as a part of the image's longer side."""
        known = (face.size for face in self.faces if not self.doubtful(face, WEAK_SCORE, WEAK_ODDS))
        return max(known, default=0.0) / self.long

    def reduced(self, long: int) -> tuple[Image, Float64]:
        """The image with a longer side of `long` px, never enlarged, and its scale (2,) in x and y."""
        import cv2

        if long not in self._reduced:
            factor = long / self.long
            image, scale, level = self.image, 1.0, 0
            while factor < 0.5:
                image, scale, level = self._halved(level), scale / 2, level + 1
                factor *= 2
            scales = np.array([scale, scale])
            if factor < 1:
                height, width = image.shape[:2]
                size = max(1, round(width * factor)), max(1, round(height * factor))
                image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
                scales *= (size[0] / width, size[1] / height)
            self._reduced[long] = (image, scales)  # pyright: ignore[reportArgumentType]
        return self._reduced[long]

    def _halved(self, level: int) -> Image:
        """The image halved `level` + 1 times; an odd last row or column is left out."""
        import cv2

        if level == len(self._halves):
            image = self._halves[-1] if level else self.image
            height, width = max(1, image.shape[0] // 2), max(1, image.shape[1] // 2)
            even = image[: 2 * height, : 2 * width]
            small = cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA)
            self._halves.append(small)  # pyright: ignore[reportArgumentType]
        return self._halves[level]

    def scan(self, long: int, frames: list[_Frame]) -> None:
        """Add the faces found in these frames of the image reduced to `long` px."""
        source, scale = self.reduced(long)
        found = [_propose(source, scale, frame, self.threshold) for frame in frames]
        for row in _merge(np.concatenate(found)):
            self.examine(row)

    def whole(self, degrees: float = 0.0, zoom: float = 1.0, size: int = FRAME) -> _Frame:
        """The whole image, turned so that faces tilted clockwise by `degrees` appear upright."""
        square = Square(self.width / 2, self.height / 2, self.long / zoom, math.radians(degrees))
        return _Frame(square.matrix(size), size)

    def tiles(self, level: int, degrees: float = 0.0) -> list[_Frame]:
        """Overlapping tiles that cover the image at a longer side of `level` px, each turned about its
        centre."""
        if level <= TILE:
            return [self.whole(degrees, size=TILE)]
        side = self.long * TILE / level
        step = self.long * (TILE - TILE_OVERLAP) / level

        def starts(length: float) -> Iterator[float]:
            if length <= side:
                yield (length - side) / 2
                return
            count = math.ceil((length - side) / step - 1e-6) + 1
            for i in range(count):
                yield (length - side) * i / (count - 1)

        return [
            _Frame(Square(x + side / 2, y + side / 2, side, math.radians(degrees)).matrix(TILE), TILE)
            for y in starts(self.height)
            for x in starts(self.width)
        ]

    def around(self, square: Square) -> Float64:
        """Candidates, best first, near the middle of a turned square, searched in one of twice its side."""
        frame = _Frame(replace(square, side=2 * square.side).matrix(FRAME), FRAME)
        found = _merge(_propose(self.image, np.ones(2), frame, self.threshold))
        return found[np.hypot(found[:, 1] - square.x, found[:, 2] - square.y) < 0.5 * square.side]

    def examine(self, candidate: Float64) -> None:
        """Run the landmark networks on one candidate and keep it if it is a new face."""
        score, x, y, side = candidate[:4].tolist()
        half = side / 2
        box = np.array([x - half, y - half, x + half, y + half])
        if any(_same(np.array(face.box), box, 0.55) for face in self.faces if face.confidence >= score):
            return
        square = _face_square(candidate)
        mesh, odds = settled_points(self.image, square, self.odds)
        if score < SURE_SCORE or odds < SURE_ODDS_SCORED:
            # search again, turned as the face seems to be; then in other turns, since the detector takes some
            # faces that are upside down or lie on their side for upright ones
            upright = face_square(mesh) if odds >= self.odds else square
            for turn in (0.0, math.pi, math.pi / 2, -math.pi / 2):
                if turn and _is_sure(score, odds):
                    break
                for other in self.around(replace(upright, angle=upright.angle + turn)):
                    other_mesh, other_odds = settled_points(self.image, _face_square(other), self.odds)
                    if other_odds > odds:
                        mesh, odds, score = other_mesh, other_odds, float(other[0])
        if odds < self.odds:
            return
        left, top = mesh[:, :2].min(axis=0)
        right, bottom = mesh[:, :2].max(axis=0)
        # a crop that moved away has found something else, or nothing
        if not (left < x < right and top < y < bottom and 0.4 < max(right - left, bottom - top) / side < 2.5):
            return
        outside = (mesh[:, :2] < 0).any(axis=1) | (mesh[:, 0] > self.width) | (mesh[:, 1] > self.height)
        points = np.concatenate(eye_points(self.image, mesh))
        across = mesh[LEFT_EYE_CORNERS[1], :2] - mesh[RIGHT_EYE_CORNERS[0], :2]
        self.add(
            DetectedFace(
                box=(float(left), float(top), float(right), float(bottom)),
                confidence=float(score),
                landmarks=points[:, :2].astype(np.float32),
                landmarks_z=points[:, 2].astype(np.float32),
                landmark_confidence=float(sigmoid(np.array(odds))),
                roll=math.atan2(-across[1], across[0]),
                outside=float(outside.mean()),
            )
        )

    def add(self, face: DetectedFace) -> None:
        """Keep a face, or the better of it and those it repeats."""
        box = np.array(face.box)
        same = [known for known in self.faces if _same(np.array(known.box), box, SAME_INSIDE)]
        if all(_rank(face) > _rank(known) for known in same):
            self.faces = [known for known in self.faces if known not in same] + [face]

    def run(self, small_faces: bool | None) -> None:
        """Search, cheapest inputs first, until a sure face or all small ones are found."""
        base = 2 * FRAME
        self.scan(FRAME, [self.whole()])
        if not self.sure:
            # turned by quarters; then reduced, for faces that fill the frame; then by eighths
            self.scan(base, [self.whole(90), self.whole(270), self.whole(180)])
        if not self.sure:
            self.scan(base, [self.whole(zoom=0.6)])
        if not self.sure:
            self.scan(base, [self.whole(turn, 0.75) for turn in (45, 315, 135, 225)])
        self.faces = [face for face in self.faces if not self.doubtful(face, FALSE_SCORE, FALSE_ODDS)]
        for level in LEVELS:
            if small_faces is False or (level > TILE and level > 1.5 * self.long):
                break
            if small_faces is None and self.largest >= ENOUGH[level]:
                break
            before = self.faces
            self.scan(level, self.tiles(level))
            if not self.faces and level <= 1024:
                self.scan(level, [frame for turn in (90, 270, 180) for frame in self.tiles(level, turn)])
            self.faces = [
                face
                for face in self.faces
                if face in before or not self.doubtful(face, SMALL_SCORE, SMALL_ODDS)
            ]
        if self.sure:
            self.faces = [face for face in self.faces if not self.doubtful(face, WEAK_SCORE, WEAK_ODDS)]

    def doubtful(self, face: DetectedFace, score: float, odds: float) -> bool:
        """True if a face is below both bounds; never if faces of less than even chances are asked for."""
        return self.threshold >= 0.5 and face.confidence < score and _face_odds(face) < odds


def _face_square(candidate: Float64) -> Square:
    """Square of the mesh net's crop for a candidate, its eyes level."""
    x, y, side, ax, ay, bx, by = candidate[1:].tolist()
    return Square(x, y, FACE_MARGIN * side, math.atan2(by - ay, bx - ax))


def _odds(probability: float) -> float:
    """Log-odds of a probability."""
    return math.log(max(probability, 1e-300)) - math.log(max(1 - probability, 1e-16))


def _face_odds(face: DetectedFace) -> float:
    return _odds(face.landmark_confidence)


def _sure(face: DetectedFace) -> bool:
    return _is_sure(face.confidence, _face_odds(face))


def _is_sure(score: float, odds: float) -> bool:
    return odds >= SURE_ODDS or (score >= SURE_SCORE and odds >= SURE_ODDS_SCORED)


def _same(a: Float64, b: Float64, inside: float) -> bool:
    """True if two boxes (4,) are of one face: they overlap, or one lies mostly within the other."""
    shared = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    areas = (a[2:] - a[:2]).prod(), (b[2:] - b[:2]).prod()
    return bool(shared > SAME_BOX * (sum(areas) - shared) or shared > inside * min(areas))


def _rank(face: DetectedFace) -> float:
    """Order of faces: sure, large and whole ones first. By the landmark network's log-odds,
    since its probability is near 1 for nearly all."""
    trust = 1 - math.exp(-max(_face_odds(face), 0.1) / 5)
    return face.confidence * trust * face.size * (1 - 0.5 * face.outside)


def detect_faces(
    image: ArrayLike,
    *,
    max_faces: int | None = None,
    min_confidence: float = 0.5,
    small_faces: bool | None = None,
) -> list[DetectedFace]:
    """Find all faces of an image, turned in the image plane by any angle; deterministic.

    Args:
        image: (H, W, 3) uint8 RGB, upright, or anything else that `as_image` takes.
        max_faces: Largest number of faces; None for all.
        min_confidence: 0..1, least score of both detector and landmark network. From 0.5 on, faces that
            barely pass are checked further.
        small_faces: Search closely for faces below an eighth of the image's longer side: None when no large
            face is found, True always, False never.

    Returns:
        Faces, best (sure and large) first; empty when there is none.

    Raises:
        ImageError: The array is no image.
        ValueError: An argument is out of range.
    """
    if not 0.0 < min_confidence < 1.0:
        raise ValueError(f"min_confidence is {min_confidence}: expected a number between 0 and 1")
    if max_faces is not None and max_faces < 1:
        raise ValueError(f"max_faces is {max_faces}: expected at least 1, or None for all")
    search = _Search(as_image(image), min_confidence)
    search.run(small_faces)
    return sorted(search.faces, key=_rank, reverse=True)[:max_faces]


__all__ = ["DetectedFace", "detect_faces"]
