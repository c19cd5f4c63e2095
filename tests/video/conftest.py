"""Films made on the spot, each frame telling its number by its colours."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest
from clips import HEIGHT, WIDTH, frame_image, silence

ClipMaker = Callable[..., Path]


@pytest.fixture
def clip(tmp_path: Path) -> ClipMaker:
    """clip(name, frames=12, ...): encode `frame_image`s; options are those of the encoder."""

    def make(
        name: str,
        frames: int = 12,
        *,
        width: int = WIDTH,
        height: int = HEIGHT,
        fps: int = 25,
        codec: str = "libx264",
        container: str | None = None,
        movflags: str = "",
        aspect: Fraction | None = None,
        sound: bool = False,
        **options: str,
    ) -> Path:
        path = tmp_path / name
        flags = {"movflags": movflags} if movflags else {}
        with av.open(str(path), "w", format=container, options=flags) as file:
            usual = {"crf": "16", "g": "12"} if codec == "libx264" else {"b": "3M"}
            stream = file.add_stream(codec, rate=fps, options=usual | options)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            if aspect is not None:
                stream.codec_context.sample_aspect_ratio = aspect
            tone = file.add_stream("aac", rate=16000) if sound else None
            for i in range(frames):
                file.mux(stream.encode(av.VideoFrame.from_ndarray(frame_image(i, width, height), "rgb24")))
            file.mux(stream.encode(None))
            if tone is not None:
                file.mux(tone.encode(silence()))
                file.mux(tone.encode(None))
        return path

    return make
