"""Light, exposure and cover of a fitted face: plain numbers that say whether its fit can be trusted.

Everything is measured on the visible skin at a small fixed resolution. Most measures need the model only for
the place of each pixel on the face; those that compare the image with the rendered model use correlations,
so that they do not depend on the quality of the model's skin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from facerelief.geometry.normals import vertex_normals
from facerelief.inverse.image_level import image_level
from facerelief.inverse.landmark_fit import FaceState
from facerelief.inverse.photometric_term import Appearance
from facerelief.morphable.front import solid_triangles
from facerelief.morphable.model import FaceModel
from facerelief.rendering.lighting import LUMA
from facerelief.rendering.rasterizer import interpolate, rasterize
from facerelief.rendering.spherical_harmonics import sh_basis
from facerelief.typed import Bool, Float, Float32, Float64, Image

SIDE = 112
"""Face side, px, at which images are measured; smaller faces stay as they are."""
FEWEST = 60
"""Visible pixels needed for any measure."""
CELL = 6.0
"""mm, side of the cells that the face is averaged over."""
ROWS, COLUMNS = 26, 24
"""Cells: 72 mm to either side, from 48 mm above the eyes' middle to 108 mm below."""
ABOVE = 8
"""Rows above the eyes."""
CLIPPED = 0.98
"""Channel values from here on count as clipped."""
BLACK = 0.02
"""Luminance below this shows no features."""
WASHED_OUT = 0.3
"""A region with this share of clipped or black pixels is not measured."""
GREY = 0.015
"""Spread of colour up to which an image counts as one-coloured."""
UNEXPLAINED = 0.25
"""Colour difference from the rendered model that counts as unexplained, as a share of skin brightness."""
EYES_HALF_WIDTH, EYES_BELOW, EYES_ABOVE = 55, -14, 24
"""Eye region, brows included: mm to either side, and range of y."""
MOUTH_HALF_WIDTH, MOUTH_HALF_HEIGHT = 32, 16
"""Mouth region, mm."""
SHORTEST_LINE = 6
"""Usable slots that a line through the face needs."""
SKIN_RED = (-0.05, 0.75)
"""Natural logarithm of red over green of skins of all kinds in ordinary light (sRGB-coded medians)."""
SKIN_BLUE = (-1.1, 0.08)
"""Of blue over green; blue is the first to be lost on the shaded side of dark skin."""


@dataclass(frozen=True)
class Conditions:
    """Measures of one fitted face; the defaults are those of a faultless image."""

    pixels: int = 0
    """Visible skin pixels that were measured (face side at most 112 px); with 0 nothing is known and all
    other values stay faultless."""
    chroma: float = 1.0
    """Spread of colour that brightness does not explain, as a share of mean brightness: 0 for grey and toned
    images."""
    brightness: float = 1.0
    """Luminance that a tenth of the face exceeds, 0..1."""
    clipped: float = 0.0
    """Share of the face with two or three channels at their limit."""
    cast: float = 0.0
    """Distance of the face's colour, on either half, from the range of all skins in ordinary light; natural
    logarithm of channel ratios."""
    turned: float = 0.0
    """Absolute yaw, radians."""
    direction: float = 0.0
    """Uneven over even part of the fitted light (bands 1 and 0); about 0.6 for one lamp alone."""
    unexplained: float = 0.0
    """Share of the face whose colour differs from the fitted model's by more than a quarter of skin
    brightness."""
    edge: float = 0.0
    """Contrast of brightness over albedo across the strongest straight line through the face, natural
    logarithm."""
    shaded: float = 0.0
    """Share of the face on the darker side of that line which is indeed darker."""
    grain: float = 1.0
    """Relative fine texture of the darker side over that of the lighter: about 1 for a shadow, 2 and more for
    hair."""
    eyes: float = 1.0
    """Correlation of the eye region, brows included, with the model's."""
    eyes_darker: float = 0.0
    """Median brightness of the whole face over that of the eye region, natural logarithm."""
    mouth: float = 1.0
    """Correlation of the mouth region with the model's after what varies slowly is taken away: mean of
    brightness and, in images that show it, of redness."""
    mouth_contrast: float = 1.0
    """Standard deviation of the mouth region's brightness, natural logarithm, likewise; 0 for plain cloth."""


def measure_conditions(
    model: FaceModel, image: Image, state: FaceState, appearance: Appearance
) -> Conditions:
    """Measure the conditions of one fitted face.

    All values are finite. A region that cannot be seen (turned away, outside the image, or washed out) keeps
    its faultless value.

    Args:
        model: Face model of the fit.
        image: (H, W, 3) uint8 RGB.
        state: Pose and shape, in px of the image.
        appearance: Skin and light.
    """
    seen = _visible_skin(model, image, state, appearance)
    if seen is None:
        return Conditions()
    colour = _colour(seen)
    found: dict[str, Any] = {
        "pixels": len(seen.color),
        "turned": abs(state.camera.yaw),
        **_exposure(seen),
        **colour,
        **_light(seen, appearance),
        **_edges(seen),
        **_features(seen, places(model), colour["chroma"]),
    }
    return replace(Conditions(), **{name: value for name, value in found.items() if np.isfinite(value)})


@dataclass(frozen=True, eq=False)
class Places:
    """Places of features on a model's mean face, mm, model space."""

    eyes: Float32
    """(2,) x and y of the eyes' middle."""
    mouth: Float32
    """(2,) x and y of the mouth's middle."""


def places(model: FaceModel) -> Places:
    """Places from the model's iBUG or MediaPipe landmarks; from its face's extent where it has neither."""
    corners: Mapping[str, tuple[list[int], list[int]]] = {
        "ibug68": (list(range(36, 48)), list(range(48, 68))),
        "mediapipe478": ([33, 133, 263, 362], [61, 291, 0, 17]),
    }
    for name, (eyes, mouth) in corners.items():
        if name in model.landmarks:
            points = model.landmarks[name].of(model.mean)
            return Places(points[eyes].mean(axis=0)[:2], points[mouth].mean(axis=0)[:2])
    low, high = np.percentile(model.mean[model.face_vertices, 1], (0, 100))
    return Places(
        np.array([0.0, low + 0.68 * (high - low)], np.float32),
        np.array([0.0, low + 0.25 * (high - low)], np.float32),
    )


@dataclass(frozen=True, eq=False)
class _Seen:
    """Visible skin pixels, P of them."""

    color: Float32
    """(P, 3) the image, [0, 1]."""
    rendered: Float
    """(P, 3) the fitted model, shaded."""
    albedo: Float32
    """(P, 3) unshaded."""
    place: Float32
    """(P, 2) mm on the mean face, x from its middle, y up from the eyes."""
    px_per_mm: float


def _visible_skin(model: FaceModel, image: Image, state: FaceState, appearance: Appearance) -> _Seen | None:
    """None where fewer than `FEWEST` pixels are visible."""
    vertices = model.shape(state.identity, state.expression)
    face = model.face_vertices
    uv = state.camera.project(vertices[face])[:, :2]
    if not np.isfinite(uv).all():
        return None
    (left, top), (right, bottom) = uv.min(axis=0).tolist(), uv.max(axis=0).tolist()
    height, width = image.shape[:2]
    if min(right, width) - max(left, 0) < 2 or min(bottom, height) - max(top, 0) < 2:
        return None
    level = image_level(image, (left, top, right, bottom), SIDE)
    camera = level.camera(state.camera)
    rows, columns = level.color.shape[:2]
    solid, _ = solid_triangles(model)
    fragments = rasterize(camera.project(vertices), solid, rows, columns, cull_backfaces=True)
    eligible: Bool = np.asarray(face[solid].all(axis=1))
    seen = (fragments.triangle >= 0) & eligible[np.maximum(fragments.triangle, 0)]
    inside = np.zeros_like(seen)
    inside[level.inside] = True
    seen &= inside
    if seen.sum() < FEWEST:
        return None
    normals = vertex_normals(camera.to_camera(vertices), model.triangles)
    corners = np.concatenate([normals, model.skin(appearance.albedo), model.mean[:, :2]], axis=1)
    mixed = interpolate(fragments, solid, corners)[seen]
    normal = mixed[:, :3] / np.maximum(np.linalg.norm(mixed[:, :3], axis=1, keepdims=True), 1e-6)
    albedo = mixed[:, 3:6]
    rendered = albedo * (sh_basis(normal) @ appearance.light)
    middle = places(model).eyes
    return _Seen(level.color[seen], rendered, albedo, mixed[:, 6:8] - middle, camera.scale)


def _exposure(seen: _Seen) -> dict[str, float]:
    return {
        "brightness": float(np.percentile(seen.color @ LUMA, 90)),
        "clipped": float(((seen.color > CLIPPED).sum(axis=1) >= 2).mean()),
    }


def _colour(seen: _Seen) -> dict[str, float]:
    color = seen.color
    luminance = color @ LUMA
    # a grey or toned image has one colour for each brightness
    by_brightness = np.stack([np.ones_like(luminance), luminance, luminance**2], axis=1)
    chroma = np.stack([color[:, 0] - color[:, 1], color[:, 2] - color[:, 1]], axis=1)
    left_over = chroma - by_brightness @ np.linalg.lstsq(by_brightness, chroma, rcond=None)[0]
    spread = float(left_over.std()) / max(float(luminance.mean()), 0.02)
    # clipped pixels have lost their colour; halves apart, for a red lamp and a blue one may average to skin
    sound = (color < CLIPPED).any(axis=1) & (luminance > 0.01)
    x = seen.place[:, 0]
    cast = max(_off_skin(color[sound & half]) for half in (x < -5, x > 5, np.abs(x) <= 1e9))
    return {"chroma": spread, "cast": cast}


def _off_skin(color: Float32) -> float:
    if len(color) < FEWEST // 2:
        return 0.0
    # dark skin in the shade has few levels: some added to each channel keep their ratios sane
    red, green, blue = np.log(np.median(color, axis=0) + 3 / 255)
    outside = [
        max(low - value, value - high, 0.0)
        for value, (low, high) in ((red - green, SKIN_RED), (blue - green, SKIN_BLUE))
    ]
    return float(np.hypot(*outside))


def _light(seen: _Seen, appearance: Appearance) -> dict[str, float]:
    light = appearance.light.astype(np.float64).mean(axis=1)
    apart = np.sqrt(((seen.color - seen.rendered) ** 2).mean(axis=1))
    skin = max(float(np.percentile(seen.rendered @ LUMA, 75)), 0.1)
    return {
        "direction": float(np.linalg.norm(light[1:4]) / max(abs(light[0]), 1e-3)),
        "unexplained": float((apart > UNEXPLAINED * skin).mean()),
    }


def _edges(seen: _Seen) -> dict[str, float]:
    """The line through the face with the greatest contrast along most of its length."""
    luminance = seen.color @ LUMA
    relative = np.log((luminance + 0.01) / (np.maximum(seen.albedo @ LUMA, 0.0) + 0.05))
    fewest = max(1.0, 0.1 * (CELL * seen.px_per_mm) ** 2)
    values = _cells(seen.place, np.stack([relative, luminance, luminance**2], axis=1), fewest)
    known = np.isfinite(values[:, 0])
    value = np.where(known, values[:, 0], 0.0)
    ahead, lines = _lines()
    table = np.stack([known.astype(np.float32), value.astype(np.float32)], axis=1)
    # (lines, slots, 2 sides, 2): cells that are known, and the sum of their values
    sums = (lines @ table).reshape(-1, _SLOTS, 2, 2)
    count, total = sums[..., 0], sums[..., 1]
    usable: Bool = np.asarray((count >= 3).all(axis=2))
    mean = total / np.maximum(count, 1)
    contrast = np.where(usable, mean[:, :, 0] - mean[:, :, 1], np.nan)
    length = usable.sum(axis=1)
    if not (length >= SHORTEST_LINE).any():
        return {}
    # most of the line must be an edge: the contrast that seven tenths of its length exceed
    sign = np.where(np.nansum(contrast, axis=1) < 0, -1.0, 1.0)
    ordered = np.sort(contrast * sign[:, None], axis=1)  # unknown slots come last
    weak = np.take_along_axis(ordered, np.minimum(3 * length // 10, _SLOTS - 1)[:, None], axis=1)[:, 0]
    weak = np.where(length >= SHORTEST_LINE, weak, -np.inf)
    at = int(weak.argmax())
    best = max(float(weak[at]), 0.0)
    side = ahead[at] * sign[at]
    dark, light = (side < 0) & known, (side > 0) & known
    if not (dark.any() and light.any()):
        return {"edge": best}
    between = 0.5 * (np.median(value[dark]) + np.median(value[light]))
    # less the camera's noise, which is most of the texture of dark skin
    variance = np.maximum(values[:, 2] - values[:, 1] ** 2 - (1.5 / 255) ** 2, 0.0)
    texture = np.sqrt(variance) / (values[:, 1] + 0.01)
    return {
        "edge": best,
        "shaded": float((dark & (value < between)).sum() / known.sum()),
        "grain": float(np.median(texture[dark]) / max(float(np.median(texture[light])), 1e-3)),
    }


def _features(seen: _Seen, where: Places, chroma: float) -> dict[str, float]:
    """Likeness of eyes and mouth to the model's."""
    x, y = seen.place.T
    luminance, rendered = seen.color @ LUMA, np.maximum(seen.rendered @ LUMA, 0.0)
    # clipped and black pixels show no features, which does not mean that something covers them
    washed = ((seen.color > CLIPPED).sum(axis=1) >= 2) | (luminance < BLACK)
    eyes = (np.abs(x) < EYES_HALF_WIDTH) & (y > EYES_BELOW) & (y < EYES_ABOVE)
    down = y - (where.mouth - where.eyes)[1]
    mouth = (np.abs(x) < MOUTH_HALF_WIDTH) & (np.abs(down) < MOUTH_HALF_HEIGHT)
    found: dict[str, float] = {}
    if eyes.sum() >= FEWEST and washed[eyes].mean() < WASHED_OUT:
        found["eyes"] = _correlation(np.log(luminance[eyes] + 0.02), np.log(rendered[eyes] + 0.02))
        found["eyes_darker"] = float(
            np.log((np.median(luminance) + 0.01) / (np.median(luminance[eyes]) + 0.01))
        )
    if mouth.sum() >= FEWEST // 2 and washed[mouth].mean() < WASHED_OUT:
        # light and beards change slowly over the region, lips do not
        across, up = x[mouth] / 20, down[mouth] / 20
        slow = np.stack([np.ones_like(up), across, up, across * across, across * up, up * up], axis=1)
        looks = [
            np.stack([np.log(c @ LUMA + 0.02), np.log((c[:, 0] + 0.02) / (c[:, 1] + 0.02))], axis=1)
            for c in (seen.color[mouth], np.maximum(seen.rendered[mouth], 0.0))
        ]
        observed, expected = (v - slow @ np.linalg.lstsq(slow, v, rcond=None)[0] for v in looks)
        bright, red = (_correlation(observed[:, k], expected[:, k]) for k in (0, 1))
        # grey and one-coloured images show no redness
        found["mouth"] = 0.5 * (bright + red) if chroma > GREY else bright
        found["mouth_contrast"] = float(observed[:, 0].std())
    return found


def _correlation(a: Float, b: Float) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / max(float(np.sqrt((a * a).sum() * (b * b).sum())), 1e-6))


def _cells(place: Float32, values: Float32, fewest: float) -> Float32:
    """(ROWS * COLUMNS, C) means of values (P, C) over cells of the face, NaN where fewer pixels are seen."""
    i = np.floor(place[:, 0] / CELL).astype(np.int64) + COLUMNS // 2
    j = np.floor(-place[:, 1] / CELL).astype(np.int64) + ABOVE
    ok = (i >= 0) & (i < COLUMNS) & (j >= 0) & (j < ROWS)
    cell = (j * COLUMNS + i)[ok]
    count = np.bincount(cell, minlength=ROWS * COLUMNS)
    sums = np.stack([np.bincount(cell, v[ok], minlength=ROWS * COLUMNS) for v in values.T], axis=1)
    return np.where((count >= fewest)[:, None], sums / np.maximum(count, 1)[:, None], np.nan)


_ANGLES, _OFFSETS, _SLOTS = 8, 13, 16


@cache
def _lines() -> tuple[Float64, Any]:
    """Lines through the face at all angles and offsets.

    Returns (lines, cells) signed distance in mm of the cells' middles from each line, and a sparse (lines *
    slots of 12 mm along each * 2 sides, cells): 1 for cells 3 to 24 mm from the line.
    """
    from scipy import sparse

    j, i = np.indices((ROWS, COLUMNS)).reshape(2, -1)
    x, y = (i + 0.5 - COLUMNS / 2) * CELL, (ABOVE - 0.5 - j) * CELL + 24.0
    angle = np.arange(_ANGLES) * np.pi / _ANGLES
    across = np.cos(angle)[:, None] * x + np.sin(angle)[:, None] * y
    along = -np.sin(angle)[:, None] * x + np.cos(angle)[:, None] * y
    offset = (np.arange(_OFFSETS) - _OFFSETS // 2) * CELL
    ahead = (across[:, None] - offset[:, None]).reshape(-1, ROWS * COLUMNS)
    slot = np.floor(along / (2 * CELL)).astype(np.int64) + _SLOTS // 2
    slot = np.repeat(slot, _OFFSETS, axis=0)
    line, cell = np.nonzero((np.abs(ahead) > 3) & (np.abs(ahead) < 24) & (slot >= 0) & (slot < _SLOTS))
    row = (line * _SLOTS + slot[line, cell]) * 2 + (ahead[line, cell] < 0)
    shape = (len(ahead) * _SLOTS * 2, ROWS * COLUMNS)
    return ahead, sparse.csr_array((np.ones(len(row), np.float32), (row, cell)), shape=shape)
