"""Confidence of a reconstruction, and warnings to its user."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from facerelief.detection import DetectedFace
from facerelief.geometry.camera import WeakPerspective
from facerelief.inverse.conditions import Conditions


@dataclass(frozen=True)
class Cause:
    """One thing that makes a reconstruction less certain."""

    strength: float
    """0 where the cause is absent, 1 where it is strongest; from 0.5 on the user is warned."""
    loss: float
    """Share of confidence lost at strength 1, in [0, 1)."""
    warning: str
    """One line: the cause and what it means or what to do."""


def rising(value: float, start: float, full: float) -> float:
    """Smoothstep: 0 up to `start`, 1 from `full` on, monotonic between; falls where `full` < `start`."""
    t = float(np.clip((value - start) / (full - start), 0.0, 1.0))
    return t * t * (3.0 - 2.0 * t)


@dataclass(frozen=True)
class NetAgreement:
    """CoarseNet's face beside the detector's."""

    stated_mm: float
    """Error that the network states, mm."""
    spread_mm: float
    """Root mean square distance of its landmarks from the detected ones, mm."""
    yaw_apart: float
    """Difference of its yaw from that of the mean face posed by the detected landmarks, radians."""

    def disagreement(self, score: float) -> float:
        """0 for a face seen whole, 1 for one of which half is covered: then the detector's score falls, and
        detector and network guess the hidden half in different ways, mostly as a face turned away.

        Of 154 photos of six collections 2 % reach 0.5, of copies with half of the face painted over 96 %.
        The shipped networks state errors of 2.5 to 3.3 mm for whole faces; other networks need other bounds.
        """
        parts = (
            rising(self.stated_mm, 3.3, 4.4),
            rising(self.spread_mm, 2.2, 3.8),
            rising(math.degrees(abs(self.yaw_apart)), 3.0, 12.0),
            rising(score, 0.88, 0.74),
        )
        return min(0.5 * sum(parts), 1.0)


def causes(seen: Conditions, score: float = 0.9, net: NetAgreement | None = None) -> tuple[Cause, ...]:
    """All causes that are looked for, with their strength in this image.

    The thresholds lie between ordinary portraits, nearly all of which must pass, and degraded copies of them;
    `benchmarks/conditions.py` counts both.

    Args:
        seen: Conditions under which the photo shows the face.
        score: Confidence of the face detector, 0..1: lower for covered mouths but not for bearded ones.
        net: CoarseNet beside the detector, where it gave the face.
    """
    if not seen.pixels:
        return (Cause(1.0, 0.8, "hardly any skin is visible: the face is uncertain"),)
    # white and black pixels, grey as well, have a warning of their own
    plain = rising(seen.chroma, 0.018, 0.006) * (1.0 - rising(seen.clipped, 0.2, 0.5))
    dark = rising(seen.brightness, 0.28, 0.08)
    cast = rising(seen.cast, 0.0, 0.4)
    # lenses are like large dark eyes: only much darker regions count
    blind = rising(seen.eyes_darker, 0.35, 1.0) * rising(seen.eyes, 0.60, 0.30)
    # glasses, masks and shadows all have edges and lower the score: one must not set off another's warning
    doubt = 3.0 * float(np.clip(score - 0.9, -0.1, 0.1)) * (1.0 - blind) * (1.0 - max(dark, cast))
    flat = 4.0 * min(seen.mouth_contrast - 0.1, 0.0)
    gaudy = -0.2 * rising(seen.chroma, 0.12, 0.22)
    lips = seen.mouth + doubt + (flat + gaudy) * (1.0 - dark)
    sided = rising(seen.shaded, 0.14, 0.26)
    hard = rising(seen.edge, 0.75, 1.0) * sided * (1.0 - blind) * rising(lips, -0.3, -0.1)
    # in profile the mouth has little contrast, and cheeks end in edges of their own
    front = 1.0 - 0.6 * rising(seen.turned, 0.35, 0.65)
    mute = rising(lips, 0.30, -0.10) * (1.0 - hard) * front * (1.0 - 0.5 * max(dark, cast))
    line = rising(seen.edge, 0.42, 0.82) * sided * front * (1.0 - blind) * (1.0 - mute)
    hairy = rising(seen.grain, 1.4, 3.0)
    share = f"{100 * seen.shaded:.0f} % of the face"
    if hairy > 0.75:
        dark_side = f"about {share} looks covered (hair, hand): its shape there is uncertain"
    else:
        what = "strong shadow" if hairy < 0.25 else "strong shadow, or hair,"
        dark_side = f"{what} over {share}: relief there and along its edge may be wrong; use softer light"
    odd = rising(seen.unexplained, 0.4, 0.65) * (1.0 - max(line, blind, mute))
    half = 0.0 if net is None else net.disagreement(score) * (1.0 - max(blind, mute, odd))
    return (
        Cause(plain, 0.1, "the image is grey or toned: skin colour is uncertain"),
        Cause(
            rising(seen.clipped, 0.0, 0.2),
            0.8,
            f"the face is over-exposed ({100 * seen.clipped:.0f} % of it is white): no relief is visible;"
            " take the photo with less exposure",
        ),
        Cause(
            dark,
            0.5,
            f"the face is very dark (brightness {100 * seen.brightness:.0f} %): little relief is visible;"
            " take the photo with more light",
        ),
        Cause(
            cast,
            0.3,
            "the light is strongly coloured: skin colour is uncertain; use white light",
        ),
        Cause(line, 0.4 + 0.1 * hairy, dark_side),
        Cause(blind, 0.5, "the eyes look covered (dark glasses, hair): their shape is uncertain"),
        Cause(mute, 0.5, "mouth and chin look covered (mask, hand, scarf): their shape is uncertain"),
        Cause(half, 0.5, "a large part of the face looks covered or cut: pose and hidden side are uncertain"),
        Cause(
            odd,
            0.5,
            f"{100 * seen.unexplained:.0f} % of the face looks unlike skin in any light: it may be covered,"
            " or no face",
        ),
    )


def confidence(
    face: DetectedFace, spread_mm: float, seen: Conditions, net: NetAgreement | None = None
) -> float:
    """Confidence in a face, 0..1: the product of detector's and landmark network's confidence, lowered where
    landmarks and model disagree, the frame cuts the face, or the image gives one of the `causes`.

    Args:
        face: The detected face.
        spread_mm: Root mean square distance of the model's landmarks from the detected ones, mm.
        seen: Conditions under which the photo shows the face.
        net: As for `causes`.
    """
    agreement = 1.0 / (1.0 + (spread_mm / 4.0) ** 4)
    value = face.confidence * face.landmark_confidence * agreement * (1.0 - 0.5 * face.outside)
    for cause in causes(seen, face.confidence, net):
        value *= 1.0 - cause.loss * cause.strength
    return float(np.clip(np.nan_to_num(value), 0.0, 1.0))


def warnings_about(
    face: DetectedFace,
    camera: WeakPerspective,
    spread_mm: float,
    seen: Conditions,
    net: NetAgreement | None = None,
) -> tuple[str, ...]:
    """Warnings about a face, one line each.

    Args:
        face: The detected face.
        camera: Its pose.
        spread_mm: As for `confidence`.
        seen: Conditions under which the photo shows the face.
        net: As for `causes`.
    """
    found: list[str] = []
    if face.truncated:
        found.append(f"the image's frame cuts the face ({100 * face.outside:.0f} % of it lies outside)")
    if face.confidence * face.landmark_confidence < 0.65:
        found.append("detector and landmarks are unsure of this face: it may be cut, covered, or no face")
    if face.size < 60:
        found.append(f"the face is small ({face.size:.0f} px); 100 px or more give a better shape")
    yaw = float(np.degrees(camera.yaw))
    if abs(yaw) > 55:
        found.append(f"the face is turned far ({yaw:.0f} degrees): the shape of its hidden side is uncertain")
    if spread_mm > 4.0:
        found.append("model and landmarks disagree: the face may be covered, or no face")
    found += [cause.warning for cause in causes(seen, face.confidence, net) if cause.strength >= 0.5]
    return tuple(found)
