"""Rendered images of heads whose shape is known, which the evaluated model can only approach.

A face model's skin is carried over to the heads by correspondence; eyes, teeth, mouth, hair and shoulders
are painted. docs/truth.md describes the images, and what the heads share with the open model.

Tested by tests/lab/evaluation/truth/test_heads.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.mesh import Mesh
from facerelief.geometry.rotation import matrix_from_euler
from facerelief.lab.evaluation.truth.heads_match import Heads
from facerelief.lab.scenes import (
    LightRanges,
    hair_noise,
    photo_background,
    random_light,
    shoulders,
    skin_noise,
    smooth_background,
)
from facerelief.morphable.model import FaceModel
from facerelief.morphable.statistics import ExpressionSampling, sample_expressions
from facerelief.rendering.lighting import LUMA
from facerelief.rendering.render import shade_mesh
from facerelief.typed import Float, Image

HEAD_YAW_BINS = ((0, 15), (15, 30), (30, 45), (45, 60), (60, 80))
"""Degrees of |yaw|; every subject has one image in each."""
GROUPS = ("neutral", "smile", "mouth open", "eyes closed", "other")
"""Kinds of expressions; every subject has one image with each. `expression_groups` gives an image just its
own kind, and none for "other"."""
_LIGHTS = LightRanges((0.25, 0.75), (0.3, 0.6))
_STREAM = 0x1C7
"""Separates the random streams of these images from others with the same seed."""


# ---------------------------------------------------------------- cases


@dataclass(frozen=True)
class HeadTruthConfig:
    """Settings of the images. Angles in degrees."""

    persons: int = 24
    """Subjects; each in one image for every bin of yaw, five in all."""
    size: int = 512
    """Side of the images, px."""
    face_px: float = 290.0
    """Longer side of the face's box, px; it varies by a seventh."""
    pitch: float = 15.0
    """Standard deviation of pitch is half of this, cut at it."""
    roll: float = 15.0
    """Likewise for roll."""
    noise: float = 3.0
    """Most camera noise: standard deviations of 255 are between a third of this and this."""
    distance: float = math.inf
    """Of the camera from the head's origin, mm; infinite for weak perspective."""
    seed: int = 0
    """Seed of everything."""


@dataclass(frozen=True, eq=False)
class HeadCase:
    """One image and its truth."""

    person: int
    yaw_bin: str
    """Of `HEAD_YAW_NAMES`."""
    group: str
    """Of `GROUPS`."""
    image: Image
    camera: WeakPerspective
    identity: Float
    """The true heads' coefficients."""
    expression: Float
    vertices: Float
    """(N, 3) the true head's vertices in camera space, mm."""
    marks: Float
    """(68, 3) landmarks, camera space, mm."""
    box: Float
    """(4,) left, top, right, bottom of the narrow face, px."""


HEAD_YAW_NAMES = tuple(f"{low}-{high}" for low, high in HEAD_YAW_BINS)
""" "0-15" and so on."""


def render_case(
    heads: Heads,
    person: int,
    number: int,
    config: HeadTruthConfig | None = None,
    backgrounds: Sequence[Any] = (),
    read: Callable[[Any], Image] = np.asarray,
) -> HeadCase:
    """Image `number` (0..4) of a subject; it depends on nothing but the arguments.

    The number is the bin of yaw; the group of the expression moves on by one from subject to subject, so
    that over five subjects every bin meets every group.

    Args:
        backgrounds: images (H, W, 3), or what `read` turns into such; smooth colours where there are none.
    """
    config = config or HeadTruthConfig()
    model = heads.model
    rng = np.random.default_rng([_STREAM, config.seed, person, number])
    group = GROUPS[(number + person) % len(GROUPS)]
    identity = heads.identity(config.seed, person)
    expression = sampled_expression(model.expression_names, group, rng)
    shape = model.shape(identity, expression)
    camera = _camera(shape[model.regions["narrow_face"]], HEAD_YAW_BINS[number], rng, config)
    look = np.random.default_rng([_STREAM, config.seed, person, 99])
    behind = _background(backgrounds, read, config.size, rng)
    image = _image(heads, shape, expression, camera, behind, look, rng, config)
    uv = camera.project(shape[model.regions["narrow_face"]])[:, :2]
    posed = camera.to_camera(shape.astype(np.float64))
    return HeadCase(
        person=person,
        yaw_bin=HEAD_YAW_NAMES[number],
        group=group,
        image=image,
        camera=camera,
        identity=identity,
        expression=expression,
        vertices=posed,
        marks=model.landmarks["ibug68"].of(posed),
        box=np.concatenate([uv.min(axis=0), uv.max(axis=0)]),
    )


def sampled_expression(names: Sequence[str], group: str, rng: np.random.Generator) -> Float:
    """(E,) weights of an expression of a group, for ICT-FaceKit's or ARKit's names.

    "neutral" is no weight at all. The others begin with a sparse plausible sample (`sample_expressions`,
    three units on average) in which the jaw opens below 0.3, the mean lids close below 0.5, and the corners
    of the mouth rise below 0.4; then the group's own: "smile" corners 0.45 to 1, cheeks and lids with them;
    "mouth open" jaw 0.35 to 1; "eyes closed" both lids 0.8 to 1.
    """
    if group not in GROUPS:
        raise ValueError(f"group is {group!r}: expected one of {', '.join(GROUPS)}")
    index = {name: k for k, name in enumerate(names)}
    out = np.zeros(len(names), np.float32)
    if group == "neutral":
        return out
    out[:] = sample_expressions(names, 1, int(rng.integers(2**31)), ExpressionSampling(active=3.0))[0]

    def at(*wanted: str) -> list[int]:
        return [index[name] for name in wanted if name in index]

    blink = at("eyeBlinkLeft", "eyeBlinkRight")
    smile = at("mouthSmileLeft", "mouthSmileRight")
    jaw = at("jawOpen")
    out[at("PupilDilate_L", "PupilDilate_R")] = 0.0
    out[jaw] = np.minimum(out[jaw], 0.25)
    out[at("mouthClose")] = 0.0
    out[blink] = np.minimum(out[blink], 0.4)
    out[smile] = np.minimum(out[smile], 0.3)
    if group == "smile":
        strength = rng.uniform(0.45, 1.0)
        out[smile] = np.clip(strength * rng.uniform(0.9, 1.1, len(smile)), 0.4, 1)
        out[at("cheekSquintLeft", "cheekSquintRight", "eyeSquintLeft", "eyeSquintRight")] = 0.5 * strength
        out[at(*(f"mouth{unit}{side}" for unit in _NOT_SMILING for side in ("Left", "Right")))] = 0.0
        out[at("mouthPucker", "mouthFunnel")] = 0.0
    elif group == "mouth open":
        out[jaw] = rng.uniform(0.35, 1.0)
    elif group == "eyes closed":
        out[blink] = rng.uniform(0.8, 1.0)
        out[at("eyeWideLeft", "eyeWideRight", "eyeSquintLeft", "eyeSquintRight")] = 0.0
    elif not (out > 0.3).any():  # no "other" expression may count as a neutral one
        more = at("browDownLeft", "browDownRight") if rng.random() < 0.5 else at("mouthPucker")
        out[more] = rng.uniform(0.5, 1.0)
    return out


_NOT_SMILING = ("Frown", "Stretch")


def _camera(
    face: Float, ends: tuple[int, int], rng: np.random.Generator, config: HeadTruthConfig
) -> WeakPerspective:
    yaw = np.radians(rng.uniform(*ends)) * (1 if rng.random() < 0.5 else -1)
    pitch, roll = (
        float(np.clip(0.5 * rng.standard_normal(), -1, 1) * np.radians(most))
        for most in (config.pitch, config.roll)
    )
    near = 1.0 / config.distance
    turned = WeakPerspective(pitch, float(yaw), roll, 0.0, 0.0, 1.0, near)
    uv = turned.project(face)[:, :2]
    scale = config.face_px / float(np.ptp(uv, axis=0).max()) * rng.uniform(6 / 7, 8 / 7)
    u, v = config.size * (0.5 + rng.uniform(-0.04, 0.04, 2)) - scale * (uv.min(axis=0) + uv.max(axis=0)) / 2
    return WeakPerspective(pitch, float(yaw), roll, float(u), float(v), scale, near)


# ---------------------------------------------------------------- appearance

# dark colours first: the darkest skins go with the first two
_IRIS = ((0.17, 0.10, 0.06), (0.25, 0.16, 0.09), (0.24, 0.33, 0.42), (0.29, 0.32, 0.22), (0.31, 0.36, 0.38))
_HAIR = ((0.07, 0.06, 0.06), (0.13, 0.09, 0.07), (0.25, 0.17, 0.11), (0.45, 0.34, 0.20), (0.55, 0.54, 0.53))
_TONES = (0.22, 0.72)
"""Mean brightness of the skin is uniform between these, as far as the open model's skins go."""


def _image(
    heads: Heads,
    shape: Float,
    expression: Float,
    camera: WeakPerspective,
    behind: Image,
    look: np.random.Generator,
    rng: np.random.Generator,
    config: HeadTruthConfig,
) -> Image:
    """(S, S, 3). `look` is the random stream of the subject, `rng` that of the image."""
    import cv2

    colors, cloth = _colors(heads, expression, look, rng)
    skin = shape[heads.model.regions["head_and_neck"]]
    body, body_triangles = shoulders(skin, camera.pitch, camera.yaw, camera.roll)
    body_colors = np.tile(cloth, (len(body), 1))
    mesh = Mesh(
        np.concatenate([shape, body]).astype(np.float32),
        np.concatenate([heads.model.triangles, body_triangles + len(shape)]).astype(np.int32),
        np.concatenate([colors, body_colors]).astype(np.float32),
    )
    light = random_light(rng, _LIGHTS)
    image, _ = shade_mesh(mesh, camera, config.size, config.size, light=light, background=behind)
    soft = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 0.9)).astype(np.float32)
    soft += rng.normal(0, rng.uniform(config.noise / 3, config.noise), soft.shape)
    return np.clip(soft + 0.5, 0, 255).astype(np.uint8)


def _colors(
    heads: Heads, expression: Float, look: np.random.Generator, rng: np.random.Generator
) -> tuple[Float, Float]:
    """(N, 3) colours of all vertices and (3,) of the clothes."""
    model = heads.model
    count = heads.skin_count
    skin = heads.skin_match.carried(_skin(heads.skins, look).astype(np.float64))
    dark_skin = float(skin[heads.region].mean(axis=0) @ LUMA) < 0.42
    skin *= 1 + 0.04 * skin_noise(model.mean[:count], look)[:, None]
    skin *= heads.shade[:count, None] ** 0.6
    tone = np.array(_HAIR[look.integers(2 if dark_skin else len(_HAIR))]) * look.uniform(0.7, 1.3)
    iris = np.array(_IRIS[look.integers(2 if dark_skin else len(_IRIS))]) * look.uniform(0.8, 1.2)
    streaks = hair_noise(model.mean[:count], look)[:, None]
    hair = heads.hair[:count]
    out = np.zeros((model.n_vertices, 3))
    out[:count] = skin * (1 - hair) + hair * tone * (1 + 0.25 * streaks)
    dark = np.clip(heads.shade, 0.12, 1)[:, None]
    # an open mouth lets in light that the mean head's shut one does not
    for name, color, least in (
        ("mouth_socket", (0.42, 0.16, 0.15), 0.3),
        ("eye_sockets", (0.45, 0.24, 0.20), 0.3),
        ("gums_and_tongue", (0.62, 0.28, 0.27), 0.3),
        ("tongue", (0.62, 0.28, 0.27), 0.6),
        ("teeth", (0.86, 0.82, 0.74), 0.75),
    ):
        part = model.region(name)
        out[part] = np.array(color) * np.maximum(dark[part], least)
    _paint_eyes(heads, expression, out, iris, rng)
    cloth = look.uniform(0.08, 0.8) * look.uniform(0.6, 1.0, 3)
    return np.clip(out, 0.01, 1), cloth


def _skin(ours: FaceModel, rng: np.random.Generator) -> Float:
    """(n, 3) skin of a face model: of 24 random ones the nearest to a uniformly random brightness."""
    wanted = rng.uniform(*_TONES)
    draws = np.clip(rng.standard_normal((24, ours.n_albedo)) * 1.1, -2.5, 2.5)
    face = ours.face_vertices
    if ours.n_albedo:
        mean = ours.albedo[face].mean(axis=0).T @ LUMA  # (A,)
        bright = ours.albedo_mean[face].mean(axis=0) @ LUMA + draws @ mean
        chosen = draws[int(np.abs(bright - wanted).argmin())]
    else:
        chosen = draws[0]
    return np.clip(ours.skin(chosen), 0.02, 1)


def _paint_eyes(heads: Heads, expression: Float, out: Float, iris: Float, rng: np.random.Generator) -> None:
    """Sclera, iris and pupil about each eye's gaze, which follows the look units and strays a little."""
    model = heads.model
    weight = dict(zip(model.expression_names, expression.tolist()))
    stray = rng.normal(0, 0.05, 2)
    ids = np.flatnonzero(model.regions["eyeballs"])
    for side, name in ((-1, "Right"), (1, "Left")):
        ball = ids[np.sign(model.mean[ids, 0]) == side]
        if not len(ball):
            continue
        points = model.mean[ball].astype(np.float64)
        centre = (points.min(axis=0) + points.max(axis=0)) / 2
        down = 0.40 * weight.get(f"eyeLookDown{name}", 0) - 0.35 * weight.get(f"eyeLookUp{name}", 0)
        out_ = 0.45 * weight.get(f"eyeLookOut{name}", 0) - 0.50 * weight.get(f"eyeLookIn{name}", 0)
        gaze = matrix_from_euler(down + stray[0], side * out_ + stray[1], 0.0) @ [0.0, 0.0, 1.0]
        away = points - centre
        away /= np.linalg.norm(away, axis=1, keepdims=True)
        angle = np.degrees(np.arccos(np.clip(away @ gaze, -1, 1)))
        painted = np.tile(np.array([0.74, 0.71, 0.69]), (len(ball), 1))
        painted *= 0.75 + 0.25 * np.clip(1 - 2.5 * away[:, 1:2], 0, 1)  # the upper lid's shadow
        painted = _blend(painted, iris * 0.5, angle, 23.5, 2.0)
        painted = _blend(painted, iris, angle, 19.0, 3.0)
        out[ball] = _blend(painted, np.full(3, 0.03), angle, 9.0, 2.0)


def _blend(base: Float, color: Float, angle: Float, within: float, soft: float) -> Float:
    share = np.clip((within - angle) / soft + 0.5, 0, 1)[:, None]
    return base * (1 - share) + color * share


def _background(
    backgrounds: Sequence[Any], read: Callable[[Any], Image], size: int, rng: np.random.Generator
) -> Image:
    """A random square of a random background image, out of focus; or smooth colours."""
    import cv2

    if not len(backgrounds):
        grey = rng.uniform(0.15, 0.85, (5, 5, 1))
        return smooth_background(grey + rng.uniform(-0.12, 0.12, (5, 5, 3)), size)
    photo = read(backgrounds[int(rng.integers(len(backgrounds)))])
    wide = photo_background(photo, size, rng, least=0.4)
    return np.asarray(cv2.GaussianBlur(wide, (0, 0), size * rng.uniform(0.006, 0.02)), np.uint8)
