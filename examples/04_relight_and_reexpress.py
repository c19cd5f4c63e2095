"""Another pose, expression and light for a photo

Re-renders a photo with changed pose, expression and light. Hair and background follow; visible parts keep
the photo's own detail.

Features:
    * `Editor` prepares a photo once and renders many variations
    * named expressions and lights (`EXPRESSIONS`, `LIGHTS`), or coefficients of your own
    * an edit of a reconstruction is a reconstruction again
"""

import math
import sys
from pathlib import Path

import numpy as np

import facerelief
from facerelief.examples import astronaut_path
from facerelief.io import write_png
from facerelief.synthesis import Editor


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    face = facerelief.reconstruct(astronaut_path())[0]
    editor = Editor(face)
    variations = {
        "photo": face,
        "turned": editor.edit(yaw=face.camera.yaw + math.radians(25)),
        "surprised": editor.edit(expression={"surprise": 0.9}),
        "lit_from_left": editor.edit(light="from-left"),
        "all": editor.edit(turn=(0.0, math.radians(-20), 0.0), expression={"smile": 0.8}, light="from-above"),
    }
    for name, changed in variations.items():
        write_png(out / f"{name}.png", changed.image)
    write_png(out / "sheet.png", np.hstack([changed.image for changed in variations.values()]))
    print(f"{', '.join(variations)}: side by side in {out / 'sheet.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
