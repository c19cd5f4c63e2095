"""Prior of the expression: rarely used units are held closer to zero, left and right alike.

Many units move the same skin as identity components do. With one deviation for all, a fit raises brows,
widens eyes and stretches lips on neutral faces, each side for itself, and the identity lacks what they take.
"""

from __future__ import annotations

import numpy as np

from facerelief.morphable.arkit import mirrored
from facerelief.morphable.model import FaceModel
from facerelief.typed import Float64

SIDE_DIFFERENCE = 0.2
"""Standard deviation assumed for the difference of a left and a right unit's weights."""
RELATIVE_DEVIATIONS = {
    "eyeBlink": 1.0,
    "mouthSmile": 1.0,
    "jawOpen": 0.83,
    "eyeLook": 0.83,
    "eyeSquint": 0.67,
    "cheekSquint": 0.67,
    "browDown": 0.67,
    "mouthUpperUp": 0.67,
    "mouthLowerDown": 0.67,
    "mouthClose": 0.5,
    "mouthFunnel": 0.5,
    "mouthPucker": 0.5,
    "mouthFrown": 0.5,
    "mouthDimple": 0.5,
    "mouthRoll": 0.5,
    "mouthShrug": 0.5,
    "mouthPress": 0.5,
    "cheekPuff": 0.5,
    "browInnerUp": 0.42,
    "browOuterUp": 0.42,
    "mouthStretch": 0.42,
    "noseSneer": 0.42,
    "eyeWide": 0.33,
    "mouthLeft": 0.33,
    "mouthRight": 0.33,
    "jaw": 0.25,
    "tongueOut": 0.17,
}
"""Deviation of units whose name begins so, relative to a smile's; the first that fits counts."""
OTHER_UNITS = 0.67
"""Relative deviation of units without an entry."""
_ONE_SIDED = ("jawLeft", "jawRight", "mouthLeft", "mouthRight", "eyeBlinkLeft", "eyeBlinkRight")
"""Opposite motions of one part, and winks: no pairs that move alike."""


def expression_precision(model: FaceModel, deviation: float, difference: float = SIDE_DIFFERENCE) -> Float64:
    """(E, E) precision of the expression weights.

    Bases of statistical models are standard normal.

    Args:
        model: Face model.
        deviation: Standard deviation assumed for a smile's weights; other units follow
            `RELATIVE_DEVIATIONS`.
        difference: Standard deviation assumed for the difference of left and right; infinite for none.
    """
    if model.expression_kind != "blendshape":
        return np.eye(model.n_expression)
    names = list(model.expression_names)
    precision = np.diag([1.0 / (deviation * _relative(name)) ** 2 for name in names])
    for left, name in enumerate(names):
        partner = _partner(name)
        if name.endswith("Left") and partner in names:
            right = names.index(partner)
            precision[[left, right], [left, right]] += 1.0 / difference**2
            precision[[left, right], [right, left]] -= 1.0 / difference**2
    return precision


def _relative(name: str) -> float:
    return next((value for key, value in RELATIVE_DEVIATIONS.items() if name.startswith(key)), OTHER_UNITS)


def _partner(name: str) -> str:
    """The other side's unit that moves with this one; both eyes look the same way."""
    if name in _ONE_SIDED:
        return ""
    swapped = {"eyeLookIn": "eyeLookOut", "eyeLookOut": "eyeLookIn"}
    for key, other in swapped.items():
        if name.startswith(key):
            return mirrored(name.replace(key, other, 1))
    return mirrored(name)
