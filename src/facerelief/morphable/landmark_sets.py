"""Meaning of those indices of the landmark sets that code has to know."""

from __future__ import annotations

OUTLINES: dict[str, tuple[int, ...]] = {
    "ibug68": tuple(range(17)),
    # MediaPipe's face oval, from the middle of the forehead round by the person's left side
    "mediapipe478": (
        10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
        152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
    ),
}  # fmt: skip
"""Landmarks along the face's outline, in order. Where along it each lies is arbitrary."""

CLOSED_OUTLINES = frozenset({"mediapipe478"})
"""Outlines that run all the way round."""

IBUG68_AMONG_MEDIAPIPE = (
    127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
    168, 197, 5, 4, 75, 97, 2, 326, 305,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,
    78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip
"""The MediaPipe point nearest to each iBUG landmark."""

INNER_LIPS: dict[str, tuple[tuple[tuple[int, int], ...], tuple[int, int]]] = {
    "mediapipe478": (((13, 14), (82, 87), (312, 317)), (78, 308)),
    "ibug68": (((61, 67), (62, 66), (63, 65)), (60, 64)),
}
"""By landmark set: pairs of inner lip landmarks, and the corners of the inner mouth."""
