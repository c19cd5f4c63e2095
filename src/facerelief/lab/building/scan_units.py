"""Expressions of open model 2: ARKit's 52 units from ICT-FaceKit's 57 shapes, made symmetric."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import ModelError
from facerelief.lab.building.scan_head import ScanHead
from facerelief.lab.building.scan_mesh import HeadMesh
from facerelief.morphable.arkit import ARKIT_NAMES, mirrored
from facerelief.typed import Float64, Int32

EXTRA_UNITS = ("cheekRaiserLeft", "cheekRaiserRight")
"""Units beyond ARKit's: the cheek as the eye's ring muscle raises it, which the maker keeps beside
cheekSquint."""
UNITS = ARKIT_NAMES + EXTRA_UNITS

WITH_BLINK: tuple[dict[str, float], ...] = (
    {"eyeSquint": 1.0, "cheekSquint": 1.0, "browDown": 1.0},
    {"browInnerUp": 1.0, "browOuterUp": 1.0},
    {"mouthSmile": 1.0, "noseSneer": 1.0},
    {"eyeLookIn": 1.0},
    {"eyeLookOut": 1.0},
    {"eyeLookUp": 0.5},
    {"eyeWide": 0.5},
)
"""Units with which shut lids stay before the eyeball; names without a side stand for both sides."""

TONGUE_OUT_MM = np.array([0.0, -4.5, 27.0])
"""Way of the tongue's tip at tongueOut 1: length and direction as in MakeHuman's face unit (CC0), which moves
its tongue by 27.5 mm."""
_MIRROR = np.array([-1.0, 1.0, 1.0])


def source_names(unit: str) -> tuple[str, ...]:
    """ICT-FaceKit's shapes whose sum is a unit; none for tongueOut.

    >>> source_names("browInnerUp"), source_names("mouthSmileLeft"), source_names("jawLeft")
    (('browInnerUp_L', 'browInnerUp_R'), ('mouthSmile_L',), ('jawLeft',))
    """
    if unit == "tongueOut":
        return ()
    if unit in ("browInnerUp", "cheekPuff"):
        return (f"{unit}_L", f"{unit}_R")
    if unit in ("jawLeft", "jawRight", "mouthLeft", "mouthRight"):
        return (unit,)
    for side, short in (("Left", "_L"), ("Right", "_R")):
        if unit.endswith(side):
            return (unit.removesuffix(side) + short,)
    return (unit,)


def expression_units(head: ScanHead, mesh: HeadMesh, symmetry: Int32, mean: Float64) -> Float64:
    """The displacement of every unit at weight 1.

    A unit and its mirror image are each other's exactly: both are the mean of what the source has for the two
    sides.

    Args:
        head: Source head.
        mesh: Mesh of the model.
        symmetry: (N,) mirror partner of each vertex.
        mean: (N, 3) mm, neutral mean face.

    Returns:
        (N, 3, units) mm, in the order of `UNITS`.

    Raises:
        ModelError: The source lacks a shape.
    """
    out = np.zeros((len(mean), 3, len(UNITS)))
    for k, unit in enumerate(UNITS):
        for name in source_names(unit):
            if name not in head.expression_names:
                raise ModelError(f"the source lacks the expression {name!r}; expected ICT-FaceKit Light")
            out[:, :, k] += mesh.operator @ head.expression[:, :, head.expression_names.index(name)]
    out[:, :, UNITS.index("tongueOut")] = tongue_out(mesh, mean)
    for k, unit in enumerate(UNITS):
        other = UNITS.index(mirrored(unit))
        if other >= k:
            both = 0.5 * (out[:, :, k] + out[symmetry, :, other] * _MIRROR)
            out[:, :, k], out[:, :, other] = both, both[symmetry] * _MIRROR
    return out


def tongue_out(mesh: HeadMesh, mean: Float64) -> Float64:
    """(N, 3) mm: the tongue stretched forward, its root at rest."""
    tongue = mesh.vertices_of("tongue")
    depth = mean[tongue, 2]
    along = np.clip((depth - depth.min()) / max(float(np.ptp(depth)), 1e-9), 0.0, 1.0)
    share = along * along * (3.0 - 2.0 * along)
    out = np.zeros_like(mean)
    out[tongue] = share[:, None] * TONGUE_OUT_MM
    return out


def symmetric_identity(identity: Float64, symmetry: Int32) -> tuple[Float64, NDArray[np.int64]]:
    """Components that are exactly symmetric or exactly change sign in a mirror.

    Args:
        identity: (N, 3, K) components, each nearly so.
        symmetry: (N,) mirror partner of each vertex.

    Returns:
        (N, 3, K) components and their signs (K,), 1 or -1.
    """
    flipped = identity[symmetry] * _MIRROR[:, None]
    sign = np.where((identity * flipped).sum(axis=(0, 1)) >= 0, 1, -1)
    return 0.5 * (identity + sign * flipped), sign
