"""Photo to mesh

Reconstructs every face of a photo and saves each as a folder of files: meshes (OBJ, PLY), an animated-
ready head (GLB), depth, normals, texture, numbers (face.json) and a preview.

Features:
    * `facerelief.reconstruct` takes a file name or an RGB array
    * `Reconstruction` holds pose, identity, expression, albedo, light and relief
    * `save` writes a face folder, whole or not at all
"""

import math
import sys
from pathlib import Path

import facerelief
from facerelief.examples import astronaut_path


def main(out: Path) -> None:
    faces = facerelief.reconstruct(astronaut_path())
    for number, face in enumerate(faces):
        camera = face.camera
        print(f"face {number}: confidence {face.confidence:.2f}, method {face.method}")
        print(f"  yaw {math.degrees(camera.yaw):.1f} degrees, {camera.scale:.2f} px per mm")
        print(f"  {len(face.vertices)} vertices, {face.warnings or 'no warnings'}")
        print(f"  saved in {face.save(out / f'face{number}', overwrite=True)}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
