"""Blendshapes in a GLB file

Writes a head with 52 named ARKit morph targets and a short animation: the eyes blink and the mouth opens.
Blender, three.js and every other glTF reader play it; any recording of ARKit weights can drive it.

Features:
    * `MorphTargets` and `Animation` of the GLB writer
    * the model's blendshapes as per-vertex displacements in mm
    * any identity: here a random one
"""

import sys
from pathlib import Path

import numpy as np

import facerelief
from facerelief import Mesh
from facerelief.io import Animation, Material, MorphTargets, write_glb


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    model = facerelief.open_model()
    rng = np.random.default_rng(7)
    neutral = model.shape(rng.normal(0.0, 0.8, model.n_identity))
    mesh = Mesh(neutral, model.triangles, colors=np.clip(model.skin(), 0, 1))

    times = np.arange(50) / 25
    weights = np.zeros((len(times), model.n_expression), np.float32)
    column = {name: number for number, name in enumerate(model.expression_names)}
    blink = np.exp(-(((times - 0.4) / 0.08) ** 2))
    for name in ("eyeBlinkLeft", "eyeBlinkRight"):
        weights[:, column[name]] = blink
    weights[:, column["jawOpen"]] = 0.35 * (1 - np.cos(2 * np.pi * times / times[-1]))

    write_glb(
        out / "head.glb",
        mesh,
        material=Material("skin"),
        morphs=MorphTargets(
            model.expression_names,
            np.ascontiguousarray(model.expression.transpose(2, 0, 1)),
            np.zeros(model.n_expression, np.float32),
        ),
        animation=Animation(times.astype(np.float32), weights),
    )
    print(f"{out / 'head.glb'}: {model.n_vertices} vertices, {model.n_expression} morph targets, 2 s")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
