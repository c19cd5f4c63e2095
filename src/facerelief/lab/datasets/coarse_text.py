"""The labels of the public CoarseData set (Guo et al.): one text file an image, three lines of numbers.

    line 1   100 identity coefficients of the Basel Face Model 2009, raw: not divided by their deviations
    line 2   79 expression coefficients of Exp_Pca.bin, raw likewise; its mean expression is part of the mean
    line 3   3 Euler angles (radians), 2 of translation (px), scale (px/um)

A model point p in micrometres (x to the face's left, y up, z to the front: our axes) lands at

    q = s [1 0 0; 0 1 0] Rx(a) Ry(b) Rz(c) p + t         Rx = [1 0 0; 0 c s; 0 -s c]
                                                         Ry = [c 0 -s; 0 1 0; s 0 c]
    pixels from the bottom-left corner, y up             Rz = [c s 0; -s c 0; 0 0 1]

The three matrices turn the other way round than ours, so the product is the transpose of our R(pitch a,
yaw b, roll c): angles must be converted through the matrix, not one by one. An image of H px has
v = H - q_y. The formula is that of the sample code that came with the set.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from facerelief.errors import FacereliefError
from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.rotation import euler_from_matrix, matrix_from_euler
from facerelief.io.atomic import write_bytes
from facerelief.typed import Float64

N_IDENTITY, N_EXPRESSION, N_POSE = 100, 79, 6
UM_PER_MM = 1000.0
_MOST_BYTES = 65_536


@dataclass(frozen=True, eq=False)
class CoarseText:
    """One label file of CoarseData, in its own units."""

    identity: Float64
    """(100,) raw coefficients."""
    expression: Float64
    """(79,) raw coefficients."""
    euler: Float64
    """(3,) angles of Rx, Ry and Rz, radians."""
    translation: Float64
    """(2,) px from the image's bottom-left corner, y up."""
    scale: float
    """px/um."""

    def __post_init__(self) -> None:
        check_shapes(
            self,
            {"identity": (N_IDENTITY,), "expression": (N_EXPRESSION,), "euler": (3,), "translation": (2,)},
        )

    def camera(self, height: int) -> WeakPerspective:
        """The same pose for model points in mm, in an image `height` px high."""
        return WeakPerspective.from_matrix(
            reversed_rotation(self.euler),
            (self.translation[0], height - self.translation[1]),
            self.scale * UM_PER_MM,
        )

    @classmethod
    def from_camera(
        cls, identity: ArrayLike, expression: ArrayLike, camera: WeakPerspective, height: int
    ) -> CoarseText:
        """The label of a pose in an image `height` px high; identity (100,) and expression (79,) raw."""
        return cls(
            np.asarray(identity, np.float64),
            np.asarray(expression, np.float64),
            reversed_euler(camera.rotation),
            np.array([camera.translation_u, height - camera.translation_v]),
            camera.scale / UM_PER_MM,
        )

    def in_deviations(
        self, identity_deviation: ArrayLike, expression_deviation: ArrayLike
    ) -> tuple[Float64, Float64]:
        """Identity (100,) and expression (79,) counted in standard deviations, as `FaceModel` takes them.

        Both arguments in um, at least as long: `shapeEV` of the model and std_exp.txt. Raises ValueError for
        fewer.
        """
        found: list[Float64] = []
        for name, values, given in (
            ("identity", self.identity, identity_deviation),
            ("expression", self.expression, expression_deviation),
        ):
            deviation = np.asarray(given, np.float64).reshape(-1)
            if len(deviation) < len(values):
                raise ValueError(f"{len(deviation)} {name} deviations given, expected {len(values)}")
            found.append(values / deviation[: len(values)])
        return found[0], found[1]


def check_shapes(label: object, shapes: Mapping[str, tuple[int | None, ...]]) -> None:
    """Make the named arrays of a frozen dataclass float64. None stays; a size of None is any.

    Raises ValueError for other shapes.
    """
    for name, want in shapes.items():
        if (given := getattr(label, name)) is None:
            continue
        values = np.asarray(given, np.float64)
        if len(values.shape) != len(want) or any(w not in (None, s) for s, w in zip(values.shape, want)):
            raise ValueError(f"{name} has shape {values.shape}, expected {want}")
        object.__setattr__(label, name, values)


def read_small(file: Path, most: int, hint: str) -> bytes:
    """Content of a label file. Raises FacereliefError for one of more bytes, with the hint, and for one that
    cannot be read."""
    try:
        if (size := file.stat().st_size) > most:
            raise FacereliefError(f"{file}: {size} bytes, {hint}")
        return file.read_bytes()
    except OSError as error:
        raise FacereliefError(f"{file}: cannot be read ({error.strerror}); check the file") from error


def reversed_rotation(euler: ArrayLike) -> Float64:
    """(3, 3) matrix Rx(a) Ry(b) Rz(c) of three angles (3,) in radians that turn clockwise."""
    a, b, c = (float(x) for x in np.asarray(euler, np.float64).reshape(3))
    return matrix_from_euler(a, b, c).T


def reversed_euler(rotation: ArrayLike) -> Float64:
    """(3,) the angles of `reversed_rotation`; the middle one within a quarter turn."""
    return np.array(euler_from_matrix(np.asarray(rotation, np.float64).T))


def read_coarse_text(path: str | os.PathLike[str]) -> CoarseText:
    """A label file of CoarseData. Raises FacereliefError for anything else."""
    file = Path(path)
    data = read_small(file, _MOST_BYTES, "a CoarseData label has a few thousand; give one .txt")
    try:
        lines = [line.split() for line in data.decode("ascii").splitlines() if line.strip()]
        rows = [np.array([float(word) for word in line]) for line in lines]
    except ValueError as error:
        raise FacereliefError(f"{file}: holds more than numbers; give a label file of CoarseData") from error
    wanted = [N_IDENTITY, N_EXPRESSION, N_POSE]
    if [len(row) for row in rows] != wanted:
        raise FacereliefError(
            f"{file}: lines of {[len(row) for row in rows][:4]} numbers, expected {wanted} (identity, "
            "expression, pose); give a label file of CoarseData"
        )
    identity, expression, pose = rows
    if not all(np.isfinite(row).all() for row in rows) or pose[5] <= 0:
        raise FacereliefError(f"{file}: numbers that are not finite, or no positive scale; leave it out")
    return CoarseText(identity, expression, pose[:3], pose[3:5], float(pose[5]))


def write_coarse_text(path: str | os.PathLike[str], label: CoarseText) -> None:
    """Write a label so that reading it gives the same numbers. Raises OutputError where that fails."""
    pose = [*label.euler, *label.translation, label.scale]
    lines = (" ".join(repr(float(x)) for x in row) for row in (label.identity, label.expression, pose))
    write_bytes(Path(path), ("\n".join(lines) + "\n").encode("ascii"))
