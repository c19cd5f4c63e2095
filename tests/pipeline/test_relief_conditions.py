"""Relief in photos that show skin badly or hide it: no blobs, and the mask of trust says where."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

import facerelief
from facerelief import Reconstructor, ReconstructorConfig
from facerelief.detection import detect_faces
from facerelief.examples import astronaut_path
from facerelief.typed import Bool, Float, Image

SIDE = 400
"""Of the photo, px; the face has some 215."""
Change = Callable[[Image, Float], Image]


@pytest.fixture(scope="module")
def portrait() -> tuple[Image, Float]:
    whole = facerelief.read_image(astronaut_path())
    image = np.asarray(cv2.resize(whole[20:240, 110:330], (SIDE, SIDE), interpolation=cv2.INTER_CUBIC))
    return image, detect_faces(image, max_faces=1)[0].landmarks.astype(np.float64)


@pytest.fixture(scope="module")
def reconstructor() -> Reconstructor:
    return Reconstructor("open2", ReconstructorConfig("fit", max_faces=1))


def heights(face: facerelief.Reconstruction) -> Float:
    """(SIDE, SIDE) relief in mm between 1 and 4 px of the photo, 0 off the face."""
    assert face.fine is not None
    height = np.nan_to_num(face.fine.depth - face.coarse.depth)
    out = np.zeros(face.image.shape[:2], np.float32)
    top, left = face.fine.top, face.fine.left
    rows, columns = height.shape
    y, x = max(top, 0), max(left, 0)
    part = out[y : top + rows, x : left + columns]
    part[:] = height[y - top :, x - left :][: part.shape[0], : part.shape[1]]
    return cv2.GaussianBlur(out, (0, 0), 1) - cv2.GaussianBlur(out, (0, 0), 4)


@pytest.fixture(scope="module")
def usual(portrait, reconstructor) -> float:
    """Strength of the relief of the photo as it is, mm."""
    return float(heights(reconstructor(portrait[0])[0]).std())


def grey(image: Image, _: Float) -> Image:
    return np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)


def sepia(image: Image, _: Float) -> Image:
    return np.clip(image.mean(axis=2, keepdims=True) * [1.07, 0.88, 0.66], 0, 255).astype(np.uint8)


def coloured_light(image: Image, _: Float) -> Image:
    return (image * [0.55, 0.7, 1.0]).astype(np.uint8)


def small(image: Image, _: Float) -> Image:
    tiny = cv2.resize(image, None, fx=0.28, fy=0.28, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(tiny, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC))


def heavy_jpeg(image: Image, _: Float) -> Image:
    coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 8])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))


def beauty_filter(image: Image, _: Float) -> Image:
    return np.asarray(cv2.bilateralFilter(image, 15, 60, 8))


def half_in_shadow(image: Image, marks: Float) -> Image:
    out = image.astype(np.float32)
    out[:, int(marks[1, 0]) :] *= 0.35
    return out.astype(np.uint8)


@pytest.mark.parametrize(
    ("change", "most"),
    [
        (grey, 1.6),  # without colours more of the skin's pattern is taken for relief
        (sepia, 1.7),
        (coloured_light, 1.2),
        (small, 1.35),
        (heavy_jpeg, 1.35),
        (beauty_filter, 1.0),
        (half_in_shadow, 1.35),
    ],
)
def test_bad_photos_give_little_more_relief_than_good_ones(
    portrait, reconstructor, usual, change: Change, most: float
):
    image, marks = portrait
    assert heights(reconstructor(change(image, marks))[0]).std() < most * usual


def test_a_filter_that_takes_wrinkles_away_leaves_less(portrait, reconstructor, usual):
    image, marks = portrait
    assert heights(reconstructor(beauty_filter(image, marks))[0]).std() < 0.9 * usual


def covered_by(shape: Bool, image: Image, color: Float) -> Image:
    out = image.copy()
    out[shape] = np.clip(color, 0, 255).astype(np.uint8)[shape] if color.ndim == 3 else color
    return out


def region(*outlines: Float) -> Bool:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for outline in outlines:
        cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(outline).astype(np.int32)), 1)
    return mask > 0


def beard(marks: Float) -> Bool:
    jaw = marks[[58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288]]
    return region(np.concatenate([jaw, marks[[57, 287]]])) & ~region(marks[[61, 0, 291, 17]])


def sunglasses(marks: Float) -> Bool:
    eyes = [marks[[33, 133, 159, 145]], marks[[263, 362, 386, 374]]]
    return region(*(e.mean(axis=0) + [[-38, -20], [38, -20], [32, 24], [-32, 24]] for e in eyes))


def paint(marks: Float) -> Bool:
    return region(marks[[117, 123, 205, 50]], marks[[346, 352, 425, 280]])


@pytest.mark.parametrize("cover", [beard, sunglasses, paint])
def test_what_hides_the_skin_has_no_relief_and_no_trust(portrait, reconstructor, cover):
    image, marks = portrait
    hidden = cover(marks)
    rng = np.random.default_rng(0)
    grain = cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE)).astype(np.float32), (0, 0), 1.0)
    colors = {
        beard: np.array([38.0, 28, 22]) + 160 * grain[:, :, None],
        sunglasses: np.array([12.0, 12, 14]) + 0 * grain[:, :, None],
        paint: np.array([25.0, 60, 200]) + 30 * grain[:, :, None],
    }
    face = reconstructor(covered_by(hidden, image, colors[cover]))[0]
    assert face.trust is not None
    trust = np.zeros((SIDE, SIDE), np.float32)
    top, left = face.trust.top, face.trust.left
    rows, columns = face.trust.depth.shape
    y, x = max(top, 0), max(left, 0)
    part = trust[y : top + rows, x : left + columns]
    part[:] = np.nan_to_num(face.trust.depth)[y - top :, x - left :][: part.shape[0], : part.shape[1]]
    inside = cv2.erode(hidden.astype(np.uint8), np.ones((9, 9))) > 0
    assert trust[inside].mean() < 0.35 * trust[trust > 0].mean() + 0.05
    assert np.sqrt(np.square(heights(face)[inside]).mean()) < 0.12  # mm
