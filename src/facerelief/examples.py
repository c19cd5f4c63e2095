"""Images that come with the package. `python -m facerelief.examples` prints the path of the portrait."""

from __future__ import annotations

from pathlib import Path


def astronaut_path() -> Path:
    """A 512 x 512 px portrait of astronaut Eileen Collins (NASA, public domain), a JPEG file."""
    return Path(__file__).resolve().parent / "data" / "examples" / "astronaut.jpg"


if __name__ == "__main__":
    print(astronaut_path())
