"""Expressions by name as mixes of ARKit's units: moods, gestures, visemes and keys that avatars expect.

Tested by tests/morphable/test_named_expressions.py.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping


def _both(unit: str, weight: float) -> dict[str, float]:
    return {f"{unit}Left": weight, f"{unit}Right": weight}


EXPRESSIONS: Mapping[str, Mapping[str, float]] = {
    "smile": {**_both("mouthSmile", 1.0), **_both("cheekSquint", 0.45), **_both("mouthDimple", 0.2)},
    "grin": {
        **_both("mouthSmile", 1.0),
        **_both("cheekSquint", 0.6),
        **_both("mouthUpperUp", 0.5),
        **_both("mouthLowerDown", 0.3),
        "jawOpen": 0.08,
    },
    "frown": {**_both("mouthFrown", 1.0), **_both("browDown", 0.6)},
    "sad": {
        **_both("mouthFrown", 0.8),
        "browInnerUp": 0.9,
        "mouthShrugLower": 0.35,
        **_both("eyeSquint", 0.2),
    },
    "angry": {
        **_both("browDown", 1.0),
        **_both("noseSneer", 0.45),
        **_both("eyeSquint", 0.4),
        **_both("mouthPress", 0.5),
        **_both("mouthFrown", 0.3),
    },
    "surprise": {
        "browInnerUp": 1.0,
        **_both("browOuterUp", 0.9),
        **_both("eyeWide", 0.9),
        "jawOpen": 0.45,
    },
    "disgust": {**_both("noseSneer", 1.0), **_both("mouthUpperUp", 0.5), **_both("browDown", 0.5)},
    "sneer": _both("noseSneer", 1.0),
    "blink": _both("eyeBlink", 1.0),
    "wink-left": {"eyeBlinkLeft": 1.0, "cheekSquintLeft": 0.5, "mouthSmileLeft": 0.2},
    "wink-right": {"eyeBlinkRight": 1.0, "cheekSquintRight": 0.5, "mouthSmileRight": 0.2},
    "squint": {**_both("eyeSquint", 1.0), **_both("cheekSquint", 0.5)},
    "wide-eyes": _both("eyeWide", 1.0),
    "raise-brows": {"browInnerUp": 1.0, **_both("browOuterUp", 1.0)},
    "open-mouth": {"jawOpen": 0.7},
    "pucker": {"mouthPucker": 1.0},
    "kiss": {"mouthPucker": 1.0, "mouthFunnel": 0.3, **_both("eyeSquint", 0.2)},
    "puff": {"cheekPuff": 1.0},
}
"""Name -> weights of the blendshapes at weight 1; left and right are the face's own."""

VISEMES: Mapping[str, Mapping[str, float]] = {
    "viseme_sil": {},
    "viseme_PP": {"mouthRollLower": 0.4, "mouthRollUpper": 0.3, **_both("mouthPress", 0.4)},
    "viseme_FF": {"mouthRollLower": 0.5, **_both("mouthUpperUp", 0.3), "jawOpen": 0.05},
    "viseme_TH": {"jawOpen": 0.2, "tongueOut": 0.4, **_both("mouthLowerDown", 0.15)},
    "viseme_DD": {"jawOpen": 0.13, **_both("mouthLowerDown", 0.25), **_both("mouthUpperUp", 0.15)},
    "viseme_kk": {"jawOpen": 0.22, **_both("mouthLowerDown", 0.2), **_both("mouthStretch", 0.1)},
    "viseme_CH": {"jawOpen": 0.08, "mouthFunnel": 0.5, "mouthPucker": 0.1, **_both("mouthLowerDown", 0.15)},
    "viseme_SS": {
        "jawOpen": 0.05,
        **_both("mouthStretch", 0.3),
        **_both("mouthLowerDown", 0.3),
        **_both("mouthUpperUp", 0.1),
    },
    "viseme_nn": {"jawOpen": 0.12, **_both("mouthLowerDown", 0.2), **_both("mouthUpperUp", 0.1)},
    "viseme_RR": {"jawOpen": 0.12, "mouthFunnel": 0.35, "mouthPucker": 0.25},
    "viseme_aa": {"jawOpen": 0.6, **_both("mouthLowerDown", 0.15), **_both("mouthUpperUp", 0.1)},
    "viseme_E": {"jawOpen": 0.3, **_both("mouthStretch", 0.3), **_both("mouthSmile", 0.2)},
    "viseme_I": {"jawOpen": 0.15, **_both("mouthSmile", 0.35), **_both("mouthStretch", 0.3)},
    "viseme_O": {"jawOpen": 0.4, "mouthFunnel": 0.55, "mouthPucker": 0.2},
    "viseme_U": {"jawOpen": 0.15, "mouthPucker": 0.7, "mouthFunnel": 0.3},
}
"""The 15 visemes of Oculus' lip synchronisation, in its order: name -> weights of ARKit's units."""

AVATAR_KEYS: Mapping[str, Mapping[str, float]] = {
    "mouthOpen": {"jawOpen": 0.7},
    "mouthSmile": _both("mouthSmile", 1.0),
    "eyesClosed": _both("eyeBlink", 1.0),
    "eyesLookUp": _both("eyeLookUp", 1.0),
    "eyesLookDown": _both("eyeLookDown", 1.0),
}
"""Keys beside ARKit's that avatars often have: name -> weights of ARKit's units."""

NAMED: Mapping[str, Mapping[str, float]] = {**EXPRESSIONS, **VISEMES, **AVATAR_KEYS}
"""All of them."""


def hint(name: str, known: Iterable[str]) -> str:
    """Names similar to an unknown one."""
    names = list(known)
    lower = {n.lower(): n for n in names}
    near = difflib.get_close_matches(name.lower(), list(lower), n=3, cutoff=0.5)
    near += [n for n in lower if name and name.lower() in n and n not in near][:3]
    shown = ", ".join(lower[n] for n in near[:4]) or ", ".join(names[:6]) + ", ..."
    return f"did you mean {shown}?" if near else f"known are {shown}"
