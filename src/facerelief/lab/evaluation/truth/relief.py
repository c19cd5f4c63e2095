"""Rendered faces whose folds and wrinkles are known, and measures of recovered relief.

A random instance of a model is rendered with its true normals plus the slopes of procedural relief: folds 0.5
to 1.2 mm high and 6 to 10 mm wide, wrinkles 0.15 to 0.5 mm high and 2 to 4 mm wide, and a fine grain of about
0.05 mm at 1.2 mm. Each pixel is the mean of 2 x 2 samples. A solver is given the result of a perfect coarse
fit: the model's depth, its albedo without detail, and the light.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerelief.geometry.depth import normals_from_depth
from facerelief.inverse.detail import brow_share, brow_trust
from facerelief.lab.evaluation.truth.model_renders import TruthCase, TruthConfig, truth_cases
from facerelief.morphable.model import FaceModel
from facerelief.rendering.lighting import shade
from facerelief.rendering.rasterizer import interpolate, rasterize
from facerelief.typed import Bool, Float, Float32, Float64, Image

BANDS = {"all": (1.5, 10.0), "fine": (0.75, 1.5), "wrinkles": (1.5, 4.0), "folds": (4.0, 10.0)}
"""Difference-of-Gaussians bands, deviations in px of a face whose width is 256 px."""
SAMPLES = 2
SMOOTHED_MM = 1.5


@dataclass(frozen=True)
class ReliefTruthConfig:
    """Settings of the images."""

    size: int = 520
    """Side of the image, px."""
    face_px: float = 330.0
    """Side of the face box about, px."""
    yaw: float = 40.0
    """Yaw in degrees is uniform within plus and minus this."""
    textured: bool = True
    """Skin has moles, freckles, blotches, brow hairs; else the model's smooth albedo alone."""
    noise: float = 2.0
    """Standard deviation of camera noise, of 255."""
    jpeg: int = 0
    """Quality of a JPEG with 4:2:0 colour that the image goes through; 0 for none."""
    seed: int = 0
    """Seed of everything."""


@dataclass(frozen=True, eq=False)
class ReliefCase:
    """A rectangle of an image around a face, a solver's other input, and the truth."""

    image: NDArray[np.uint8]
    """(h, w, 3)"""
    albedo: Float32
    """(h, w, 3) smooth albedo of the model."""
    depth: Float32
    """(h, w) mm of the model without relief, NaN off it."""
    light: Float32
    """(9, 3)"""
    scale: float
    """px/mm"""
    mask: Bool
    """(h, w) skin that faces the viewer, without eyes and mouth opening."""
    trust: Float32
    """(h, w) mask of trust that `find_detail` starts from: less in the brows."""
    displacement: Float32
    """(h, w) true relief, mm along camera z."""
    normals: Float32
    """(h, w, 3) true normals."""
    face_px: float
    """Width of the face's skin in the image, px: the unit of the bands."""


def relief_cases(
    model: FaceModel, count: int, config: ReliefTruthConfig | None = None
) -> Iterator[ReliefCase]:
    """`count` random cases; the same seed gives the same ones. Textured or not, shape and relief agree."""
    config = config or ReliefTruthConfig()
    renders = TruthConfig(
        size=config.size, face_px=config.face_px, yaw=config.yaw, texture=0.0, seed=config.seed
    )
    for index, case in enumerate(truth_cases(model, count, renders)):
        yield _case(model, case, np.random.default_rng([config.seed, index, 1]), config)


def _case(
    model: FaceModel, case: TruthCase, rng: np.random.Generator, config: ReliefTruthConfig
) -> ReliefCase:
    camera = case.camera
    uv = camera.project(case.vertices[model.face_vertices])[:, :2]
    left, top = (int(x) for x in np.maximum(np.floor(uv.min(axis=0)) - 4, 0))
    right, bottom = (int(x) for x in np.minimum(np.ceil(uv.max(axis=0)) + 4, config.size))
    height, width = bottom - top, right - left
    # the truth on a grid SAMPLES times finer
    fine = camera.in_crop(left, top, float(SAMPLES))
    scale = float(fine.scale)
    fragments = rasterize(
        fine.project(case.vertices), model.triangles, SAMPLES * height, SAMPLES * width, cull_backfaces=True
    )
    eligible = np.asarray(model.face_vertices[model.triangles].all(axis=1))
    skin = fragments.mask & eligible[np.maximum(fragments.triangle, 0)]
    place, albedo = (
        interpolate(fragments, model.triangles, np.ascontiguousarray(x, np.float32))
        for x in (model.mean, case.albedo)
    )
    marks = model.landmarks["ibug68"].of(model.mean)
    relief = relief_height(place, marks, scale, rng) * skin
    # the model's triangles would be seen as facets: both surfaces stand on its smoothed depth
    base = _smoothed(fragments.depth, SMOOTHED_MM * scale)
    normals = normals_from_depth(base + relief, scale)
    seen = np.isfinite(normals[..., :1])
    colored = albedo * np.exp(skin_detail(place, marks, scale, rng)) if config.textured else albedo
    colored = np.clip(np.clip(colored, 0.01, 1) * shade(np.where(seen, normals, 0), case.light), 0, 1)

    whole = camera.in_crop(left, top, 1.0)
    given = rasterize(whole.project(case.vertices), model.triangles, height, width, cull_backfaces=True)
    brows = interpolate(given, model.triangles, brow_share(model)[:, None])[..., 0]
    mask = _usable(fragments.depth, base, skin, scale)
    columns = np.flatnonzero(mask.any(axis=0))
    mean = _pooled(np.where(seen, normals, 0))
    mean /= np.maximum(np.linalg.norm(mean, axis=2, keepdims=True), 1e-6)
    return ReliefCase(
        image=_photographed(_pooled(np.where(seen, colored, 0.4)), rng, config),
        albedo=interpolate(given, model.triangles, case.albedo),
        depth=_pooled(base).astype(np.float32),
        light=case.light,
        scale=float(whole.scale),
        mask=mask,
        trust=brow_trust(brows, float(whole.scale)),
        displacement=_pooled(relief).astype(np.float32),
        normals=mean.astype(np.float32),
        face_px=float(columns[-1] + 1 - columns[0]) if len(columns) else float(width),
    )


def _photographed(colors: Float, rng: np.random.Generator, config: ReliefTruthConfig) -> Image:
    """(h, w, 3) image of colours in [0, 1], with noise and, where asked for, JPEG's losses."""
    import cv2

    image = 255 * colors + rng.normal(0, config.noise, colors.shape)
    image = np.clip(image + 0.5, 0, 255).astype(np.uint8)
    if config.jpeg:
        done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, config.jpeg])
        assert done
        image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1]
    return np.ascontiguousarray(image, np.uint8)


def _usable(depth: Float32, base: Float32, skin: Bool, scale: float) -> Bool:
    """(h, w) skin that faces the viewer, away from edges where one part of the face hides another."""
    import cv2

    step = np.maximum(*(np.abs(np.diff(depth, axis=a, prepend=np.nan)) for a in (0, 1)))
    with np.errstate(invalid="ignore"):
        usable = skin & (step < 4.0 / scale) & (normals_from_depth(base, scale)[..., 2] > 0.35)
    mask = _pooled(usable.astype(np.float32)) > 0.99
    return cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0


def relief_height(place: Float32, marks: Float32, scale: float, rng: np.random.Generator) -> Float:
    """(h, w) mm of folds, wrinkles and grain.

    place (h, w, 3) a pixel's point on the mean face, mm; marks (68, 3) iBUG points on it; scale px/mm.
    """
    out = np.zeros(place.shape[:2], np.float32)
    age = rng.uniform(0.3, 1.0)

    def groove(points: Any, high: float, wide: float, bulge: float = 0.4) -> None:
        """A valley along a curve, `wide` mm between its shoulders, `high` mm from floor to shoulder."""
        _add_groove(out, place, np.asarray(points, np.float64), high, wide, bulge)

    def wrinkle() -> tuple[float, float]:
        return rng.uniform(0.15, 0.5), rng.uniform(2.0, 4.0)

    def fold() -> tuple[float, float]:
        return rng.uniform(0.5, 1.2), rng.uniform(6.0, 10.0)

    brow = marks[17:27, 1].mean()
    for k in range(int(rng.integers(1, 2 + round(4 * age)))):
        y = brow + 12 + 7.5 * k + rng.normal(0, 1)
        x = np.linspace(-1, 1, 9) * rng.uniform(22, 38) + rng.normal(0, 4)
        line = y + rng.normal(0, 0.8, 9) + 1.5 * np.cos(x / 12 + rng.uniform(0, 6))
        groove(np.c_[x, line], *wrinkle())
    for side in (-1, 1):
        outer = marks[36 if side < 0 else 45]
        for k in range(int(rng.integers(1, 2 + round(4 * age)))):
            angle = np.radians(rng.normal(18 - 16 * k, 4))
            t = np.linspace(4, rng.uniform(12, 24), 6)
            groove(
                np.c_[
                    outer[0] + side * t * np.cos(angle),
                    outer[1] + t * np.sin(angle) - 0.01 * t * t + rng.normal(0, 0.2, 6),
                ],
                *wrinkle(),
            )
        wing, corner = marks[31 if side < 0 else 35], marks[48 if side < 0 else 54]
        start = wing[:2] + [side * 5, 3]
        end = corner[:2] + [side * rng.uniform(7, 11), -rng.uniform(0, 8)]
        middle = (start + end) / 2 + [side * rng.uniform(2, 5), 2]
        groove(_bend(start, middle, end), *fold(), bulge=0.6)
        if rng.random() < age:  # the pouch below the eye
            inner, low = marks[39 if side < 0 else 42], marks[40 if side < 0 else 47]
            a, c = inner[:2] + [0, -4], outer[:2] + [0, -8]
            groove(_bend(a, low[:2] + [0, -9], c), *wrinkle())
        for _ in range(int(rng.integers(0, 2 + round(3 * age)))):  # cheek creases
            x, y = side * rng.uniform(32, 52), rng.uniform(-70, -25)
            lean, length = rng.normal(0, 4), rng.uniform(8, 18)
            groove(
                _bend((x, y + length), (x + side * rng.normal(2, 1), y), (x + lean, y - length)), *wrinkle()
            )
        if rng.random() < 0.5 * age:  # a fold from the mouth's corner downward
            groove(
                _bend(
                    corner[:2] + [side * 3, -3], corner[:2] + [side * 5, -12], corner[:2] + [side * 5, -22]
                ),
                *fold(),
            )
        if rng.random() < age:  # frown
            x = side * rng.uniform(4, 8)
            groove(_bend((x, brow - 6), (x * 1.1, brow + 2), (x * 0.9, brow + 11)), *wrinkle())
    if rng.random() < 0.6:  # chin
        lip = marks[57]
        groove(_bend(lip[:2] + [-14, -8], lip[:2] + [0, -10], lip[:2] + [14, -8]), *fold())
    grain = _grain(out.shape, 1.2 * scale, rng)
    broad = _grain(out.shape, 3.0 * scale, rng)
    # 0.05 mm from a typical peak to a typical valley of noise is 2.8 deviations
    return out + np.float32(0.018) * grain + np.float32(0.018 * age) * broad


def skin_detail(place: Float32, marks: Float32, scale: float, rng: np.random.Generator) -> Float32:
    """(h, w, 3) log RGB of moles, freckles, blotches, pigment, pores, stubble and brow hairs.

    Melanin darkens along (0.5..0.7, 0.9..1, 1..1.1), haemoglobin along (0.25..0.45, 1, 0.75..0.95), hair
    along a nearly grey colour; random for each face.
    """
    melanin = np.array([rng.uniform(0.5, 0.7), rng.uniform(0.9, 1.0), rng.uniform(1.0, 1.1)])
    blood = np.array([rng.uniform(0.25, 0.45), 1.0, rng.uniform(0.75, 0.95)])
    hair = np.array([rng.uniform(0.75, 0.95), 0.97, 1.0])
    shape = place.shape[:2]
    brown, red, dark = (np.zeros(shape, np.float32) for _ in range(3))
    red += rng.uniform(0.012, 0.03) * _grain(shape, rng.uniform(6, 14) * scale, rng)
    red += rng.uniform(0.008, 0.015) * _grain(shape, 2.5 * scale, rng)
    brown += rng.uniform(0.008, 0.02) * _grain(shape, rng.uniform(5, 12) * scale, rng)
    brown += rng.uniform(0.006, 0.015) * _grain(shape, 1.6 * scale, rng)
    dark += rng.uniform(0.003, 0.008) * _grain(shape, 0.9 * scale, rng)

    def spots(layer: Float32, count: int, radius: tuple[float, float], depth: tuple[float, float]) -> None:
        for _ in range(count):
            x, y = rng.uniform(-65, 65), rng.uniform(-105, 55)
            r = rng.uniform(*radius)
            _add_spot(layer, place, x, y, r * rng.uniform(0.8, 1.2), -rng.uniform(*depth))

    spots(brown, int(rng.integers(2, 9)), (0.8, 2.2), (0.4, 1.0))  # moles
    if rng.random() < 0.4:  # freckles
        spots(brown, int(rng.integers(60, 240)), (0.4, 1.0), (0.06, 0.2))
    spots(red, int(rng.integers(2, 12)), (1.0, 2.5), (0.08, 0.25))  # pimples and scars
    strength = rng.uniform(0.4, 1.1)
    for side in (slice(17, 22), slice(22, 27)):
        curve = marks[side, :2]
        outward = np.sign(curve[:, 0].mean())
        for _ in range(110):
            t = rng.uniform(0, 4)
            k = min(int(t), 3)
            root = curve[k] * (1 - t + k) + curve[k + 1] * (t - k) + rng.normal(0, 1.0, 2) * [1.0, 1.6]
            lean = np.radians(rng.normal(35, 18))
            length = rng.uniform(4, 9)
            tip = root + length * np.array([outward * np.cos(lean), np.sin(lean) * 0.6])
            _add_hair(dark, place, root, tip, rng.uniform(0.12, 0.25), -strength * rng.uniform(0.5, 1))
    if rng.random() < 0.35:  # stubble
        below = np.clip((marks[33, 1] - 8 - place[..., 1]) / 8, 0, 1)
        lips = ((place[..., 0] / 27) ** 2 + ((place[..., 1] - marks[62, 1]) / 11) ** 2) > 1
        dots = np.clip(_grain(shape, 0.8 * scale, rng) - 1.0, 0, 2)
        dark -= (rng.uniform(0.04, 0.12) * dots * below * lips).astype(np.float32)
    np.maximum(dark, -1.6, out=dark)
    out = brown[..., None] * melanin + red[..., None] * blood + dark[..., None] * hair
    return out.astype(np.float32)


def band_passed(x: Float, mask: Bool, low: float, high: float) -> Float64:
    """Difference of two Gaussian means over the mask alone, deviations in px."""
    import cv2

    inside = mask.astype(np.float64)

    def mean(sigma: float) -> Float64:
        top = cv2.GaussianBlur(np.where(mask, x, 0).astype(np.float64), (0, 0), sigma)
        return top / np.maximum(cv2.GaussianBlur(inside, (0, 0), sigma), 1e-6)

    return mean(low) - mean(high)


def relief_measures(case: ReliefCase, displacement: Float32) -> dict[str, float]:
    """Errors of a recovered displacement (h, w), mm, inside the mask.

    correlation_BAND: correlation with the true displacement in each of `BANDS`; truth_mm, found_mm: root mean
    squares of both in the band "all"; normals_coarse_deg, normals_refined_deg: mean angles of the coarse and
    the refined normals to the true ones, which hold slopes finer than a pixel; grid_coarse_deg,
    grid_refined_deg: to those of the true depth on the image's grid, the best that a depth map can hold.
    """
    unit = case.face_px / 256
    out: dict[str, float] = {}
    for name, (low, high) in BANDS.items():
        a = band_passed(case.displacement, case.mask, low * unit, high * unit)[case.mask]
        b = band_passed(displacement, case.mask, low * unit, high * unit)[case.mask]
        norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
        out[f"correlation_{name}"] = float((a * b).sum() / norm) if norm > 0 else 0.0
        if name == "all":
            out["truth_mm"] = float(np.sqrt((a * a).mean()))
            out["found_mm"] = float(np.sqrt((b * b).mean()))
    gridded = normals_from_depth(case.depth + case.displacement, case.scale)
    for name, depth in (("coarse", case.depth), ("refined", case.depth + displacement)):
        found = normals_from_depth(depth, case.scale)
        out[f"normals_{name}_deg"] = _angle(found, case.normals, case.mask)
        out[f"grid_{name}_deg"] = _angle(found, gridded, case.mask)
    return out


def _angle(a: Float32, b: Float32, mask: Bool) -> float:
    """Mean angle between normals (h, w, 3) inside a mask, degrees."""
    return float(np.degrees(np.arccos(np.clip((a[mask] * b[mask]).sum(axis=1), -1, 1))).mean())


def _pooled(x: Float) -> Float:
    height, width = x.shape[0] // SAMPLES, x.shape[1] // SAMPLES
    return x.reshape(height, SAMPLES, width, SAMPLES, *x.shape[2:]).mean(axis=(1, 3))


def _smoothed(depth: Float32, sigma: float) -> Float32:
    """Gaussian mean of a depth map over where it is finite, NaN elsewhere."""
    import cv2

    finite = np.isfinite(depth)
    top = cv2.GaussianBlur(np.where(finite, depth, 0).astype(np.float64), (0, 0), sigma)
    base = cv2.GaussianBlur(finite.astype(np.float64), (0, 0), sigma)
    return np.where(finite, top / np.maximum(base, 1e-6), np.nan).astype(np.float32)


def _grain(shape: tuple[int, ...], width: float, rng: np.random.Generator) -> Float32:
    """Noise of unit deviation with a wavelength of about `width` px."""
    import cv2

    # a difference of Gaussians of deviations s and 2 s passes wavelengths about 4.6 s best
    sigma = width / 4.6
    shrink = max(1, int(sigma / 3))
    small = (-(-shape[0] // shrink) + 1, -(-shape[1] // shrink) + 1)
    white = rng.standard_normal(small).astype(np.float32)
    noise = cv2.GaussianBlur(white, (0, 0), sigma / shrink) - cv2.GaussianBlur(
        white, (0, 0), 2 * sigma / shrink
    )
    noise /= noise.std()
    if shrink > 1:
        noise = cv2.resize(noise, (small[1] * shrink, small[0] * shrink), interpolation=cv2.INTER_CUBIC)
    return noise[: shape[0], : shape[1]]


def _bend(start: Any, middle: Any, end: Any) -> NDArray[np.float64]:
    """Eight points on the parabola through three."""
    a, b, c = (np.asarray(p, np.float64)[:2] for p in (start, middle, end))
    t = np.linspace(0, 1, 8)[:, None]
    return a * (1 - t) * (1 - 2 * t) + b * 4 * t * (1 - t) + c * t * (2 * t - 1)


def _window(place: Float32, low: Any, high: Any) -> tuple[slice, slice] | None:
    """Rows and columns that may show a rectangle of the mean face's front (mm)."""
    x, y = place[..., 0], place[..., 1]
    near = (x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1]) & (place[..., 2] > -60)
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    if not len(rows):
        return None
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _along(place: Float32, points: NDArray[np.float64]) -> tuple[Float32, Float32]:
    """(h, w) distance in mm to a polyline of the mean face's front, and position along it, 0 to 1."""
    best = np.full(place.shape[:2], np.inf, np.float32)
    where = np.zeros(place.shape[:2], np.float32)
    x, y = place[..., 0], place[..., 1]
    count = len(points) - 1
    for k in range(count):
        a, edge = points[k], points[k + 1] - points[k]
        t = ((x - a[0]) * edge[0] + (y - a[1]) * edge[1]) / max(float(edge @ edge), 1e-9)
        t = np.clip(t, 0, 1)
        distance = np.hypot(x - a[0] - t * edge[0], y - a[1] - t * edge[1])
        closer = distance < best
        best = np.where(closer, distance, best)
        where = np.where(closer, (k + t) / count, where)
    return best, where


def _add_groove(
    out: Float32, place: Float32, points: NDArray[np.float64], high: float, wide: float, bulge: float
) -> None:
    reach = 1.6 * wide
    window = _window(place, points.min(axis=0) - reach, points.max(axis=0) + reach)
    if window is None:
        return
    distance, where = _along(place[window], points)
    # shoulders at 1.5 deviations: a valley of this profile is `wide` from shoulder to shoulder
    t = distance / (wide / 3)
    taper = np.clip(4 * where * (1 - where), 0, 1) ** 0.5
    profile = -np.exp(-0.5 * t * t) + bulge * np.exp(-0.5 * ((t - 1.7) / 0.9) ** 2)
    out[window] += (high / (1 + bulge) * taper * profile).astype(np.float32)


def _add_spot(out: Float32, place: Float32, x: float, y: float, radius: float, depth: float) -> None:
    window = _window(place, (x - 2 * radius, y - 2 * radius), (x + 2 * radius, y + 2 * radius))
    if window is not None:
        r = np.hypot(place[window][..., 0] - x, place[window][..., 1] - y) / radius
        out[window] += (depth / (1 + np.exp(np.clip((r - 1) * 6, -30, 30)))).astype(np.float32)


def _add_hair(out: Float32, place: Float32, root: Any, tip: Any, width: float, depth: float) -> None:
    points = np.stack([root, tip])
    window = _window(place, points.min(axis=0) - 1, points.max(axis=0) + 1)
    if window is not None:
        distance, where = _along(place[window], points)
        # coverage of a hair narrower than a sample is partial
        cover = np.exp(-0.5 * (distance / width) ** 2) * (1 - 0.6 * where)
        out[window] += (depth * cover).astype(np.float32)
