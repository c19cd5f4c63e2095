"""Confidence of a reconstruction, and warnings to its user."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facerelief.detection import DetectedFace
from facerelief.geometry.camera import WeakPerspective
from facerelief.inverse.conditions import Conditions


@dataclass(frozen=True)
class Cause:
    """One thing that makes a reconstruction less certain."""

    strength: float
    """0 where all is well, 1 where it is at its worst, steadily between; a user is warned from 0.5 on."""
    loss: float
    """Share of confidence lost at strength 1, in [0, 1)."""
    warning: str
    """One line: the cause and what it means or what to do."""


def rising(value: float, start: float, full: float) -> float:
    """0 up to `start`, 1 from `full` on, smooth and steady between; falls where `full` < `start`."""
    t = float(np.clip((value - start) / (full - start), 0.0, 1.0))
    return t * t * (3.0 - 2.0 * t)


def causes(seen: Conditions, score: float = 0.9) -> tuple[Cause, ...]:
    """All causes the image may give, of whatever strength.

    score: the face detector's, which is lower for covered mouths but not for bearded ones. Thresholds lie
    between ordinary portraits, nearly all of which must pass, and the same ones degraded;
    `benchmarks/conditions.py` counts both.
    """
    if not seen.pixels:
        return (Cause(1.0, 0.8, "hardly any skin can be seen: the face is a guess"),)
    # white and black pixels are grey too, and have a warning of their own
    plain = rising(seen.chroma, 0.018, 0.006) * (1.0 - rising(seen.clipped, 0.2, 0.5))
    dark = rising(seen.brightness, 0.28, 0.08)
    cast = rising(seen.cast, 0.0, 0.4)
    # lenses are like large dark eyes: only much darker regions count
    blind = rising(seen.eyes_darker, 0.35, 1.0) * rising(seen.eyes, 0.60, 0.30)
    # glasses, masks and shadows have edges, and much lowers the score: each must leave the others alone
    doubt = 3.0 * float(np.clip(score - 0.9, -0.1, 0.1)) * (1.0 - blind) * (1.0 - max(dark, cast))
    flat = 4.0 * min(seen.mouth_contrast - 0.1, 0.0)
    gaudy = -0.2 * rising(seen.chroma, 0.12, 0.22)
    lips = seen.mouth + doubt + (flat + gaudy) * (1.0 - dark)
    sided = rising(seen.shaded, 0.14, 0.26)
    hard = rising(seen.edge, 0.75, 1.0) * sided * (1.0 - blind) * rising(lips, -0.3, -0.1)
    # from the side a mouth looks like little, and cheeks end in edges of their own
    front = 1.0 - 0.6 * rising(seen.turned, 0.35, 0.65)
    mute = rising(lips, 0.30, -0.10) * (1.0 - hard) * front * (1.0 - 0.5 * max(dark, cast))
    line = rising(seen.edge, 0.42, 0.82) * sided * front * (1.0 - blind) * (1.0 - mute)
    hairy = rising(seen.grain, 1.4, 3.0)
    share = f"{100 * seen.shaded:.0f} % of the face"
    if hairy > 0.75:
        dark_side = f"about {share} looks covered (hair, hand): its shape there is a guess"
    else:
        what = "strong shadow" if hairy < 0.25 else "strong shadow, or hair,"
        dark_side = f"{what} over {share}: relief there and along its edge may be wrong; use softer light"
    odd = rising(seen.unexplained, 0.4, 0.65) * (1.0 - max(line, blind, mute))
    return (
        Cause(plain, 0.1, "the picture is grey or toned: skin colour is a guess"),
        Cause(
            rising(seen.clipped, 0.0, 0.2),
            0.8,
            f"the face is over-exposed ({100 * seen.clipped:.0f} % of it is white): it shows no relief there;"
            " take the picture with less exposure",
        ),
        Cause(
            dark,
            0.5,
            f"the face is very dark (brightness {100 * seen.brightness:.0f} %): it shows little relief;"
            " take the picture with more light",
        ),
        Cause(
            cast,
            0.3,
            "the light is strongly coloured: skin colour is a guess; white light gives a better one",
        ),
        Cause(line, 0.4 + 0.1 * hairy, dark_side),
        Cause(blind, 0.5, "the eyes look covered (dark glasses, hair): their shape is a guess"),
        Cause(mute, 0.5, "mouth and chin look covered (mask, hand, scarf): their shape is a guess"),
        Cause(
            odd,
            0.5,
            f"{100 * seen.unexplained:.0f} % of the face looks unlike skin in any light: it may be covered,"
            " or no face",
        ),
    )


def confidence(face: DetectedFace, spread_mm: float, seen: Conditions) -> float:
    """0..1: the detector's and the landmark net's opinions, less where landmarks and model disagree, the
    frame cuts the face, or the image makes it hard to judge.

    spread_mm: root mean square distance of the model's landmarks from the detected ones, mm.
    """
    agreement = 1.0 / (1.0 + (spread_mm / 4.0) ** 4)
    value = face.confidence * face.landmark_confidence * agreement * (1.0 - 0.5 * face.outside)
    for cause in causes(seen, face.confidence):
        value *= 1.0 - cause.loss * cause.strength
    return float(np.clip(np.nan_to_num(value), 0.0, 1.0))


def warnings_about(
    face: DetectedFace, camera: WeakPerspective, spread_mm: float, seen: Conditions
) -> tuple[str, ...]:
    """Warnings about this face; spread_mm as for `confidence`."""
    found: list[str] = []
    if face.truncated:
        found.append(f"the picture's frame cuts the face ({100 * face.outside:.0f} % of it lies outside)")
    if face.confidence * face.landmark_confidence < 0.65:
        found.append("this hardly looks like a whole face: it may be cut, covered, or no face")
    if face.size < 60:
        found.append(f"the face is small ({face.size:.0f} px); 100 px or more give a better shape")
    yaw = float(np.degrees(camera.yaw))
    if abs(yaw) > 55:
        found.append(f"the face is turned far ({yaw:.0f} degrees): its hidden side is a guess")
    if spread_mm > 4.0:
        found.append("model and landmarks disagree: the face may be covered, or no face")
    found += [cause.warning for cause in causes(seen, face.confidence) if cause.strength >= 0.5]
    return tuple(found)
