"""Confounders of relief: what darkens or brightens skin without being relief, and is drawn into images only.

In the atlas: blotches, moles, freckles, age spots, pimples, stubble, make-up. On the image: strands of hair,
cast shadows, shine, and what camera and codec do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facerelief.lab.datasets.wrinkle_lines import TEXEL, Anatomy
from facerelief.typed import Float, Float32, Image

MELANIN, BLOOD, HAIR = (
    np.array(x, np.float32) for x in ((0.6, 0.95, 1.05), (0.35, 1.0, 0.85), (0.85, 0.97, 1.0))
)
"""(3,) log RGB that they absorb, relative to each other."""


@dataclass(frozen=True, eq=False)
class Marks:
    """Marks of the skin in the atlas."""

    log_rgb: Float32
    """(h, w, 3) logarithm of the factor of the albedo."""
    cover: Float32
    """(h, w) 0..1, how little bare skin is seen."""


def noise(shape: tuple[int, int], sigma: float, rng: np.random.Generator) -> Float32:
    """(h, w) smooth noise of unit deviation; sigma: of the Gaussian, texels."""
    import cv2

    step = max(int(sigma / 2.5), 1)
    size = (-(-shape[1] // step) + 2, -(-shape[0] // step) + 2)
    grain = rng.standard_normal(size[::-1], np.float32)
    grain = np.asarray(cv2.GaussianBlur(grain, (0, 0), sigma / step), np.float32)
    grain *= np.float32(2 * np.sqrt(np.pi) * sigma / step)
    whole = cv2.resize(grain, (size[0] * step, size[1] * step), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(np.asarray(whole, np.float32)[: shape[0], : shape[1]])


def ramped(x: Float, begin: float, end: float) -> Float32:
    """0 at `begin`, 1 at `end`, smooth between."""
    t = np.clip((x - begin) / (end - begin), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def skin_marks(place: Anatomy, age: float, rng: np.random.Generator, share: float = 1.0) -> Marks:
    """Random marks of a face.

    Args:
        place: Landmarks and size of the atlas.
        age: 0 young to 1 old.
        rng: Random numbers.
        share: Factor of the shares of faces that have each kind.
    """
    brown, red, dark, cover = (np.zeros(place.shape, np.float32) for _ in range(4))
    a, b = place.grid()
    marks, mm = place.marks, 1 / TEXEL

    def spots(
        layer: Float32, count: int, radius: tuple[float, float], deep: tuple[float, float], hides: float
    ) -> None:
        for _ in range(count):
            u, v = rng.uniform(-75, 75), rng.uniform(-105, 45)
            _spot(
                layer,
                cover,
                place,
                (u, v),
                rng.uniform(*radius),
                rng.uniform(*deep),
                rng.uniform(0, 1),
                hides,
            )

    if rng.random() < share:
        red += np.float32(rng.uniform(0.0, 0.03)) * noise(place.shape, rng.uniform(5, 14) * mm, rng)
        red += np.float32(rng.uniform(0.0, 0.018)) * noise(place.shape, rng.uniform(1.5, 3) * mm, rng)
        brown += np.float32(rng.uniform(0.0, 0.03) * (0.5 + age)) * noise(
            place.shape, rng.uniform(2, 8) * mm, rng
        )
    if rng.random() < 0.5 * share:
        spots(brown, int(rng.integers(1, 7)), (0.6, 2.0), (0.3, 1.1), 1.0)  # moles
    if rng.random() < 0.2 * share:
        spots(brown, int(rng.integers(40, 200)), (0.4, 1.0), (0.05, 0.22), 0.5)  # freckles
    if rng.random() < (0.1 + 0.35 * age) * share:
        spots(brown, int(rng.integers(3, 25)), (1.2, 4.5), (0.05, 0.25), 0.6)  # age spots
    if rng.random() < 0.2 * share:
        spots(red, int(rng.integers(2, 14)), (0.8, 2.2), (0.08, 0.3), 0.6)  # pimples, scars
    if rng.random() < 0.2 * share:
        beard = _beard(place, a, b)
        dots = np.clip(noise(place.shape, rng.uniform(0.22, 0.36) * mm, rng) - 0.3, 0, 1.5)
        strength = rng.uniform(0.05, 0.2)
        patchy = np.clip(0.8 + 0.35 * noise(place.shape, 5 * mm, rng), 0, 1.5)
        dark -= np.float32(strength) * (dots + np.float32(rng.uniform(0.2, 1.0))) * beard * patchy
        cover[:] = np.maximum(cover, beard * np.float32(min(1.0, 6 * strength)))
    if rng.random() < 0.12 * share:  # blush
        for side in (-1, 1):
            away = np.square((a - side * 40) / rng.uniform(13, 20)) + np.square((b + 38) / rng.uniform(9, 15))
            red -= np.float32(rng.uniform(0.05, 0.2)) * np.exp(-away)
    if rng.random() < 0.12 * share:  # shadow on the lids, or dark rings
        low = rng.uniform(-11, 9)
        for side in (-1, 1):
            eye = marks[42:48].mean(axis=0)
            away = np.square((a - side * eye[0]) / 15) + np.square((b - eye[1] - low) / rng.uniform(4, 7))
            brown -= np.float32(rng.uniform(0.08, 0.3)) * np.exp(-away)
    if rng.random() < 0.25 * share:
        _brow_hairs(dark, cover, place, rng)
    log_rgb = brown[..., None] * MELANIN + red[..., None] * BLOOD + np.maximum(dark, -1.6)[..., None] * HAIR
    return Marks(np.clip(log_rgb, -1.6, 0.3).astype(np.float32), np.clip(cover, 0, 1))


def _spot(
    layer: Float32,
    cover: Float32,
    place: Anatomy,
    at: tuple[float, float],
    radius: float,
    deep: float,
    turn: float,
    hides: float,
) -> None:
    """Darken an uneven disc at (a, b), mm; turn: its direction, 0 to 1."""
    column, row = place.texels([at])[0]
    r = radius / TEXEL
    reach = int(2.2 * r) + 2
    top, left = max(int(row) - reach, 0), max(int(column) - reach, 0)
    part = layer[top : int(row) + reach, left : int(column) + reach]
    if not part.size:
        return
    v, u = np.mgrid[0 : part.shape[0], 0 : part.shape[1]].astype(np.float32)
    u, v = u + np.float32(left + 0.5 - column), v + np.float32(top + 0.5 - row)
    angle = np.arctan2(v, u)
    edge = r * (1 + 0.18 * np.cos(2 * (angle - 6.3 * turn)) + 0.1 * np.cos(3 * angle + 20 * turn))
    shape = 1 / (1 + np.exp(np.clip((np.hypot(u, v) / edge - 1) * 5, -20, 20)))
    part -= np.float32(deep) * shape.astype(np.float32)
    hidden = cover[top : int(row) + reach, left : int(column) + reach]
    np.maximum(hidden, np.float32(hides * min(1.0, 4 * deep)) * shape.astype(np.float32), out=hidden)


def _beard(place: Anatomy, a: Float32, b: Float32) -> Float32:
    """(h, w) 0..1, where beards grow."""
    marks = place.marks
    line = (
        marks[33, 1]
        - 3
        - 0.012 * np.clip(np.abs(a) - 25, 0, None) ** 2
        + 0.9 * np.clip(np.abs(a) - 42, 0, None)
    )
    below = ramped(line - b, 0, 7)
    low, high = marks[57, 1] - 2, marks[51, 1] + 1.5
    middle, half = (low + high) / 2, (high - low) / 2
    lips = np.square(a / (marks[54, 0] + 2)) + np.square((b - middle) / half)
    return below * ramped(lips, 0.9, 1.3)


def _brow_hairs(dark: Float32, cover: Float32, place: Anatomy, rng: np.random.Generator) -> None:
    """Hairs of bushy brows, beyond the brows too."""
    import cv2

    drawn = np.zeros(place.shape, np.uint8)
    for side in (-1, 1):
        line = place.marks[22:27] * [side, 1]
        for t in rng.uniform(0, 4, int(rng.integers(60, 220))):
            k = min(int(t), 3)
            start = line[k] * (1 - t + k) + line[k + 1] * (t - k) + rng.normal(0, 1, 2) * [1.2, 2.2]
            lean, length = np.radians(rng.normal(35, 20)), rng.uniform(2.5, 6.5)
            end = start + length * np.array([side * np.cos(lean), 0.7 * np.sin(lean)])
            ends = [tuple(int(16 * x) for x in p) for p in place.texels([start, end])]
            cv2.line(drawn, ends[0], ends[1], int(rng.integers(40, 160)), 1, cv2.LINE_AA, 4)
    hairs = np.asarray(cv2.GaussianBlur(drawn, (0, 0), 0.6), np.float32) / 255
    dark -= np.float32(rng.uniform(0.3, 0.9)) * hairs
    np.maximum(cover, np.asarray(cv2.GaussianBlur(hairs, (0, 0), 3.0)) * 3, out=cover)


# ---------------------------------------------------------------- on the image


def cast_shadow(size: int, rng: np.random.Generator) -> tuple[Float32, Float32]:
    """(S, S, 3) factors of a shadow cast on the face, and (S, S) 0..1, its edge."""
    import cv2

    v, u = np.mgrid[0:size, 0:size].astype(np.float32) / size - np.float32(0.5)
    angle = rng.uniform(0, 2 * np.pi)
    across, along = u * np.cos(angle) + v * np.sin(angle), v * np.cos(angle) - u * np.sin(angle)
    waves = sum(
        np.float32(rng.normal(0, 0.05 / k)) * np.sin(2 * np.pi * (k * along + rng.random()))
        for k in (1, 2, 3)
    )
    shape = across - np.float32(rng.uniform(-0.25, 0.3)) + waves
    if rng.random() < 0.35:  # a strip: hair, a branch, the rim of a hat
        shape = np.abs(shape) - np.float32(rng.uniform(0.01, 0.1))
    soft = np.float32(rng.uniform(0.004, 0.03))
    shade = 1 / (1 + np.exp(np.clip(shape / soft, -20, 20)))
    deep = np.exp(-rng.uniform(0.15, 0.8) * np.array([1.05, 1.0, 0.9]))
    factor = 1 + shade[..., None] * (deep - 1)
    edge = np.asarray(cv2.GaussianBlur(4 * shade * (1 - shade), (0, 0), size / 200), np.float32)
    return factor.astype(np.float32), edge


def strands(image: Image, rng: np.random.Generator) -> tuple[Image, Float32]:
    """An image (S, S, 3) behind thin strands of hair, and (S, S) 0..1, where they are."""
    import cv2

    size = image.shape[0]
    drawn = np.zeros((size, size), np.uint8)
    color = np.float32(rng.uniform(0.03, 0.5)) * np.array([1.0, 0.8, 0.6], np.float32) * 255
    start, angle = rng.uniform(0.15, 0.85) * size, rng.normal(np.pi / 2, 0.5)
    for _ in range(int(rng.integers(1, 14))):
        u, v, way = (
            start + rng.normal(0, 0.05) * size,
            rng.uniform(-0.05, 0.25) * size,
            angle + rng.normal(0, 0.12),
        )
        bend = rng.normal(0, 0.04)
        points = [(u, v)]
        for _ in range(int(rng.integers(5, 22))):
            way += bend + rng.normal(0, 0.03)
            u, v = u + 0.03 * size * np.cos(way), v + 0.03 * size * np.sin(way)
            points.append((u, v))
        curve = np.rint(np.array(points) * 16).astype(np.int32)[:, None]
        cv2.polylines(drawn, [curve], False, int(rng.integers(90, 255)), 1, cv2.LINE_AA, 4)
    share = np.asarray(cv2.GaussianBlur(drawn, (0, 0), float(rng.uniform(0.3, 0.8))), np.float32) / 255
    out = image + share[..., None] * (color - image)
    wide = np.asarray(cv2.dilate(share, np.ones((5, 5))), np.float32)
    return np.clip(out + 0.5, 0, 255).astype(np.uint8), np.clip(2.5 * wide, 0, 1)


def photographed(image: Image, rng: np.random.Generator) -> Image:
    """An image (S, S, 3) after a poor camera: blur, noise, JPEG, each at random."""
    import cv2

    out = image
    if rng.random() < 0.35:
        out = cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.3, 0.9)))
    if rng.random() < 0.4:
        grain = rng.standard_normal(out.shape, np.float32)
        if rng.random() < 0.5:  # as small as the pixels, or coarser
            grain = 1.8 * np.asarray(cv2.GaussianBlur(grain, (0, 0), 0.7))
        out = np.clip(out + np.float32(rng.uniform(0.5, 5.0)) * grain + 0.5, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 93))]
        done, data = cv2.imencode(".jpg", np.ascontiguousarray(out[..., ::-1]), quality)
        if done:
            out = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1]
    return np.ascontiguousarray(out, np.uint8)
