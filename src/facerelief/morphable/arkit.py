"""The names of ARKit's 52 face blendshapes, the vocabulary of every named expression in facerelief.

Left and right are the person's own: `eyeBlinkLeft` closes the eye at x > 0 in model space.
"""

from __future__ import annotations

ARKIT_NAMES: tuple[str, ...] = (
    # left eye
    "eyeBlinkLeft",
    "eyeLookDownLeft",
    "eyeLookInLeft",
    "eyeLookOutLeft",
    "eyeLookUpLeft",
    "eyeSquintLeft",
    "eyeWideLeft",
    # right eye
    "eyeBlinkRight",
    "eyeLookDownRight",
    "eyeLookInRight",
    "eyeLookOutRight",
    "eyeLookUpRight",
    "eyeSquintRight",
    "eyeWideRight",
    # jaw
    "jawForward",
    "jawLeft",
    "jawRight",
    "jawOpen",
    # mouth
    "mouthClose",
    "mouthFunnel",
    "mouthPucker",
    "mouthLeft",
    "mouthRight",
    "mouthSmileLeft",
    "mouthSmileRight",
    "mouthFrownLeft",
    "mouthFrownRight",
    "mouthDimpleLeft",
    "mouthDimpleRight",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    "mouthPressLeft",
    "mouthPressRight",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
    # brows, cheeks, nose
    "browDownLeft",
    "browDownRight",
    "browInnerUp",
    "browOuterUpLeft",
    "browOuterUpRight",
    "cheekPuff",
    "cheekSquintLeft",
    "cheekSquintRight",
    "noseSneerLeft",
    "noseSneerRight",
    # tongue
    "tongueOut",
)
"""All 52, in the order of Apple's documentation (ARFaceAnchor.BlendShapeLocation)."""


LIP_PARTING_UNITS = (
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthFunnel",
    "mouthShrugUpper",
    "mouthStretchLeft",
    "mouthStretchRight",
)
"""Units beside jawOpen that part the lips."""


def mirrored(name: str) -> str:
    """The same movement on the other side of the face; names without a side stay as they are.

    >>> mirrored("eyeBlinkLeft"), mirrored("mouthRight"), mirrored("jawOpen")
    ('eyeBlinkRight', 'mouthLeft', 'jawOpen')
    """
    if name.endswith("Left"):
        return name.removesuffix("Left") + "Right"
    if name.endswith("Right"):
        return name.removesuffix("Right") + "Left"
    return name
