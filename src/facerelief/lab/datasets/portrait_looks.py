"""Random looks of rendered heads: hair, beard, brows, glasses, hats and clothes, as strands and small meshes.

Everything is in model space, mm, about the head it belongs to. Networks trained on the images must see what
hides and frames faces on photos, not nice hair.

Tested by tests/lab/datasets/test_portraits.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from facerelief.morphable.model import FaceModel
from facerelief.typed import Bool, Float, Float32, Int32

CENTRE = np.array([0.0, 0.0, -60.0])
"""About the middle of the embedded models' heads, mm."""
_STEPS = 18
"""Points of a strand."""
_HAIR = np.array(
    [[0.05, 0.05, 0.05], [0.11, 0.08, 0.06], [0.22, 0.15, 0.10], [0.36, 0.26, 0.16], [0.55, 0.43, 0.27],
     [0.42, 0.20, 0.10], [0.50, 0.49, 0.48], [0.75, 0.73, 0.70]]
)  # fmt: skip


@dataclass(eq=False)
class Strands:
    """Polylines that are drawn after the mesh."""

    points: Float32
    """(S, T, 3) mm."""
    width: Float
    """(S,) mm."""
    color: Float
    """(S, 3) sRGB."""
    opacity: float = 1.0
    fade: float = 0.5
    """Share of the width at the end."""
    bias: float = 1.0
    """mm that a surface may be nearer without hiding them."""


@dataclass(eq=False)
class Patch:
    """A mesh that is added to the head."""

    points: Float32
    triangles: Int32
    color: Float
    """(N, 3) sRGB."""


@dataclass(eq=False)
class Look:
    """Everything that a head wears."""

    strands: list[Strands] = field(default_factory=list[Strands])
    """In the order of drawing."""
    patches: list[Patch] = field(default_factory=list[Patch])
    lenses: list[tuple[Float32, Float, float]] = field(default_factory=list[tuple[Float32, Float, float]])
    """Rims (T, 3), colour (3,) and opacity of the glass."""
    painted: Float | None = None
    """(N,) share of hair colour in the skin's."""
    hair: Float = field(default_factory=lambda: np.zeros(3))
    """(3,) colour of the hair."""


class Wardrobe:
    """Regions of a model that looks need, prepared once."""

    def __init__(self, model: FaceModel) -> None:
        self.model = model
        marks = model.landmarks["ibug68"].of(model.mean)
        eyes = marks[36:48].mean(axis=0)
        x, height, depth = (model.mean[:, k] - (0.0, eyes[1], eyes[2])[k] for k in range(3))
        line = 66.0 + np.clip(depth, -60, 0) * 1.1 - 1.6 * np.clip(-(depth + 88), 0, 60)
        skin = model.region("face", "narrow_face", "scalp", "ears", "neck")
        bare = model.region("ears", "lids", "lips", "mouth", "eye_sockets", "eyeballs", "lashes")
        self.above: Float = np.where(skin & ~bare, height - line, -1e3)
        """(N,) mm above the usual hairline; -1000 off the skin."""
        lips, nose = marks[48:60].mean(axis=0) - eyes, marks[33] - eyes
        low = height < 0.55 * nose[1] + 0.45 * lips[1]
        cheek = np.abs(x) * 0.55 + lips[1] * 1.0 - 6.0  # the beard's upper line rises to the ears
        beard = (height < cheek) | ((np.abs(x) < 30) & low)
        beard &= model.region("narrow_face", "face") & ~bare & ~model.region("nose")
        self.beard: NDArray[np.intp] = np.flatnonzero(beard & (height > -118))
        self.moustache: Bool = np.asarray(height[self.beard] > lips[1])
        self.brows: NDArray[np.intp] = np.flatnonzero(model.region("brows"))
        self.skin = np.flatnonzero(skin)

    def look(
        self, shape: Float, normals: Float, radius: Float32, tone: Float, rng: np.random.Generator
    ) -> Look:
        """A random look.

        Args:
            shape: (N, 3) of the head.
            normals: (N, 3) outward.
            radius: (A, B) of `_portrait_kernels.head_radius` about `CENTRE`.
            tone: (3,) mean colour of the skin.
            rng: Source of randomness.
        """
        look = Look(hair=_hair_color(tone, rng))
        covered = rng.random()
        hat, hood = covered < 0.08, 0.08 <= covered < 0.13
        look.painted = np.zeros(len(shape))
        if rng.random() > 0.09:
            _hair(self, look, shape, normals, radius, hat or hood, rng)
        if rng.random() < 0.85:
            _brows(self, look, shape, normals, radius, rng)
        if rng.random() < 0.3:
            _beard(self, look, shape, normals, radius, rng)
        if hat:
            look.patches += _hat(radius, rng)
        elif hood:
            look.patches.append(_hood(radius, rng))
        _clothes(look, shape, rng, tone)
        if rng.random() < 0.25:
            _glasses(self.model, look, shape, rng)
        if rng.random() < 0.07:
            _hand(look, shape, tone, rng)
        return look


def _hair_color(tone: Float, rng: np.random.Generator) -> Float:
    dark = float(tone.mean()) < 0.36
    color = _HAIR[int(rng.integers(3 if dark and rng.random() < 0.85 else len(_HAIR)))]
    color = color * rng.uniform(0.7, 1.35) * (1 + rng.normal(0, 0.05, 3))
    if rng.random() < 0.03:  # dyed
        color = rng.uniform(0.1, 0.8, 3)
    return np.clip(color, 0.02, 0.9)


def _grown(
    roots: Float,
    normals: Float,
    length: Float,
    flow: Float,
    radius: Float32,
    rng: np.random.Generator,
    *,
    gravity: float,
    inertia: float,
    curl: float = 0.0,
    waves: float = 0.12,
    clearance: Float | float = 1.0,
) -> Float32:
    from facerelief.lab.datasets import _portrait_kernels

    count = len(roots)
    out = np.empty((count, _STEPS, 3), np.float32)
    _portrait_kernels.grow_strands(
        np.ascontiguousarray(roots, np.float64),
        np.ascontiguousarray(normals, np.float64),
        np.ascontiguousarray(np.broadcast_to(length, count), np.float64),
        np.ascontiguousarray(np.broadcast_to(flow, (count, 3)), np.float64),
        float(gravity),
        float(inertia),
        np.abs(rng.normal(curl, 0.3 * curl + 1e-6, count)),
        waves * rng.uniform(0.7, 1.4, count),
        rng.uniform(0, 2 * np.pi, count),
        radius,
        CENTRE,
        np.ascontiguousarray(np.broadcast_to(clearance, count), np.float64),
        out,
    )
    return out


def _tones(color: Float, count: int, rng: np.random.Generator, spread: float = 0.22) -> Float:
    """(count, 3) a colour, lighter and darker."""
    return np.clip(color * np.exp(rng.normal(0, spread, (count, 1))), 0.01, 0.95)


def _roots(
    ids: NDArray[np.intp], count: int, shape: Float, normals: Float, rng: np.random.Generator, jitter: float
) -> tuple[Float, Float]:
    chosen = ids[rng.integers(len(ids), size=count)]
    return shape[chosen] + rng.normal(0, jitter, (count, 3)), normals[chosen]


def _hair(
    wardrobe: Wardrobe,
    look: Look,
    shape: Float,
    normals: Float,
    radius: Float32,
    covered: bool,
    rng: np.random.Generator,
) -> None:
    offset = rng.normal(0, 7) + (rng.uniform(0, 45) if rng.random() < 0.12 else 0.0)  # receding
    above = wardrobe.above - offset + rng.normal(0, 3.0, len(shape))
    assert look.painted is not None
    look.painted = np.maximum(
        look.painted, rng.uniform(0.6, 1.0) / (1 + np.exp(-np.clip(above / 3, -30, 30)))
    )
    style = rng.choice(["buzz", "short", "medium", "long", "tied"], p=[0.12, 0.36, 0.17, 0.25, 0.10])
    ids = np.flatnonzero(above > 0)
    if style == "buzz" or len(ids) < 20:
        return
    count = {"short": 800, "medium": 800, "long": 800, "tied": 500}[style]
    roots, out = _roots(ids, count, shape, normals, rng, 2.5)
    side = np.sign(rng.normal()) * (1 if rng.random() < 0.6 else 0)
    part = side * rng.uniform(5, 30)
    left = np.sign(roots[:, 0] - part + rng.normal(0, 4, count))
    front = np.clip((roots[:, 2] + 10) / 40, 0, 1)[:, None]
    curl = float(rng.choice([0.0, rng.uniform(1, 3), rng.uniform(3, 8)], p=[0.5, 0.3, 0.2]))
    volume = rng.uniform(2, 9) if covered else rng.uniform(4, 26)
    clearance = rng.uniform(0.3, 1.0, count) * volume
    if style == "short":
        length = rng.uniform(15, 60) * rng.uniform(0.7, 1.1, count)
        comb = [[0.3 * side, 0.3, -1.0], [side or 1.0, 0.2, 0.0], [0.0, 0.2, 0.8]][int(rng.integers(3))]
        flow, gravity = np.tile(comb, (count, 1)), rng.uniform(0.0, 0.6)
    elif style == "tied":
        length = rng.uniform(60, 130) * rng.uniform(0.8, 1.1, count)
        flow, gravity, clearance = np.tile([0.0, 0.1, -1.0], (count, 1)), 0.05, 0.3 * clearance
    else:
        low, high = (70, 150) if style == "medium" else (150, 330)
        length = rng.uniform(low, high) * rng.uniform(0.75, 1.05, count)
        forward = rng.normal(0.0, 0.25)
        flow = np.stack([0.7 * left, np.zeros(count), np.full(count, forward)], axis=1)
        gravity = rng.uniform(0.7, 1.6)
        if rng.random() < 0.3:  # tucked behind the ears
            flow[:, 2] -= rng.uniform(0.3, 1.0)
    if rng.random() < 0.35:  # a fringe
        fall = (front[:, 0] > 0.5) & (rng.random(count) < rng.uniform(0.4, 1.0))
        flow[fall] = np.array([rng.normal(0, 0.5), -0.8, 0.9])
        length[fall] = rng.uniform(30, 85) * rng.uniform(0.8, 1.1, int(fall.sum()))
    flow = flow + rng.normal(0, rng.uniform(0.03, 0.3), (count, 3))
    lines = _grown(
        roots, out, length, flow, radius, rng,
        gravity=gravity, inertia=rng.uniform(0.4, 0.85), curl=curl, waves=rng.uniform(0.08, 0.3),
        clearance=clearance,
    )  # fmt: skip
    width = rng.uniform(1.0, 2.7) * rng.uniform(0.8, 1.3, count)
    look.strands.append(Strands(lines, width, _tones(look.hair, count, rng), 1.0, rng.uniform(0.3, 0.9)))


def _brows(
    wardrobe: Wardrobe,
    look: Look,
    shape: Float,
    normals: Float,
    radius: Float32,
    rng: np.random.Generator,
) -> None:
    count = int(rng.integers(60, 240))
    roots, out = _roots(wardrobe.brows, count, shape, normals, rng, rng.uniform(0.5, 1.6))
    roots = roots + [0.0, rng.normal(0.5, 1.0), 0.0]
    side = np.sign(roots[:, :1])
    flow = np.concatenate([side, 0.35 + 0 * side, -0.3 + 0 * side], axis=1) + rng.normal(0, 0.3, (count, 3))
    length = rng.uniform(4, 10) * rng.uniform(0.7, 1.2, count)
    lines = _grown(roots, out, length, flow, radius, rng, gravity=0.0, inertia=0.2, clearance=0.0)
    color = look.hair * rng.uniform(0.4, 0.9)
    look.strands.append(
        Strands(
            lines, rng.uniform(0.4, 1.0, count), _tones(color, count, rng), rng.uniform(0.2, 0.8), 0.3, 4.0
        )
    )


def _beard(
    wardrobe: Wardrobe,
    look: Look,
    shape: Float,
    normals: Float,
    radius: Float32,
    rng: np.random.Generator,
) -> None:
    ids = wardrobe.beard
    kind = rng.random()
    if kind < 0.2:
        ids = ids[wardrobe.moustache]
    elif kind < 0.4:  # a goatee
        ids = ids[np.abs(wardrobe.model.mean[ids, 0]) < 26]
    if len(ids) < 10:
        return
    assert look.painted is not None
    share = rng.uniform(0.08, 0.75)
    look.painted[ids] = np.maximum(look.painted[ids], share * rng.uniform(0.6, 1.0, len(ids)))
    if rng.random() < 0.5:  # stubble
        return
    count = int(len(ids) * rng.uniform(0.4, 1.0)) if kind < 0.4 else int(rng.integers(300, 800))
    roots, out = _roots(ids, count, shape, normals, rng, 1.5)
    length = np.exp(rng.uniform(np.log(4), np.log(60))) * rng.uniform(0.6, 1.2, count)
    flow = out * 0.6 + np.array([0.0, -0.6, 0.25]) + rng.normal(0, 0.3, (count, 3))
    curl = float(rng.choice([0.0, rng.uniform(0.5, 2.5)]))
    lines = _grown(
        roots, out, length, flow, radius, rng, gravity=rng.uniform(0.2, 1.0), inertia=0.5, curl=curl,
        clearance=0.5,
    )  # fmt: skip
    color = look.hair * rng.uniform(0.6, 1.3)
    width = rng.uniform(0.8, 1.8, count)
    look.strands.append(Strands(lines, width, _tones(color, count, rng), rng.uniform(0.7, 1.0), 0.4))


# ---------------------------------------------------------------- worn things


def _cloth(count: int, rng: np.random.Generator, along: Float) -> Float:
    """(count, 3) colours: plain, striped or blotched; along (count, 2) coordinates of 1 a pattern's width."""
    base = rng.uniform(0.03, 0.9) * rng.uniform(0.5, 1.0, 3)
    out = np.tile(base, (count, 1))
    kind = rng.random()
    if kind < 0.35:
        other = rng.uniform(0.03, 0.95, 3)
        wave = np.sin(2 * np.pi * (along @ rng.normal(0, 1.0, 2)) * rng.uniform(0.5, 2.5))
        out = np.where((wave > rng.uniform(-0.5, 0.5))[:, None], other, out)
    elif kind < 0.6:
        out = out * (1 + rng.normal(0, 0.2, (count, 1)))
    return np.clip(out, 0.02, 0.97)


def _shell(radius: Float32, kept: Float, thickness: Float | float, color: Float) -> Patch:
    """A surface over the head, of the directions with kept > 0; see `_directions`."""
    rows, columns = radius.shape
    way = _directions(rows, columns)
    smooth = radius.astype(np.float64)
    for _ in range(3):
        smooth = np.maximum(smooth, 0.25 * (2 * smooth + np.roll(smooth, 1, 1) + np.roll(smooth, -1, 1)))
        smooth[1:-1] = np.maximum(smooth[1:-1], 0.25 * (2 * smooth[1:-1] + smooth[:-2] + smooth[2:]))
    points = CENTRE + way * (smooth + thickness)[..., None]
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b = index[:-1], np.roll(index, -1, axis=1)[:-1]
    c, d = index[1:], np.roll(index, -1, axis=1)[1:]
    triangles = np.concatenate([np.stack([a, b, d], 2).reshape(-1, 3), np.stack([a, d, c], 2).reshape(-1, 3)])
    on = kept.reshape(-1) > 0
    triangles = triangles[on[triangles].all(axis=1)]
    return _both_sides(Patch(points.reshape(-1, 3).astype(np.float32), triangles.astype(np.int32), color))


def _both_sides(patch: Patch) -> Patch:
    """The patch with every triangle turned round too: the renderer leaves out what faces away."""
    patch.triangles = np.concatenate([patch.triangles, patch.triangles[:, ::-1]])
    return patch


def _directions(rows: int, columns: int) -> Float:
    """(rows, columns, 3) unit vectors by elevation and azimuth, as `head_radius` counts them."""
    up = ((np.arange(rows) + 0.5) / rows - 0.5)[:, None] * np.pi
    turn = ((np.arange(columns) + 0.5) / columns - 0.5)[None] * 2 * np.pi
    return np.stack([np.cos(up) * np.sin(turn), np.sin(up) + 0 * turn, np.cos(up) * np.cos(turn)], axis=2)


def _hat(radius: Float32, rng: np.random.Generator) -> list[Patch]:
    way = _directions(*radius.shape)
    tilt, low = rng.normal(-0.15, 0.12), rng.uniform(0.25, 0.55)
    edge = way[..., 1] - tilt * way[..., 2] - low
    turn = np.arctan2(way[..., 0], way[..., 2])
    color = _cloth(edge.size, rng, np.stack([turn.reshape(-1), 3 * way[..., 1].reshape(-1)], axis=1))
    tall = rng.uniform(4, 40) * np.clip(edge * 2, 0, 1)
    out = [_shell(radius, edge, 5.0 + tall, color)]
    if rng.random() < 0.6:  # a brim, all round or in front
        angle = np.linspace(-np.pi, np.pi, 49) if rng.random() < 0.4 else np.linspace(-0.9, 0.9, 33)
        up = np.arctan(low + tilt * np.cos(angle))  # about where the shell ends
        rows, columns = radius.shape
        i = np.clip(((up / np.pi + 0.5) * rows).astype(int), 0, rows - 1)
        j = np.clip(((angle / (2 * np.pi) + 0.5) * columns).astype(int), 0, columns - 1)
        size = np.median(radius[i, j]) + 6.0
        reach = rng.uniform(25, 70) * (np.cos(angle * 0.5 * np.pi / 0.95) if len(angle) == 33 else 1.0)
        inner = np.stack(
            [size * np.cos(up) * np.sin(angle), size * np.sin(up), size * np.cos(up) * np.cos(angle)], 1
        )
        outer = inner + np.broadcast_to(reach, len(angle))[:, None] * np.stack(
            [np.sin(angle), 0 * angle - 0.25, np.cos(angle)], 1
        )
        out.append(_band(CENTRE + inner, CENTRE + outer, color[0]))
    return out


def _band(one: Float, other: Float, color: Float) -> Patch:
    """The strip between two lines of (T, 3) points, seen from both sides."""
    count = len(one)
    k = np.arange(count - 1)
    quads = np.stack([k, k + 1, count + k + 1, count + k], axis=1)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
    points = np.concatenate([one, other]).astype(np.float32)
    return _both_sides(Patch(points, triangles, np.tile(color, (2 * count, 1))))


def _hood(radius: Float32, rng: np.random.Generator) -> Patch:
    way = _directions(*radius.shape)
    opening = np.array([0.0, rng.uniform(-0.15, 0.0), 1.0])
    wide = rng.uniform(0.85, 1.15)
    apart = np.arccos(np.clip(way @ (opening / np.linalg.norm(opening)), -1, 1))
    edge = apart - wide * (1 + 0.08 * np.sin(3 * np.arctan2(way[..., 0], way[..., 1]) + rng.uniform(0, 6)))
    along = np.stack([apart.reshape(-1), 2 * way[..., 1].reshape(-1)], axis=1)
    thick = 4 + rng.uniform(0, 14) + 3 * np.sin(9 * way[..., 0] + rng.uniform(0, 6))
    return _shell(radius, edge, thick, _cloth(edge.size, rng, along))


def _clothes(look: Look, shape: Float, rng: np.random.Generator, tone: Float) -> None:
    """Bands about the neck, for most: a collar, a scarf or a turtleneck."""
    if rng.random() > 0.6:
        return
    low = shape[:, 1].min()
    neck = shape[shape[:, 1] < low + 25].mean(axis=0)
    angle = np.linspace(-np.pi, np.pi, 41)
    open_ = rng.random() < 0.5  # a collar that is open in front
    if open_:
        angle = np.linspace(0.25, 2 * np.pi - 0.25, 41)
    top = low + rng.uniform(20, 62) + (rng.uniform(-12, 4) * np.cos(angle))
    wide = rng.uniform(62, 76)
    ring = np.stack([wide * np.sin(angle), top, 0.95 * wide * np.cos(angle)], axis=1)
    below = np.stack([(wide + 35) * np.sin(angle), 0 * angle + low - 30, (wide + 30) * np.cos(angle)], axis=1)
    at = np.array([neck[0], 0.0, neck[2]])
    patch = _band(at + ring, at + below, np.zeros(3))
    along = np.stack([np.tile(angle, 2), np.repeat([0.0, 1.0], len(angle))], axis=1)
    patch.color = _cloth(2 * len(angle), rng, along)
    look.patches.append(patch)


def _glasses(model: FaceModel, look: Look, shape: Float, rng: np.random.Generator) -> None:
    marks = model.landmarks["ibug68"].of(shape)
    width, height = rng.uniform(21, 30), rng.uniform(14, 25)
    power = rng.uniform(0.45, 1.0)
    angle = np.linspace(0, 2 * np.pi, _STEPS)
    round_ = np.stack(
        [
            np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power * width,
            np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power * height,
        ],
        axis=1,
    )
    frame = np.clip(rng.uniform(0.0, 0.5) * rng.uniform(0.4, 1.0, 3), 0, 1)
    if rng.random() < 0.25:
        frame = rng.uniform(0.3, 0.9, 3)
    dark = rng.random() < 0.2
    glass = rng.uniform(0.02, 0.2, 3) if dark else rng.uniform(0.6, 1.0, 3)
    opacity = rng.uniform(0.6, 0.97) if dark else rng.uniform(0.0, 0.15)
    lines: list[Float] = []
    slide, gap = rng.normal(-3, 3), rng.uniform(9, 16)
    for first, sign in ((36, -1.0), (42, 1.0)):
        eye = marks[first : first + 6].mean(axis=0)
        centre = np.array([sign * max(abs(eye[0]), width + 6), eye[1] + slide, marks[27, 2] + gap - 6])
        bent = -0.12 * (round_[:, 0] * sign + width)
        rim = np.stack([centre[0] + round_[:, 0], centre[1] + round_[:, 1], centre[2] + bent], axis=1)
        lines.append(rim)
        look.lenses.append((rim.astype(np.float32), glass, opacity))
        outer = rim[int(np.argmax(rim[:, 0] * sign))] + [0, 0.3 * height, 0]
        ear = np.array([sign * 77.0, eye[1] + 6, -75.0])
        lines.append(outer + np.linspace(0, 1, _STEPS)[:, None] * (ear - outer))
    inner = [line[int(np.argmin(np.abs(line[:, 0])))] for line in (lines[0], lines[2])]
    bridge = inner[0] + np.linspace(0, 1, _STEPS)[:, None] * (inner[1] - inner[0])
    bridge[:, 1] += 3 * np.sin(np.linspace(0, np.pi, _STEPS)) + 0.2 * height
    lines.append(bridge)
    points = np.stack(lines).astype(np.float32)
    thick = np.full(len(points), rng.uniform(1.0, 4.5)) * [1, 0.9, 1, 0.9, 1]
    if rng.random() < 0.12:  # without rims
        thick[[0, 2]] = 0.5
    look.strands.append(Strands(points, thick, np.tile(frame, (len(points), 1)), 1.0, 1.0, 3.0))


def _hand(look: Look, shape: Float, tone: Float, rng: np.random.Generator) -> None:
    """Fingers across a part of the face."""
    count = int(rng.integers(1, 6))
    turn = rng.uniform(0, 2 * np.pi)
    way = np.array([np.cos(turn), np.sin(turn), 0.0])
    beside = np.array([-way[1], way[0], 0.0])
    tip = np.array([rng.uniform(-60, 60), rng.uniform(-110, 40), rng.uniform(45, 75)])
    lines: list[Float] = []
    for k in range(count):
        start = tip + beside * 17 * (k - count / 2) - way * rng.uniform(0, 18)
        bend = np.linspace(0, 1, _STEPS)[:, None]
        lines.append(start + bend * (180 * way + [0, 0, 30]) + beside * 8 * np.sin(2 * bend + k))
    points = np.stack(lines).astype(np.float32)
    skin = np.clip(tone * rng.uniform(0.85, 1.2), 0.05, 0.95)
    wide = rng.uniform(15, 20, count)
    look.strands.append(Strands(points, wide, np.tile(skin * 0.75, (count, 1)), 1.0, 1.1, 60.0))
    raised = points + np.array([0, 1.5, 1.0], np.float32)
    look.strands.append(Strands(raised, 0.7 * wide, np.tile(skin, (count, 1)), 1.0, 1.1, 60.0))
