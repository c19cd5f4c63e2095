"""Rendered portraits with exact points: training images of the landmark net.

Heads of a face model with random identity, expression, skin, look (`portrait_looks`), light and pose, seen in
perspective. An image is a canvas about the net's crop with an alpha channel and black behind the head:
background, camera and codec are added when the net is trained, anew each time.

One processor core makes some 20 to 40 canvases a second.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facerelief.geometry.normals import vertex_normals
from facerelief.geometry.rotation import matrix_from_euler
from facerelief.inference.landmark_net import LANDMARK_SIZE, landmark_crop
from facerelief.lab.datasets.portrait_looks import CENTRE, Look, Strands, Wardrobe
from facerelief.lab.datasets.portrait_noise import grain, iris, waves
from facerelief.lab.scenes import shoulders
from facerelief.morphable.model import FaceModel
from facerelief.morphable.statistics import ExpressionSampling, sample_expressions
from facerelief.rendering.lighting import LUMA, ambient_light, directional_light, fold_light
from facerelief.rendering.occlusion import seen_share
from facerelief.typed import Bool, Float, Float32, Float64, Int32

CANVAS = 224
"""Side of a canvas, px: the crop of `inference.landmark_net` and room to move it."""
_SHADOW = 160
"""Side of the shadow map, px."""
_FIELDS = 24
"""Noise fields that are mixed for uneven skin and for shapes beyond the model."""


@dataclass(frozen=True)
class PortraitConfig:
    """Ranges of random heads. Angles in degrees."""

    canvas: int = CANVAS
    """Side of the images, px."""
    crop: int = LANDMARK_SIZE
    """Side of the net's crop in their middle, px."""
    samples: float = 1.5
    """Samples per pixel along each axis."""
    identity: float = 1.1
    """Standard deviation of identity coefficients, cut at 2.8."""
    albedo: float = 1.0
    """Standard deviation of albedo coefficients, cut at 2.5."""
    yaw: float = 65.0
    """Yaw is uniform within this for half of the heads, normal about 0 for the rest."""
    pitch: float = 13.0
    """Standard deviation of pitch, cut at 38."""
    beyond: float = 1.2
    """Largest root mean square of a smooth displacement that the model does not know, mm."""
    near: float = 330.0
    """Shortest distance of the camera, mm."""
    skin: bool = False
    """Whether images have a fifth channel: the share of bare skin, which hair, brows, beard, glasses, hands,
    clothes, eyes and the inside of the mouth are not."""

    @property
    def channels(self) -> int:
        """Of the images."""
        return 5 if self.skin else 4


class Portraits(NamedTuple):
    """A batch of canvases."""

    image: NDArray[np.uint8]
    """(B, S, S, 4 or 5) RGB, black behind the head, and coverage; see `PortraitConfig.skin`."""
    points: Float32
    """(B, N, 2) px of the canvas, also of hidden points."""
    seen: NDArray[np.uint8]
    """(B, N) 1 where a point is in sight."""


class PortraitMaker:
    """Makes portraits of one model."""

    def __init__(self, model: FaceModel, vertices: Int32, config: PortraitConfig | None = None) -> None:
        """Prepare noise, materials and regions; some seconds.

        Args:
            model: Face model with the regions of the embedded ones.
            vertices: (N,) ids of the points.
            config: Ranges.
        """
        self.model, self.vertices, self.config = model, vertices, config or PortraitConfig()
        self.wardrobe = Wardrobe(model)
        self._basis = np.concatenate([model.identity, model.expression], axis=2).reshape(
            model.n_vertices * 3, -1
        )
        self._albedo = model.albedo.reshape(model.n_vertices * 3, -1)
        self._seen: Float32 = np.clip(seen_share(model.mean, model.triangles, 32), 0.12, 1)
        lashes = model.region("lashes")
        hairy = lashes[model.triangles].any(axis=1)
        self._bald, self._lashed = model.triangles[~hairy], model.triangles
        inner = model.region("mouth", "eye_sockets", "gums", "tongue")
        wet = model.region("eyeballs", "teeth", "lips")
        hidden = model.region("teeth", "gums", "tongue", "mouth", "eye_sockets", "lashes", "eyeballs")
        self._skin = model.triangles[~hidden[model.triangles].all(axis=1)]
        self._texture = np.where(inner | lashes | model.eyeballs, 0.0, 1.0)
        self._bare = np.where(inner | lashes | model.eyeballs | model.region("teeth"), 0.0, 1.0)
        self._gloss = np.where(inner | lashes, 0.0, np.where(wet, 1.6, 1.0))
        rng = np.random.default_rng(0x9A7)
        scaled = model.mean.astype(np.float64)
        self._noise: Float32 = np.stack([waves(scaled, 14, 90, rng) for _ in range(_FIELDS)]).astype("f4")
        self._warps: Float32 = np.stack(
            [np.stack([waves(scaled, 50, 160, rng) for _ in range(3)], axis=1) for _ in range(_FIELDS)]
        ).astype("f4")
        self._grain = grain(rng)
        self._iris = iris(model)

    def __call__(self, count: int, seed: Any) -> Portraits:
        """Make canvases.

        Args:
            count: Their number.
            seed: Whatever `np.random.default_rng` takes; it alone decides the images.
        """
        rng = np.random.default_rng(seed)
        model, c = self.model, self.config
        identity = _cut(rng, (count, model.n_identity), c.identity, 2.8)
        names, seed_ = model.expression_names, int(rng.integers(2**31))
        some = sample_expressions(names, count, seed_, ExpressionSampling(active=4.0))
        expression = np.stack([portrait_expression(names, row, rng) for row in some])
        tones = _skins(model, count, c.albedo, rng)
        moved = (self._basis @ np.concatenate([identity, expression], axis=1).T).T
        colors = (self._albedo @ tones.T).T
        out = Portraits(
            np.empty((count, c.canvas, c.canvas, c.channels), np.uint8),
            np.empty((count, len(self.vertices), 2), np.float32),
            np.empty((count, len(self.vertices)), np.uint8),
        )
        for k in range(count):
            shape = model.mean + moved[k].reshape(-1, 3)
            model.correct(shape, identity[k], expression[k])
            if rng.random() < 0.6:
                mix = rng.normal(0, 0.6, 3) * rng.uniform(0, c.beyond)
                shape += np.tensordot(mix.astype(np.float32), self._warps[rng.integers(_FIELDS, size=3)], 1)
            albedo = model.albedo_mean + colors[k].reshape(-1, 3)
            self._render(shape, albedo, rng, out.image[k], out.points[k], out.seen[k])
        return out

    # ------------------------------------------------------------ one image

    def _render(
        self,
        shape: Float32,
        albedo: Float32,
        rng: np.random.Generator,
        image: NDArray[np.uint8],
        points: Float32,
        seen: NDArray[np.uint8],
    ) -> None:
        import cv2

        from facerelief.lab.datasets import _portrait_kernels
        from facerelief.rendering import _kernels

        c, model = self.config, self.model
        count, size, face = len(shape), round(c.canvas * c.samples), model.face_vertices
        tone = np.clip(albedo[face].mean(axis=0), 0.03, 1)
        normals = vertex_normals(shape, model.triangles)
        radius = np.empty((40, 80), np.float32)
        _portrait_kernels.head_radius(shape[self.wardrobe.skin], CENTRE, radius)
        look = self.wardrobe.look(shape, normals, radius, tone, rng)
        color = self._colors(albedo, look, rng)
        eye = _Eye.random(model, shape, rng, c)
        triangles = self._lashed if rng.random() < 0.5 else self._bald
        body, body_triangles = shoulders(shape[self.wardrobe.skin], *eye.angles)
        cloth = _shoulder_colors(body, tone, rng)
        vertices: list[Float] = [shape, body]
        colors: list[Float] = [color, cloth]
        faces = [triangles, body_triangles + count]
        for patch in look.patches:
            faces.append(patch.triangles + sum(map(len, vertices)))
            vertices.append(patch.points)
            colors.append(patch.color)
        all_, ids = np.concatenate(vertices).astype(np.float32), np.concatenate(faces).astype(np.int32)
        turn = eye.rotation.T.astype(np.float32)
        camera, extra = np.ascontiguousarray(all_ @ turn), len(all_) - count
        worn = vertex_normals(camera[count:], ids[len(triangles) :] - count)
        worn[worn[:, 2] < 0] *= -1  # cloth is seen from both sides
        turned = np.concatenate([normals @ turn, worn])
        light, key, key_color = _light(rng)
        gloss = np.full((len(all_), 2), 10.0)
        shiny = rng.uniform(0.0, 0.5) ** 1.5
        gloss[:, 0], gloss[:, 1] = np.append(self._gloss * shiny, np.zeros(extra)), rng.uniform(5, 40)
        ambient = np.append(self._seen ** rng.uniform(0.5, 1.2), np.ones(extra)).astype(np.float32)
        shaded = np.empty((len(all_), 3), np.float32)
        shadow, axes, place = _shadow_map(camera, np.concatenate([self._skin, ids[len(triangles) :]]), key)
        _portrait_kernels.shade_vertices(
            camera, np.ascontiguousarray(turned, np.float32),
            np.ascontiguousarray(np.concatenate(colors), np.float32), ambient, gloss, fold_light(light), key,
            key_color, shadow, axes, place, 4.0, shaded,
        )  # fmt: skip
        bright = light[0] * 0.28209479  # the shading of its constant part
        gain = _exposure(shaded[:count][face], turned[:count][face, 2], tone, rng)
        shaded *= gain
        uvz = eye.project(all_)
        triangle = np.empty((size, size), np.int32)
        barycentric = np.empty((size, size, 3), np.float32)
        depth = np.empty((size, size), np.float32)
        large = uvz * [c.samples, c.samples, 1]
        _kernels.rasterize(np.ascontiguousarray(large), ids, True, triangle, barycentric, depth)
        canvas = np.empty((size, size, 4), np.float32)
        texture = np.append(self._texture, np.ones(extra)) * rng.uniform(0.0, 0.25) ** 2
        grain = self._grain[int(rng.integers(len(self._grain)))]
        _portrait_kernels.paint(triangle, barycentric, ids, shaded, texture, grain, canvas)
        layers = [canvas]
        if c.skin:
            layers.append(self._bare_skin(look, eye, triangle, barycentric, ids, depth))
        _draw_look(look, eye, c.samples, canvas, depth, key, gain * float(key_color.mean()), gain * bright)
        for layer, into in zip(layers, (image[..., :4], image[..., 4:])):
            small = np.asarray(cv2.resize(layer, (c.canvas, c.canvas), interpolation=cv2.INTER_AREA))
            into[:] = np.clip(small.reshape(into.shape) * 255 + 0.5, 0, 255).astype(np.uint8)
        points[:] = uvz[self.vertices, :2]
        _portrait_kernels.point_visibility(uvz[self.vertices], depth, float(c.samples), 2.5, seen)

    def _bare_skin(
        self, look: Look, eye: _Eye, triangle: Int32, barycentric: Float32, ids: Int32, depth: Float32
    ) -> Float32:
        """(H, W) share of bare skin: the head in white, all that it wears in black."""
        from facerelief.lab.datasets import _portrait_kernels

        assert look.painted is not None
        bare = np.zeros((int(ids.max()) + 1, 3), np.float32)
        bare[: len(self._bare)] = (self._bare * (1 - look.painted))[:, None]
        out, plain = np.empty((*depth.shape, 4), np.float32), np.zeros(len(bare))
        _portrait_kernels.paint(triangle, barycentric, ids, bare, plain, self._grain[0], out)
        dark = [replace(one, color=0 * one.color) for one in look.strands]
        lenses = [(rim, 0 * glass, share) for rim, glass, share in look.lenses]
        worn = replace(look, strands=dark, lenses=lenses)
        _draw_look(worn, eye, self.config.samples, out, depth.copy(), np.zeros(3), 0.0, np.full(3, -0.3))
        return np.ascontiguousarray(out[..., 0])

    def _colors(self, albedo: Float32, look: Look, rng: np.random.Generator) -> Float64:
        """(N, 3) skin with blotches, make-up, other eyes and painted hair."""
        noise = self._noise[rng.integers(_FIELDS, size=2)]
        blotch = rng.uniform(0.0, 0.03) * (noise[0] + noise[1])
        red = rng.uniform(-0.02, 0.03) * noise[1]
        out = albedo * (1 + blotch[:, None]) + red[:, None] * np.array([1, -0.3, -0.3])
        if rng.random() < 0.25:
            lips = self.model.region("lips")
            paint, share = rng.uniform([0.3, 0.0, 0.05], [0.9, 0.4, 0.5]), rng.uniform(0.2, 0.8)
            out[lips] += share * (paint * out[lips].mean() * 1.6 - out[lips])
        if rng.random() < 0.2:
            out[self.model.region("lids")] *= rng.uniform(0.4, 0.95, 3)
        if rng.random() < 0.6:
            stain = rng.uniform([0.12, 0.1, 0.06], [0.35, 0.4, 0.5]) / 0.2
            out *= 1 + self._iris[:, None] * (stain - 1) * rng.uniform(0, 1)
        assert look.painted is not None
        share = np.clip(look.painted * (1 + 0.15 * noise[0]), 0, 1)[:, None]
        out = out * (1 - share) + share * look.hair * (1 + 0.2 * noise[1][:, None])
        return np.clip(out, 0.01, 1.0)


# ---------------------------------------------------------------- camera


@dataclass(frozen=True, eq=False)
class _Eye:
    """A camera with perspective, in px of the canvas."""

    angles: tuple[float, float, float]
    """Pitch, yaw, roll, radians."""
    rotation: Float64
    middle: Float64
    """(3,) camera space, mm: the point at which the scale holds."""
    inverse: float
    """One over the camera's distance from it, 1/mm; 0 without perspective."""
    matrix: Float64
    """(2, 3) from mm at the middle, v down, to px."""

    @classmethod
    def random(cls, model: FaceModel, shape: Float, rng: np.random.Generator, c: PortraitConfig) -> _Eye:
        yaw = rng.uniform(-c.yaw, c.yaw) if rng.random() < 0.5 else rng.normal(0, 0.28 * c.yaw)
        yaw = float(np.clip(yaw, -c.yaw, c.yaw))
        pitch = float(np.clip(rng.normal(0, c.pitch), -38, 38))
        roll = float(np.clip(rng.normal(0, 8), -25, 25))
        angles = tuple(np.radians((pitch, yaw, roll)).tolist())
        rotation = matrix_from_euler(*angles)
        inverse = 0.0 if rng.random() < 0.3 else rng.uniform(0, 1 / c.near)
        marks = model.landmarks["mediapipe478"].of(shape).astype(np.float64)
        posed = marks @ rotation.T
        middle = posed[[33, 263, 152]].mean(axis=0)
        # the optical axis does not go through the face: the camera sees more of one of its sides
        middle[:2] += rng.normal(0, 40, 2)
        plain = cls(angles, rotation, middle, inverse, np.array([[1.0, 0, 0], [0, 1, 0]]))
        crop = landmark_crop(plain.project(marks)[:468, :2], c.crop)
        matrix = crop.matrix
        matrix[:, 2] += (c.canvas - c.crop) / 2
        return cls(angles, rotation, middle, inverse, matrix)

    def project(self, points: Float) -> Float64:
        """(..., 3) model space, mm -> (..., 3) of (u px, v px, z mm)."""
        q = points @ self.rotation.T - self.middle
        grow = 1.0 / np.maximum(1.0 - self.inverse * q[..., 2], 0.1)
        plane = np.stack([q[..., 0] * grow, -q[..., 1] * grow], axis=-1)
        uv = plane @ self.matrix[:, :2].T + self.matrix[:, 2]
        return np.concatenate([uv, q[..., 2:] + self.middle[2]], axis=-1)

    @property
    def scale(self) -> float:
        """px/mm at the middle."""
        return float(np.linalg.norm(self.matrix[:, 0]))


def _draw_look(
    look: Look,
    eye: _Eye,
    samples: float,
    canvas: Float32,
    depth: Float32,
    key: Float64,
    strength: float,
    ambient: Float64,
) -> None:
    import cv2

    from facerelief.lab.datasets import _portrait_kernels

    scale = eye.scale * samples
    worn: list[Strands] = list(look.strands)
    for _k, strands in enumerate(worn):
        if len(strands.points) == 5 and look.lenses and strands.bias == 3.0:  # glasses: their lenses first
            for rim, glass, opacity in look.lenses:
                if opacity <= 0:
                    continue
                uv = eye.project(rim)[:, :2] * samples
                low = np.clip(np.floor(uv.min(axis=0)), 0, len(depth)).astype(int)
                high = np.clip(np.ceil(uv.max(axis=0)) + 1, 0, len(depth)).astype(int)
                if (high <= low).any():
                    continue
                part = canvas[low[1] : high[1], low[0] : high[0]]
                mask = np.zeros(part.shape[:2], np.float32)
                cv2.fillPoly(mask, [np.rint(uv - low).astype(np.int32)], opacity)
                shine = np.append(np.clip(glass * float(ambient.mean() + 0.3), 0, 1), 1.0)
                part += mask[..., None] * (shine.astype(np.float32) - part)
        lines = eye.project(strands.points)
        lines[..., :2] *= samples
        count = len(lines)
        _portrait_kernels.draw_strands(
            lines, np.maximum(strands.width * scale, 0.8), np.ascontiguousarray(strands.color, np.float64),
            key, 0.7 * strength, ambient, np.full(count, strands.opacity), strands.fade, strands.bias,
            canvas, depth,
        )  # fmt: skip


def _shadow_map(points: Float32, triangles: Int32, key: Float64) -> tuple[Float32, Float64, Float64]:
    """Depth of a mesh in camera space, seen from the key light; see `shade_vertices`."""
    from facerelief.rendering import _kernels

    side = np.cross([0.0, 1.0, 0.0] if abs(key[1]) < 0.9 else [1.0, 0.0, 0.0], key)
    side /= np.linalg.norm(side)
    axes = np.stack([side, np.cross(key, side)])
    middle = axes @ points[:6000].mean(axis=0)
    scale = _SHADOW / 340.0
    place = np.array([scale, _SHADOW / 2 - scale * middle[0], _SHADOW / 2 + scale * middle[1]])
    u, v = points @ axes[0] * scale + place[1], place[2] - points @ axes[1] * scale
    uvz = np.stack([u, v, points @ key], axis=1)
    triangle = np.empty((_SHADOW, _SHADOW), np.int32)
    barycentric = np.empty((_SHADOW, _SHADOW, 3), np.float32)
    depth = np.empty((_SHADOW, _SHADOW), np.float32)
    _kernels.rasterize(np.ascontiguousarray(uvz, np.float64), triangles, False, triangle, barycentric, depth)
    return np.nan_to_num(depth, nan=-1e6), np.ascontiguousarray(axes), place


# ---------------------------------------------------------------- random numbers


def portrait_expression(names: tuple[str, ...], plausible: Float32, rng: np.random.Generator) -> Float32:
    """(E,) weights: neutral, smiling, open-mouthed, blinking or mixed faces, in about a photo's proportions.

    Args:
        names: The model's expressions.
        plausible: (E,) weights of `sample_expressions` to begin with.
        rng: Source of randomness.
    """
    index = {name: k for k, name in enumerate(names)}
    out = plausible.copy()
    kind = rng.choice(5, p=[0.15, 0.27, 0.18, 0.10, 0.30])
    if kind == 0:
        return out * np.float32(0.3 * (rng.random() < 0.5))
    out *= np.float32(rng.uniform(0.4, 1.0))

    def put(weight: float, *units: str) -> None:
        for unit in units:
            if unit in index:
                out[index[unit]] = np.clip(weight * rng.uniform(0.9, 1.1), 0, 1)

    sides = ("Left", "Right")
    if kind == 1:
        smile = rng.uniform(0.3, 1.0)
        put(0.0, "mouthPucker", "mouthFunnel", *(f"mouthFrown{s}" for s in sides))
        put(smile, *(f"mouthSmile{s}" for s in sides))
        put(
            smile * rng.uniform(0, 0.7),
            *(f"cheekSquint{s}" for s in sides),
            *(f"eyeSquint{s}" for s in sides),
        )
        if rng.random() < 0.6:  # with teeth
            put(rng.uniform(0.1, 0.6), *(f"mouthUpperUp{s}" for s in sides))
            put(rng.uniform(0.0, 0.5), *(f"mouthLowerDown{s}" for s in sides))
            put(rng.uniform(0.0, 0.35), "jawOpen")
            put(0.0, "mouthClose")
    elif kind == 2:
        put(rng.uniform(0.2, 1.0), "jawOpen")
        put(0.0, "mouthClose")
    elif kind == 3:
        shut = rng.uniform(0.6, 1.0)
        put(shut, *(f"eyeBlink{s}" for s in (sides if rng.random() < 0.85 else sides[:1])))
        put(0.0, *(f"eyeWide{s}" for s in sides))
    return out


def _cut(rng: np.random.Generator, shape: tuple[int, ...], sigma: float, most: float) -> Float32:
    return np.clip(rng.standard_normal(shape) * sigma, -most, most).astype(np.float32)


def _skins(model: FaceModel, count: int, sigma: float, rng: np.random.Generator) -> Float32:
    """(count, A) albedo coefficients of uniformly random brightness: the nearest of 24 each."""
    face = model.face_vertices
    draws = _cut(rng, (count, 24, model.n_albedo), sigma, 2.5)
    bright = float(model.albedo_mean[face].mean(axis=0) @ LUMA)
    luma = model.albedo[face].mean(axis=0).T @ LUMA
    wanted = rng.uniform(0.18, 0.78, (count, 1))
    best = np.abs(bright + draws @ luma - wanted).argmin(axis=1)
    return draws[np.arange(count), best]


def _light(rng: np.random.Generator) -> tuple[Float64, Float64, Float64]:
    """Ambient light (9, 3), and direction (3,) and colour (3,) of a key light with a cast shadow."""
    ambient = ambient_light(rng.uniform(0.15, 0.75) * (1 + rng.normal(0, 0.06, 3)))
    for _ in range(2):
        way = rng.normal(0, 1, 3) + [0, 0.4, 0.5]
        ambient = ambient + directional_light(way, rng.uniform(0, 0.4) * (1 + rng.normal(0, 0.06, 3)))
    key = np.array([rng.normal(0, 1.0), rng.normal(0.5, 0.6), rng.uniform(0.1, 1.2)])
    key /= np.linalg.norm(key)
    strength = 0.0 if rng.random() < 0.2 else rng.uniform(0.1, 1.0)
    color = strength * np.clip(1 + rng.normal(0, 0.08) * np.array([1.0, 0.2, -1.0]), 0.5, 1.5)
    return np.asarray(ambient), key, color


def _exposure(shaded: Float32, facing: Float32, tone: Float, rng: np.random.Generator) -> float:
    """Factor that brings the seen part of the face near its own brightness, as cameras do."""
    seen = facing > 0.2
    mean = float((shaded[seen] @ LUMA).mean()) if seen.any() else 0.5
    wanted = float(tone @ LUMA) ** 0.8 * np.exp(rng.normal(-0.15, 0.3))
    return float(np.clip(wanted / max(mean, 1e-3), 0.4, 8.0))


def _shoulder_colors(body: Float, tone: Float, rng: np.random.Generator) -> Float:
    """(B, 3) clothes, with bare skin below the neck where they are open."""
    from facerelief.lab.datasets.portrait_looks import _cloth

    middle = body.mean(axis=0)
    along = (body[:, [0, 1]] - middle[[0, 1]]) / 60
    out = _cloth(len(body), rng, along)
    top = body[:, 1].max()
    deep = rng.uniform(0, 90) if rng.random() < 0.6 else 0.0
    bare: Bool = (np.abs(body[:, 0] - middle[0]) * rng.uniform(0.4, 1.4) < deep - (top - body[:, 1])) & (
        body[:, 2] > middle[2]
    )
    out[bare] = tone
    return out
