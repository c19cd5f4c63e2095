"""Labels of 300W-LP and AFLW2000-3D (Zhu et al., "Face Alignment Across Large Poses"): one MATLAB file an
image.

    Pose_Para   (1, 7)    pitch, yaw, roll (radians), t_x, t_y, t_z (px), f (px/um)
    Shape_Para  (199, 1)  raw coefficients of the Basel Face Model's shape
    Exp_Para    (29, 1)   raw coefficients of the expression basis that came with the set
    Tex_Para    (199, 1)  raw coefficients of its texture
    Color_Para  (1, 7)    gains and offsets of red, green and blue, contrast
    Illum_Para  (1, 10)   ambient and directed light (3 each), direction (2), gloss (2)
    pt2d        (2, N)    landmarks: 68 in 300W-LP; the 21 of AFLW, -1 where unseen, in AFLW2000-3D
    pt3d_68     (3, 68)   landmarks with depth; AFLW2000-3D only
    roi         (1, 4)    where the image was cut from its photo

The pose is that of the MATLAB code which came with the sets (RotationMatrix.m, ParaMap_Pose.m) and of
`angle2matrix_3ddfa` in the Python packages after it: a model point p in micrometres lands at

    (x, y', z) = f Rx(pitch) Ry(yaw) Rz(roll) p + (t_x, t_y, t_z)        y = H + 1 - y'

with matrices that turn clockwise (see `coarse_text`, which has the same) and MATLAB's pixels, the centre of
the first one at (1, 1). So u = x - 0.5 and v = y - 0.5. Python code around these sets often takes the
numbers for pixels counted from 0 (and H - 1 - y'), which shifts everything by one pixel.
"""

# SciPy ships no type stubs
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facerelief.errors import FacereliefError
from facerelief.geometry.camera import WeakPerspective
from facerelief.io.atomic import write_bytes
from facerelief.lab.datasets.coarse_text import (
    UM_PER_MM,
    check_shapes,
    read_small,
    reversed_euler,
    reversed_rotation,
)
from facerelief.typed import Float64

SIZES = {
    "Pose_Para": 7,
    "Shape_Para": 199,
    "Exp_Para": 29,
    "Tex_Para": 199,
    "Color_Para": 7,
    "Illum_Para": 10,
}
"""Vectors every file has, and their lengths."""
_POINTS = {"pt2d": 2, "pt3d_68": 3}
_MOST_POINTS = 500
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class W300LP:
    """One label file, in its own units and pixels."""

    pose: Float64
    """(7,) pitch, yaw, roll, t_x, t_y, t_z, f."""
    shape: Float64
    """(199,) raw."""
    expression: Float64
    """(29,) raw."""
    texture: Float64
    """(199,) raw."""
    color: Float64
    """(7,)"""
    illumination: Float64
    """(10,)"""
    pt2d: Float64 | None = None
    """(2, N) px, first centre at (1, 1), y down."""
    pt3d_68: Float64 | None = None
    """(3, 68) as `pt2d`, and depth."""
    roi: Float64 | None = None
    """(4,) px of the photo."""

    def __post_init__(self) -> None:
        expected = {
            "pose": (7,),
            "shape": (199,),
            "expression": (29,),
            "texture": (199,),
            "color": (7,),
            "illumination": (10,),
            "pt2d": (2, None),
            "pt3d_68": (3, 68),
            "roi": (4,),
        }
        check_shapes(self, expected)

    def camera(self, height: int) -> WeakPerspective:
        """The same pose for model points in mm, in an image `height` px high. t_z has no counterpart."""
        return WeakPerspective.from_matrix(
            reversed_rotation(self.pose[:3]),
            (self.pose[3] - 0.5, height + 0.5 - self.pose[4]),
            self.pose[6] * UM_PER_MM,
        )

    @staticmethod
    def pose_of(camera: WeakPerspective, height: int, depth: float = 0.0) -> Float64:
        """(7,) `pose` of a camera in an image `height` px high; depth: t_z, px."""
        return np.array(
            [
                *reversed_euler(camera.rotation),
                camera.translation_u + 0.5,
                height + 0.5 - camera.translation_v,
                depth,
                camera.scale / UM_PER_MM,
            ]
        )

    @property
    def landmarks68(self) -> Float64 | None:
        """(68, 2) iBUG points in our pixels, (u, v); None where the file has none."""
        for points in (self.pt3d_68, self.pt2d):
            if points is not None and points.shape[1] == 68:
                return points[:2].T - 0.5
        return None


def read_w300lp(path: str | os.PathLike[str]) -> W300LP:
    """A label file of 300W-LP or AFLW2000-3D. Raises FacereliefError for anything else."""
    from scipy.io import loadmat, whosmat

    file = Path(path)
    data = read_small(file, _MOST_BYTES, "a label file has a few thousand; give one of 300W-LP")
    try:
        # sizes come first: a few bytes can unpack to gigabytes
        shapes = {name: shape for name, shape, _ in whosmat(io.BytesIO(data))}
        _check_shapes(file, shapes)
        names = [name for name in (*SIZES, *_POINTS, "roi") if name in shapes]
        found = loadmat(io.BytesIO(data), variable_names=names)
        values = {name: np.asarray(found[name], np.float64) for name in names}
    except FacereliefError:
        raise
    except Exception as error:  # the reader fails in many ways on damaged files
        raise FacereliefError(
            f"{file}: no MATLAB 5 file ({type(error).__name__}); give a label file of 300W-LP or AFLW2000-3D"
        ) from error
    required = [values[name].reshape(-1) for name in SIZES]
    if not all(np.isfinite(value).all() for value in values.values()) or required[0][6] <= 0:
        raise FacereliefError(f"{file}: numbers that are not finite, or no positive scale; leave it out")
    roi = values.get("roi")
    return W300LP(
        *required,
        pt2d=values.get("pt2d"),
        pt3d_68=values.get("pt3d_68"),
        roi=None if roi is None else roi.reshape(-1),
    )


def _check_shapes(file: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    for name, length in SIZES.items():
        if name not in shapes:
            raise FacereliefError(f"{file}: has no {name}; give a label file of 300W-LP or AFLW2000-3D")
        if sorted(shapes[name]) != [1, length]:
            raise FacereliefError(
                f"{file}: {name} has shape {shapes[name]}, expected {length} numbers; "
                "give a label file of 300W-LP or AFLW2000-3D"
            )
    for name, rows in _POINTS.items():
        shape = shapes.get(name, (rows, 68))
        most = 68 if name == "pt3d_68" else _MOST_POINTS
        if len(shape) != 2 or shape[0] != rows or shape[1] > most or (rows == 3 and shape[1] != 68):
            raise FacereliefError(
                f"{file}: {name} has shape {shape}, expected ({rows}, {68 if rows == 3 else 'N'}); "
                "give a label file of 300W-LP or AFLW2000-3D"
            )
    if "roi" in shapes and sorted(shapes["roi"]) != [1, 4]:
        raise FacereliefError(f"{file}: roi has shape {shapes['roi']}, expected 4 numbers; leave it out")


def write_w300lp(path: str | os.PathLike[str], label: W300LP) -> None:
    """Write a label as the sets have it (MATLAB 5, float64). Raises OutputError where that fails."""
    from scipy.io import savemat

    content: dict[str, Float64] = {
        "Pose_Para": label.pose[None],
        "Shape_Para": label.shape[:, None],
        "Exp_Para": label.expression[:, None],
        "Tex_Para": label.texture[:, None],
        "Color_Para": label.color[None],
        "Illum_Para": label.illumination[None],
    }
    for name, value in (("pt2d", label.pt2d), ("pt3d_68", label.pt3d_68)):
        if value is not None:
            content[name] = value
    if label.roi is not None:
        content["roi"] = label.roi[None]
    data = io.BytesIO()
    savemat(data, content, do_compression=True)
    write_bytes(Path(path), data.getvalue())
