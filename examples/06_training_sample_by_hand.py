"""One training sample, made by hand

Makes labelled images the way the data engine does, in forty lines: random identity, expression, pose,
skin and light, rendered over a background, with the exact labels beside. `facerelief synthesize` does
this, and much more, in bulk.

Features:
    * every label is known exactly: pose, coefficients, light, 68 landmarks, depth per pixel
    * one seed gives the same bytes
"""

import math
import sys
from pathlib import Path

import numpy as np

import facerelief
from facerelief import Mesh, WeakPerspective
from facerelief.io import write_png
from facerelief.rendering import ambient_light, directional_light, render_depth, shade_mesh

SIDE = 256


def main(out: Path, count: int = 3, seed: int = 0) -> None:
    out.mkdir(parents=True, exist_ok=True)
    model = facerelief.open_model()
    skin_only = model.triangles[~model.region("eyeballs")[model.triangles].any(axis=1)]
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        identity = rng.normal(0.0, 0.7, model.n_identity).astype(np.float32)
        expression = model.expression_weights(
            {"jawOpen": rng.uniform(0, 0.5), "browInnerUp": rng.uniform(0, 0.8)}
        )
        albedo = rng.normal(0.0, 0.7, model.n_albedo).astype(np.float32)
        pitch, yaw, roll = np.radians(rng.normal(0.0, [8, 20, 5]))
        camera = WeakPerspective(pitch, yaw, roll, SIDE / 2, SIDE / 2, scale=1.0)
        vertices = model.shape(identity, expression)
        centre = camera.project(model.landmarks["ibug68"].of(vertices))[:, :2].mean(axis=0)
        camera = WeakPerspective(pitch, yaw, roll, SIDE - centre[0], SIDE - centre[1], scale=1.0)
        key = (rng.normal(), abs(rng.normal()), 1.0)
        light = directional_light(key, color=0.6) + ambient_light((0.45, 0.45, 0.45))

        mesh = Mesh(vertices, model.triangles, np.clip(model.skin(albedo), 0, 1))
        backdrop = np.ones((SIDE, SIDE, 3)) * rng.uniform(0.2, 0.9, 3)
        image, _ = shade_mesh(mesh, camera, SIDE, SIDE, light=light, background=backdrop)
        landmarks = camera.project(model.landmarks["ibug68"].of(vertices))[:, :2]
        write_png(out / f"{number:03d}.png", image)
        np.savez_compressed(
            out / f"{number:03d}.npz",
            camera=camera.vector,
            identity=identity,
            expression=expression,
            albedo=albedo,
            light=light,
            landmarks68=landmarks,
            depth=render_depth(vertices, skin_only, camera, SIDE, SIDE),
        )
        print(f"{number:03d}: yaw {math.degrees(yaw):5.1f} degrees, chin at {landmarks[8].round(1)} px")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
