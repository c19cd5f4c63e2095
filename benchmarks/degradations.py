"""Ordinary photos made difficult: wrong exposure, coloured light, cast shadow, covered faces.

Every function of `DEGRADATIONS` takes an image (H, W, 3) uint8 RGB, one face's 68 iBUG landmarks (68, 2) px
and a random generator, and returns a new image of the same shape. They stand in for photos of such
conditions, which no free collection offers in numbers: crude, but with their effect and its place known.

Tested by tests/inverse/test_conditions.py and tests/pipeline/test_quality.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facerelief.rendering.lighting import LUMA
from facerelief.typed import Float, Image

Degradation = Callable[[Image, NDArray[np.floating], np.random.Generator], Image]

GELS = {
    "red": (1.0, 0.28, 0.25),
    "green": (0.45, 1.0, 0.45),
    "blue": (0.28, 0.38, 1.0),
    "sodium": (1.0, 0.62, 0.12),
}
"""Coloured light: factors of the three channels."""


def gain(image: Image, factor: ArrayLike) -> Image:
    """sRGB-coded values times one factor or (3,), clipped as a sensor does."""
    return np.clip(np.rint(image * np.asarray(factor, np.float32)), 0, 255).astype(np.uint8)


def grey(image: Image) -> Image:
    """Without colour; still three channels."""
    luminance = image @ LUMA
    return np.repeat(np.rint(luminance)[..., None], 3, axis=2).astype(np.uint8)


def sepia(image: Image) -> Image:
    """A toned print: one brown scale."""
    return gain(grey(image), (1.07, 0.93, 0.72))


def face_frame(marks: NDArray[np.floating]) -> tuple[Float, Float, Float, float]:
    """Middle of the eyes (2,), the face's unit vectors toward the image's right and down (2,) each, and the
    px from the eyes to the chin."""
    eyes, chin = marks[36:48].mean(axis=0), marks[8]
    right = marks[42:48].mean(axis=0) - marks[36:42].mean(axis=0)
    right = right / max(float(np.linalg.norm(right)), 1e-6)
    return eyes, right, np.array([-right[1], right[0]]), float(np.linalg.norm(chin - eyes))


def face_places(image: Image, marks: NDArray[np.floating]) -> tuple[Float, Float]:
    """(H, W) across and down of every pixel in the face's frame: 0 between the eyes, chin at about 1 down,
    cheeks at about 0.6 across."""
    eyes, right, down, height = face_frame(marks)
    v, u = np.indices(image.shape[:2], np.float32) + 0.5
    u, v = u - eyes[0], v - eyes[1]
    return (u * right[0] + v * right[1]) / height, (u * down[0] + v * down[1]) / height


def cast_shadow(image: Image, marks: NDArray[np.floating], angle: float, strength: float = 0.35) -> Image:
    """Light times `strength` beyond a line through the nose with a soft edge; angle in radians from the
    face's across axis gives the side of the shadow (0: the image's right, -pi/2: the forehead)."""
    across, down = face_places(image, marks)
    middle = 0.3 if abs(np.sin(angle)) < 0.5 else 0.15
    beyond = across * np.cos(angle) + (down - middle) * np.sin(angle)
    share = 1 / (1 + np.exp(-np.clip(beyond / 0.025, -30, 30)))
    return gain(image, (1 - (1 - strength) * share)[..., None])


def painted(image: Image, mask: NDArray[np.floating], paint: ArrayLike) -> Image:
    """Paint (3,) or (H, W, 3) in [0, 255] over the image with the weights of a mask (H, W) in [0, 1]."""
    share = np.asarray(mask, np.float32)[..., None]
    mixed = image * (1 - share) + np.asarray(paint, np.float32) * share
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def polygon(image: Image, corners: NDArray[np.floating], soft: float) -> Float:
    """(H, W) in [0, 1]: inside a polygon of corners (C, 2) px, its edge blurred by `soft` px."""
    import cv2

    mask = np.zeros(image.shape[:2], np.float32)
    cv2.fillPoly(mask, [np.rint(corners * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), max(soft, 0.3)), np.float32)


def cloth(image: Image, marks: NDArray[np.floating], color: ArrayLike, rng: np.random.Generator) -> Float:
    """(H, W, 3) in [0, 255]: cloth of a colour (3,) or (H, W, 3) with soft folds, lit from above."""
    across, down = face_places(image, marks)
    folds = np.zeros_like(across)
    for _ in range(4):
        wave = rng.normal(0, 1, 2) * (6, 14)
        folds += 0.03 * np.sin(across * wave[0] + down * wave[1] + rng.uniform(0, 6.3))
    shading = np.clip(1 - 0.5 * across**2, 0.4, 1) * np.clip(1.15 - 0.3 * down, 0.5, 1.2) + folds
    return shading[..., None] * np.asarray(color, np.float32) + rng.normal(0, 2, (*image.shape[:2], 1))


def face_mask(color: ArrayLike) -> Degradation:
    """A mask over nose, mouth and chin."""

    def apply(image: Image, marks: NDArray[np.floating], rng: np.random.Generator) -> Image:
        _, _, down, height = face_frame(marks)
        lower = marks[2:15] + 0.05 * height * down
        corners = np.concatenate([lower, marks[28:29]])
        return painted(image, polygon(image, corners, 0.008 * height), cloth(image, marks, color, rng))

    return apply


def scarf(image: Image, marks: NDArray[np.floating], rng: np.random.Generator) -> Image:
    """A patterned scarf over mouth and chin, up to the nose."""
    across, down = face_places(image, marks)
    colors = rng.uniform(20, 235, (2, 3))
    weave = (np.sin(across * 40 + 3 * np.sin(down * 9)) * np.sin(down * 40) > 0)[..., None]
    paint = cloth(image, marks, np.where(weave, colors[0], colors[1]), rng)
    edge = 0.52 + 0.1 * across
    share = 1 / (1 + np.exp(-np.clip((down - edge) / 0.01, -30, 30)))
    return painted(image, share * (np.abs(across) < 1.0), paint)


def hand(image: Image, marks: NDArray[np.floating], rng: np.random.Generator) -> Image:
    """The person's own hand, fingers up, over mouth and one cheek: skin of the cheeks' colour without
    features."""
    _, right, down, height = face_frame(marks)
    near = np.clip(
        marks[[2, 14, 29]] + [[0.15 * height * right[0], 0], [-0.15 * height * right[0], 0], [0, 0]],
        0,
        np.array(image.shape[1::-1]) - 1,
    ).astype(int)
    skin = np.median(image[near[:, 1], near[:, 0]], axis=0) * rng.uniform(0.85, 1.1)
    side = rng.choice([-1.0, 1.0])
    out = image
    place = marks[51] + side * 0.18 * height * right
    for finger in range(4):
        middle = place + side * right * height * (finger - 1.5) * 0.215
        top = middle - down * height * (0.35 - 0.05 * abs(finger - 1.3))
        bottom = middle + down * height * 0.9
        wide = right * height * 0.105
        cap = -down * height * 0.08
        corners = np.array(
            [
                bottom - wide,
                top - wide,
                top - 0.7 * wide + 0.7 * cap,
                top + cap,
                top + 0.7 * wide + 0.7 * cap,
                top + wide,
                bottom + wide,
            ]
        )
        shape = polygon(image, corners, 0.012 * height)
        along = np.abs(
            (
                (np.indices(image.shape[:2])[1] - middle[0]) * right[0]
                + (np.indices(image.shape[:2])[0] - middle[1]) * right[1]
            )
            / (0.105 * height)
        )
        shade = 1.05 - 0.45 * np.clip(along, 0, 1) ** 3
        out = painted(out, shape, shade[..., None] * skin)
    return out


def hair(image: Image, marks: NDArray[np.floating], rng: np.random.Generator) -> Image:
    """Long dark strands over one side of the face."""
    across, down = face_places(image, marks)
    side = rng.choice([-1.0, 1.0])
    strands = np.zeros_like(across)
    for frequency in (45, 80, 150):
        strands += np.sin(across * frequency + 4 * down + 2 * np.sin(3 * down) + rng.uniform(0, 6.3)) / 3
    color = np.outer(rng.uniform(25, 90), [1.0, 0.75, 0.55])[0]
    paint = (0.75 + 0.45 * strands)[..., None] * color
    edge = 0.08 + 0.05 * np.sin(5 * down)
    share = 1 / (1 + np.exp(-np.clip((side * across - edge) / 0.012, -30, 30)))
    return painted(image, share * (np.abs(across) < 0.9), paint)


def dark_glasses(image: Image, marks: NDArray[np.floating], rng: np.random.Generator) -> Image:
    """Two nearly black lenses with a little glare, and a bridge."""
    _, right, down, height = face_frame(marks)
    out = image
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    wide, high = 0.27 * height, 0.20 * height
    sharp = (np.abs(np.cos(angle)) ** 0.6 * np.sign(np.cos(angle)))[:, None]
    flat = (np.abs(np.sin(angle)) ** 0.6 * np.sign(np.sin(angle)))[:, None]
    _, below = face_places(image, marks)
    glare = np.clip(34 - 60 * below, 12, 60)[..., None] * np.array([0.95, 1.0, 1.1])
    for eye in (marks[36:42], marks[42:48]):
        middle = eye.mean(axis=0) + 0.03 * height * down
        out = painted(
            out, polygon(image, middle + sharp * wide * right + flat * high * down, 0.006 * height), glare
        )
    a, b = marks[39], marks[42]
    bridge = np.array([a, b, b - 0.06 * height * down, a - 0.06 * height * down])
    return painted(out, polygon(image, bridge, 0.006 * height), glare)


def _plain(change: Callable[[Image], Image]) -> Degradation:
    return lambda image, marks, rng: change(image)


def _shadow(angle: float) -> Degradation:
    return lambda image, marks, rng: cast_shadow(image, marks, angle)


DEGRADATIONS: Mapping[str, Degradation] = {
    "grey": _plain(grey),
    "sepia": _plain(sepia),
    "over-exposed": _plain(lambda image: gain(image, 3.0)),
    "dark": _plain(lambda image: gain(image, 0.12)),
    **{
        f"{name} light": _plain(lambda image, color=color: gain(image, color)) for name, color in GELS.items()
    },
    "shadow, side": _shadow(0.0),
    "shadow, slanting": _shadow(0.7),
    "shadow, above": _shadow(-np.pi / 2),
    "mask, white": face_mask((228, 230, 232)),
    "mask, blue": face_mask((140, 190, 220)),
    "mask, black": face_mask((34, 34, 38)),
    "scarf": scarf,
    "hand": hand,
    "hair": hair,
    "dark glasses": dark_glasses,
}
"""Name -> change of an image."""

CAUSES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("grey", "sepia"), ("is grey",)),
    "over-exposed": ("over-exposed",),
    "dark": ("very dark",),
    **{f"{name} light": ("coloured",) for name in GELS},
    **dict.fromkeys((name for name in DEGRADATIONS if name.startswith("shadow")), ("shadow",)),
    "shadow, above": ("shadow", "covered"),  # it ends below the eyes, which it darkens as glasses do
    **dict.fromkeys((name for name in DEGRADATIONS if name.startswith("mask")), ("covered",)),
    **dict.fromkeys(("scarf", "hand", "dark glasses"), ("covered",)),
    "hair": ("covered", "hair"),
}
"""Name -> words of which a warning that names the cause has one."""
