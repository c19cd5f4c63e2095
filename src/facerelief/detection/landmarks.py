"""478 landmarks of a face: a network for 468 points on a turned square crop, another for each iris.

The procedure is MediaPipe's: the crop is turned so that the line between the eyes is level, is 1.5 times as
wide as the face, and is resampled to 192 x 192 px. The points found give the next crop, on which the network
runs again. Points 0..467 are the face mesh; 468..472 the iris of the person's right eye (the one at
the image's left in an upright, unmirrored photo: corners 33 and 133) and 473..477 that of the left eye
(corners 362 and 263). Of five iris points the first is the pupil's centre; the others lie on the iris's edge
at the image's right, above, left and below for an upright face.

Points are px, origin at the image's top-left corner, x right, y down, a pixel's centre at +0.5. Depth is in
the same px, relative to the head's middle, and larger is nearer to the viewer (MediaPipe's own sign is the
opposite).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerelief.runtime import load_network
from facerelief.typed import Float32, Float64, Image

NETWORKS = Path(__file__).resolve().parents[1] / "data" / "mediapipe"
FACE_SIZE = 192
EYE_SIZE = 64
FACE_MARGIN = 1.5
"""Side of the face crop over the side of the face box."""
EYE_MARGIN = 2.3
"""Side of the eye crop over the distance of the eye's corners."""

RIGHT_EYE_CORNERS = (33, 133)
LEFT_EYE_CORNERS = (362, 263)
RIGHT_EYE_OUTLINE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173)
LEFT_EYE_OUTLINE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398)
# the iris net's points beyond the lids, ring by ring: creases and folds, as far as they move with the lids
RIGHT_EYE_FOLDS = (130, 25, 110, 24, 23, 22, 26, 112, 243, 247, 30, 29, 27, 28, 56, 190)
RIGHT_EYE_FOLDS += (226, 31, 228, 229, 230, 231, 232, 233, 244, 113, 225, 224, 223, 222, 221, 189)
LEFT_EYE_FOLDS = (359, 255, 339, 254, 253, 252, 256, 341, 463, 467, 260, 259, 257, 258, 286, 414)
LEFT_EYE_FOLDS += (446, 261, 448, 449, 450, 451, 452, 453, 464, 342, 445, 444, 443, 442, 441, 413)
RIGHT_IRIS = tuple(range(468, 473))
LEFT_IRIS = tuple(range(473, 478))


def sigmoid(x: NDArray[np.floating]) -> Float64:
    """Logistic function, without overflow."""
    return 1.0 / (1.0 + np.exp(-np.clip(x.astype(np.float64), -80.0, 80.0)))


@dataclass(frozen=True)
class Square:
    """A turned square of the image, px."""

    x: float
    """Of the centre."""
    y: float
    side: float
    angle: float
    """Radians from the image's x axis to the square's, positive clockwise as seen (the image's y is down)."""

    def matrix(self, size: int, *, mirrored: bool = False) -> Float64:
        """(2, 3) from px of the square's crop of `size` px to px of the image."""
        scale = self.side / size
        c, s = scale * math.cos(self.angle), scale * math.sin(self.angle)
        turn = np.array([[-c if mirrored else c, -s], [-s if mirrored else s, c]])
        return np.c_[turn, np.array([self.x, self.y]) - turn @ np.array([size / 2, size / 2])]


def sample(image: Image, matrix: Float64, size: int) -> Image:
    """Cut a crop, without aliasing.

    Args:
        image: (H, W, 3).
        matrix: (2, 3) from px of the crop to px of the image.
        size: Side of the crop, px.

    Returns:
        (size, size, 3), black outside the image.
    """
    import cv2

    matrix = matrix.copy()
    source = image
    shrink = int(math.hypot(matrix[0, 0], matrix[1, 0]))
    if shrink >= 2:
        corners = matrix @ np.array([[0, size, 0, size], [0, 0, size, size], [1, 1, 1, 1]], dtype=float)
        height, width = image.shape[:2]
        left, top = (max(0, int(v) - shrink) for v in np.floor(corners.min(axis=1)))
        right, bottom = (int(v) + shrink for v in np.ceil(corners.max(axis=1)))
        columns, rows = (min(width, right) - left) // shrink, (min(height, bottom) - top) // shrink
        if columns >= 1 and rows >= 1:
            part = image[top : top + rows * shrink, left : left + columns * shrink]
            source = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA)
            matrix[:, 2] -= (left, top)
            matrix /= shrink
    # pixel centres are at +0.5 here and at whole numbers in OpenCV
    matrix[:, 2] += matrix[:, :2] @ np.array([0.5, 0.5]) - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(source, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_CONSTANT)  # pyright: ignore[reportReturnType]


def planes(crop: Image, scale: float = 1.0 / 255.0, offset: float = 0.0) -> Float32:
    """(n, n, 3) uint8 -> (3, n, n) float32 of crop * scale + offset."""
    result = np.multiply(crop.transpose(2, 0, 1), np.float32(scale), dtype=np.float32, order="C")
    if offset:
        result += np.float32(offset)
    return result


def run_landmarks(crops: Float32) -> tuple[Float32, Float32]:
    """(1, 3, 192, 192) in [0, 1] -> points (1, 468, 3) in crop px with MediaPipe's depth, log-odds (1, 1)
    that there is a face."""
    points, presence = load_network(NETWORKS / "face_landmarks.onnx")(crops)
    return points, presence


def run_iris(crops: Float32) -> tuple[Float32, Float32]:
    """(2, 3, 64, 64) in [0, 1], right eye then mirrored left eye -> eye contours (2, 71, 3) and iris points
    (2, 5, 3) in crop px."""
    shapes = {"image": (2, 3, EYE_SIZE, EYE_SIZE)}
    network = load_network(NETWORKS / "iris.onnx", shapes=shapes, outputs=("eye", "iris"))
    eye, iris = network(crops)
    return eye, iris


def face_points(image: Image, square: Square) -> tuple[Float64, float]:
    """Run the landmark network on a square.

    Args:
        image: (H, W, 3).
        square: Square around the face.

    Returns:
        (468, 3) mesh points, px of the image and depth (larger is nearer); log-odds that there is a face.
    """
    matrix = square.matrix(FACE_SIZE)
    points, presence = run_landmarks(planes(sample(image, matrix, FACE_SIZE))[None])
    found = points[0].astype(np.float64)
    result = np.empty_like(found)
    result[:, :2] = found[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    result[:, 2] = -found[:, 2] * (square.side / FACE_SIZE)
    return result, float(presence.item())


def eye_points(image: Image, mesh: Float64) -> tuple[Float64, Float64]:
    """Refine lids and folds by the iris network, as MediaPipe does.

    The face network leaves shut eyes half open; the iris network, in whose crop an eye is some 30 px wide,
    does not.

    Args:
        image: (H, W, 3).
        mesh: (468, 3) from `face_points`.

    Returns:
        The refined mesh, and (10, 3) points 468..477.
    """
    outlines = ((RIGHT_EYE_OUTLINE, RIGHT_EYE_FOLDS), (LEFT_EYE_OUTLINE, LEFT_EYE_FOLDS))
    squares = [eye_square(mesh, corners) for corners in (RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS)]
    matrices = [square.matrix(EYE_SIZE, mirrored=bool(i)) for i, square in enumerate(squares)]
    eyes, irises = run_iris(np.stack([planes(sample(image, matrix, EYE_SIZE)) for matrix in matrices]))
    refined, result = mesh.copy(), np.empty((2, 5, 3))
    for i, (matrix, (outline, folds)) in enumerate(zip(matrices, outlines)):
        turn, shift = matrix[:, :2].T, matrix[:, 2]
        seen = [*outline, *folds]
        refined[seen, :2] = eyes[i, : len(seen), :2].astype(np.float64) @ turn + shift
        result[i, :, :2] = irises[i, :, :2].astype(np.float64) @ turn + shift
        result[i, :, 2] = mesh[list(outline), 2].mean()
    # the left eye's crop was mirrored: its points at the image's right and left change places
    result[1] = result[1][[0, 3, 2, 1, 4]]
    return refined, result.reshape(10, 3)


def face_square(mesh: Float64) -> Square:
    """Square around a face from its mesh points (468, 2 or more), px."""
    across = mesh[LEFT_EYE_CORNERS[1], :2] - mesh[RIGHT_EYE_CORNERS[0], :2]
    angle = math.atan2(across[1], across[0])
    axes = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    own = mesh[:, :2] @ axes
    low, high = own.min(axis=0), own.max(axis=0)
    x, y = axes @ ((low + high) / 2)
    return Square(float(x), float(y), FACE_MARGIN * float((high - low).max()), angle)


def settled_points(image: Image, square: Square, least: float, rounds: int = 4) -> tuple[Float64, float]:
    """`face_points`, repeated on the square around the points found until it hardly moves, usually twice.

    Args:
        image: (H, W, 3).
        square: First square.
        least: Where log-odds are below this, the points before are kept and the search ends.
        rounds: Largest number of runs.

    Returns:
        As `face_points`.
    """
    mesh, odds = face_points(image, square)
    for _ in range(rounds - 1 if odds >= least else 0):
        last, square = square, face_square(mesh)
        new_mesh, new_odds = face_points(image, square)
        if new_odds < least:
            break
        mesh, odds = new_mesh, new_odds
        turned = abs(math.remainder(square.angle - last.angle, math.tau))
        moved = math.hypot(square.x - last.x, square.y - last.y) / last.side
        if turned < 0.15 and moved < 0.08 and 0.8 < square.side / last.side < 1.25:
            break
    return mesh, odds


def eye_square(mesh: Float64, corners: tuple[int, int]) -> Square:
    """The square around one eye, from its two corners (image left, image right of an upright face)."""
    a, b = mesh[corners[0], :2], mesh[corners[1], :2]
    x, y = (a + b) / 2
    dx, dy = b - a
    return Square(float(x), float(y), EYE_MARGIN * math.hypot(dx, dy), math.atan2(dy, dx))
