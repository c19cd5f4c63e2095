"""Common parts of video files and cameras."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from facerelief.typed import Image

NOMINAL_FPS = 30.0
"""Frames a second of a source that states no rate."""


@dataclass(frozen=True, eq=False)
class DecodedFrame:
    """A decoded frame; `image()` converts it to RGB (H, W, 3), or gives None where that fails."""

    number: int
    time: float
    """Seconds."""
    image: Callable[[], Image | None]


class Source(Protocol):
    """A source of frames."""

    name: str
    fps: float
    count: int | None

    @property
    def notes(self) -> list[str]:
        """Lines about failures up to here."""
        ...

    def frames(self) -> Iterator[DecodedFrame]:
        """The frames, once, upright."""
        ...

    def close(self) -> None:
        """Release the file or the device."""
        ...


def usual_rate(rate: Any) -> float | None:
    """A rate in frames a second; None for implausible ones (browsers' recordings state 1000)."""
    value = float(rate or 0.0)
    return value if math.isfinite(value) and 0.01 <= value <= 480 else None
