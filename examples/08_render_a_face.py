"""Rendering a face

Renders the open model under several lights and poses, and as depth and normals. The rasteriser needs no
graphics card; a view of this size takes milliseconds.

Features:
    * `WeakPerspective`: pixels per mm, angles in radians, y up in the model and down in the image
    * light as nine spherical-harmonic coefficients per colour channel
    * `render_depth` in mm, NaN off the surface; `normals_from_depth` in camera space
"""

import math
import sys
import time
from pathlib import Path

import numpy as np

import facerelief
from facerelief import Mesh, WeakPerspective
from facerelief.geometry import normals_from_depth
from facerelief.io import write_normals, write_png
from facerelief.rendering import ambient_light, directional_light, render_depth, rotate_light, shade_mesh

SIDE = 320


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    model = facerelief.open_model()
    vertices = model.shape(
        expression=model.expression_weights({"mouthSmileLeft": 0.6, "mouthSmileRight": 0.6})
    )
    mesh = Mesh(vertices, model.triangles, np.clip(model.skin(), 0, 1))
    camera = WeakPerspective(pitch=0.05, yaw=0.4, roll=0.0, translation_u=150, translation_v=150, scale=1.15)

    lamp = directional_light((-0.6, 0.5, 1.0), color=0.7) + ambient_light((0.35, 0.35, 0.35))
    turned = WeakPerspective(0.0, math.radians(120), 0.0, 0.0, 0.0, 1.0).rotation
    lights = {"studio": None, "lamp": lamp, "lamp turned": rotate_light(lamp, turned), "clay": None}
    views: list[np.ndarray] = []
    for name, light in lights.items():
        started = time.perf_counter()
        color = (0.75, 0.75, 0.75) if name == "clay" else None
        image, coverage = shade_mesh(mesh, camera, SIDE, SIDE, light=light, color=color)
        print(f"{name}: {coverage.mean():.0%} covered, {1e3 * (time.perf_counter() - started):.0f} ms")
        views.append(image)
    write_png(out / "lights.png", np.hstack(views))

    depth = render_depth(vertices, model.triangles, camera, SIDE, SIDE)
    write_normals(out / "normals.png", normals_from_depth(depth, camera.scale))
    np.save(out / "depth.npy", depth)
    print(f"depth from {np.nanmin(depth):.0f} to {np.nanmax(depth):.0f} mm")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
