"""`facerelief edit`: a photo rendered anew with another pose, expression and light."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg

from facerelief.cli import options
from facerelief.cli.console import UsageError, check_free, say


@dataclass(frozen=True)
class Edit:
    """Re-render a photo with another pose, expression and light.

    Hair and background follow. What is not given stays as in the photo. Angles up to 30 degrees from the
    photo's look best.

    Examples:
        facerelief edit out/photo/face0 -o smile.png -e smile=0.8 --turn-yaw 15
        facerelief edit out/photo/face0 -o left.jpg --light from-left
    """

    folder: Annotated[options.Argument, arg(metavar="FACE")]
    """A face folder made by reconstruct, such as out/photo/face0."""
    out: options.OutFile
    """The image to write: .png or .jpg."""
    yaw: options.Degrees | None = None
    """Look to the image's right, degrees; 0 is straight."""
    pitch: options.Degrees | None = None
    """Look down, degrees; 0 is straight."""
    roll: options.Degrees | None = None
    """Tilt counter-clockwise, degrees; 0 is upright."""
    turn_yaw: options.Degrees = 0.0
    """Add to the photo's yaw."""
    turn_pitch: options.Degrees = 0.0
    """Add to the photo's pitch."""
    turn_roll: options.Degrees = 0.0
    """Add to the photo's roll."""
    distance: Annotated[float | None, options.Range(20), arg(metavar="CM")] = None
    """Move the camera to this distance, cm; inf is as seen from afar. The face keeps its size."""
    expression: Annotated[options.Names, arg(aliases=("-e",), metavar="NAME=WEIGHT")] = ()
    """smile, frown, blink, open-mouth, surprise, ... or one of the model's own, such as jawOpen; weight 0 to
    1, 1 unless given."""
    neutral: bool = False
    """Remove the photo's own expression first."""
    light: Annotated[str | None, arg(metavar="NAME")] = None
    """from-left, from-right (of the image), from-above, from-below, frontal, flat, or rotate:DEG to turn the
    photo's own light to the right."""
    no_background: bool = False
    """Only the face, on black."""
    model: options.Model | None = None
    """The face model that the face was made with; unless given, the embedded one that its face.json names."""
    overwrite: options.Overwrite = False

    def run(self) -> None:
        png = options.image_suffix(self.out) == ".png"
        check_free(self.out, self.overwrite)
        weights = dict(_named_weight(text) for text in self.expression)

        from facerelief.facefolder.load import load_reconstruction
        from facerelief.io.atomic import write_bytes
        from facerelief.io.write_images import encode_jpeg, encode_png
        from facerelief.synthesis import edit

        angles = {
            name: None if degrees is None else math.radians(degrees)
            for name, degrees in (("yaw", self.yaw), ("pitch", self.pitch), ("roll", self.roll))
        }
        made = edit(
            load_reconstruction(self.folder, self.model),
            **angles,
            turn=(math.radians(self.turn_pitch), math.radians(self.turn_yaw), math.radians(self.turn_roll)),
            expression=weights,
            neutral=self.neutral,
            light=self.light,
            background=not self.no_background,
            distance=None if self.distance is None else 10 * self.distance,
        )
        write_bytes(self.out, encode_png(made.image) if png else encode_jpeg(made.image, 97, full_color=True))
        c = made.camera
        pose = " ".join(f"{n} {math.degrees(a):+.0f}" for n, a in zip(("pitch", "yaw", "roll"), c.vector[:3]))
        say(f"{self.out}: {made.image.shape[1]} x {made.image.shape[0]} px, {pose} deg")


def _named_weight(text: str) -> tuple[str, float]:
    """NAME=WEIGHT, or NAME for weight 1. Raises UsageError."""
    name, equals, weight = text.partition("=")
    try:
        return name.strip(), float(weight) if equals else 1.0
    except ValueError:
        raise UsageError(f"--expression {text}: expected NAME=WEIGHT, such as smile=0.8") from None
