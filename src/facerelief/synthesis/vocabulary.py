"""Changes of expression by name, lights by name, and errors for unknown ones."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from facerelief.errors import FacereliefError
from facerelief.geometry.rotation import matrix_from_euler
from facerelief.morphable.model import FaceModel
from facerelief.morphable.named_expressions import EXPRESSIONS, NAMED, hint
from facerelief.rendering.lighting import ambient_light, directional_light, rotate_light, shade
from facerelief.typed import Float32

__all__ = ["EXPRESSIONS", "LIGHTS", "EditError", "expression_changes", "named_light"]


class EditError(FacereliefError, ValueError):
    """An impossible edit: an unknown expression or light, or a number out of range."""


LIGHTS: Mapping[str, tuple[float, float, float] | None] = {
    "from-left": (-1.0, 0.25, 0.6),
    "from-right": (1.0, 0.25, 0.6),
    "from-above": (0.0, 0.85, 0.7),
    "from-below": (0.0, -0.85, 0.7),
    "frontal": (0.0, 0.15, 1.0),
    "flat": None,
}
"""Direction from the face to the lamp in camera space (left is the image's left); None for no direction."""
_AMBIENT = 0.4
"""Ambient share of a named light."""


def expression_changes(model: FaceModel, named: Mapping[str, float]) -> dict[int, float]:
    """Weights of the model's expressions by index for weights by name; contributions to one add up.

    Args:
        model: Face model.
        named: Weights of the model's expressions or of names in `NAMED`.

    Returns:
        Weight by index of the expression, within the model's range.

    Raises:
        EditError: An unknown name, or a weight that is not finite or outside the model's range.
    """
    index = {name: i for i, name in enumerate(model.expression_names)}
    low, high = model.expression_bounds
    out: dict[int, float] = {}
    for name, weight in named.items():
        if name not in index and name not in NAMED:
            groups = [n for n, parts in NAMED.items() if all(p in index for p in parts)]
            raise EditError(f"expression {name!r} is unknown; {hint(name, [*groups, *index])}")
        if not (math.isfinite(weight) and low <= weight <= high):
            raise EditError(f"expression {name} has weight {weight:g}, expected {low:g} to {high:g}")
        parts = {name: 1.0} if name in index else NAMED[name]
        missing = [part for part in parts if part not in index]
        if missing:
            raise EditError(
                f"expression {name!r} needs {missing[0]}, which the model {model.name!r} has not; "
                f"{hint(name, index)}"
            )
        for part, share in parts.items():
            out[index[part]] = out.get(index[part], 0.0) + share * weight
    return {i: min(max(weight, low), high) for i, weight in out.items()}


def named_light(name: str, own: ArrayLike, normals: ArrayLike) -> Float32:
    """A light by name, with the brightness and colour of the photo's own light on the face.

    Args:
        name: One of `LIGHTS`, or rotate:DEG: the photo's own light turned about the vertical axis, to the
            image's right for DEG > 0.
        own: (9, 3) the photo's light.
        normals: (P, 3) camera space, of the face, over which brightness is compared.

    Returns:
        (9, 3) coefficients.

    Raises:
        EditError: Another name.
    """
    given = np.asarray(own, dtype=np.float64)
    if name.startswith("rotate:"):
        try:
            degrees = float(name.removeprefix("rotate:"))
        except ValueError:
            degrees = math.nan
        if not math.isfinite(degrees):
            raise EditError(
                f"light {name!r}: expected rotate:DEG with a number of degrees, such as rotate:90"
            )
        light = np.asarray(rotate_light(given, matrix_from_euler(0.0, math.radians(degrees), 0.0)))
    elif name in LIGHTS:
        direction = LIGHTS[name]
        light = ambient_light() if direction is None else directional_light(direction, 1 - _AMBIENT, _AMBIENT)
    else:
        raise EditError(
            f"light {name!r} is unknown; expected {', '.join(LIGHTS)} or rotate:DEG, such as rotate:90"
        )
    n = np.asarray(normals, dtype=np.float64).reshape(-1, 3)
    before, after = np.maximum(shade(n, given), 0.0), np.maximum(shade(n, light), 0.0)
    gain = before.mean(axis=0) / np.maximum(after.mean(axis=0), 1e-3)
    # the brightest parts must not saturate
    brightest = float(np.percentile(after * gain, 95)) / max(float(np.percentile(before, 95)), 1e-3)
    return (light * (gain / max(brightest / 1.2, 1.0))).astype(np.float32)
