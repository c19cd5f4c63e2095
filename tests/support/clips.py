"""Small clips: content of their frames and places of their packets."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT = 96, 64


def frame_image(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """(height, width, 3) uint8: a slope that differs from frame to frame."""
    v, u = np.mgrid[:height, :width]
    red = (20 + 10 * number) % 200 + 0 * u
    return np.stack([red, 40 + 150 * v / height, 40 + 150 * u / width], axis=2).astype(np.uint8)


def number_of(image: np.ndarray) -> int:
    """The number of a frame under 18, from its colours."""
    return round((float(np.median(image[:, :, 0])) - 20) / 10)


def silence(samples: int = 1024) -> av.AudioFrame:
    """A little sound without a tone."""
    frame = av.AudioFrame.from_ndarray(np.zeros((1, samples), np.float32), format="fltp", layout="mono")
    frame.sample_rate, frame.pts = 16000, 0
    return frame


def packets(path: Path) -> list[tuple[int, int]]:
    """(place, size) of the clip's packets in the file, in coding order."""
    with av.open(str(path)) as file:
        return [(p.pos, p.size) for p in file.demux(file.streams.video[0]) if p.size and p.pos is not None]
