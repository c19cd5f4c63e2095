"""Inverse rendering, step by step

Runs the stages of `--method fit` one after the other and saves an image of each: detection, the fit to
landmarks, the fit to pixels, relief by shape from shading. A start for experiments with one stage.

Features:
    * `fit_landmarks`: pose, identity and expression from 478 points
    * `fit_photometric`: shape, skin colour and light from the pixels
    * `find_detail`: relief and the photo's own albedo; `ReliefConfig` has its weights
"""

import sys
from pathlib import Path

import numpy as np

import facerelief
from facerelief import Mesh
from facerelief.examples import astronaut_path
from facerelief.geometry import depth_to_mesh
from facerelief.inverse import FaceState, fit_landmarks, fit_photometric
from facerelief.inverse.detail import find_detail
from facerelief.io import write_ply, write_png
from facerelief.rendering import overlay, shade_mesh


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    model = facerelief.open_model()
    image = facerelief.read_image(astronaut_path())
    height, width = image.shape[:2]

    def save(name: str, state: FaceState) -> None:
        mesh = Mesh(model.shape(state.identity, state.expression), model.triangles)
        render, coverage = shade_mesh(mesh, state.camera, height, width, background=image)
        write_png(out / f"{name}.png", overlay(image, render, coverage, alpha=0.8))

    detected = facerelief.detect_faces(image, max_faces=1)[0]
    print(f"1 detection: box {np.round(detected.box)}, confidence {detected.confidence:.2f}")

    first = fit_landmarks(model, detected.landmarks)
    print(f"2 landmarks: {first.rms_px:.2f} px rms")
    save("2_landmarks", first.state)

    second = fit_photometric(model, image, detected.box, detected.landmarks, first)
    change = np.abs(second.state.identity - first.state.identity).max()
    print(f"3 pixels: identity changes by at most {change:.2f} standard deviations")
    save("3_pixels", second.state)

    detail = find_detail(model, image, second.state, second.appearance)
    relief = detail.fine.depth - detail.coarse.depth
    print(f"4 relief: {np.nanstd(relief):.3f} mm standard deviation")
    patch = detail.fine
    surface = depth_to_mesh(patch.depth, second.state.camera, patch.left, patch.top)
    write_ply(out / "4_detail.ply", surface)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
