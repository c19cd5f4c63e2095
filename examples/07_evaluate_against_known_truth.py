"""Evaluation against a known shape

Renders heads whose exact shape is known, reconstructs each image by networks and by inverse rendering, and
measures the distance to the truth in mm. The mean face is the baseline. `facerelief evaluate truth` is the
same idea as a benchmark, with another model's heads.

Features:
    * `ReconstructorConfig("fit")` and `("net")` choose the method
    * `procrustes` (Umeyama) aligns before the distance is taken, since one image does not show a head's size
"""

import sys
from pathlib import Path

import numpy as np

import facerelief
from facerelief import Mesh, Reconstructor, ReconstructorConfig, WeakPerspective
from facerelief.geometry import procrustes
from facerelief.io import write_png
from facerelief.rendering import ambient_light, directional_light, shade_mesh

SIDE = 400
METHODS = ("net", "fit")


def error_mm(shape: np.ndarray, truth: np.ndarray) -> float:
    """Mean distance of corresponding points (N, 3), mm, after the best similarity."""
    return float(np.linalg.norm(procrustes(shape, truth).apply(shape) - truth, axis=1).mean())


def main(out: Path, heads: int = 2, seed: int = 3) -> None:
    out.mkdir(parents=True, exist_ok=True)
    model = facerelief.open_model()
    face = model.region("narrow_face")
    reconstructors = {name: Reconstructor("open", ReconstructorConfig(name, max_faces=1)) for name in METHODS}
    errors: dict[str, list[float]] = {name: [] for name in ("mean face", *METHODS)}
    for number in range(heads):
        rng = np.random.default_rng([seed, number])
        truth = model.shape(
            rng.normal(0.0, 0.9, model.n_identity), model.expression_weights({"jawOpen": 0.1})
        )
        mesh = Mesh(truth, model.triangles, np.clip(model.skin(rng.normal(0.0, 0.7, model.n_albedo)), 0, 1))
        camera = WeakPerspective(0.0, float(rng.uniform(-0.5, 0.5)), 0.0, SIDE / 2, SIDE * 0.45, scale=1.6)
        light = directional_light((rng.normal(), 0.5, 1.0), color=0.6) + ambient_light((0.5, 0.5, 0.5))
        image, _ = shade_mesh(mesh, camera, SIDE, SIDE, light=light, background=(0.55, 0.6, 0.65))
        write_png(out / f"head{number}.png", image)
        errors["mean face"].append(error_mm(model.mean[face], truth[face]))
        for name, reconstructor in reconstructors.items():
            found = reconstructor(image)[0]
            errors[name].append(error_mm(found.vertices[face], truth[face]))
    for name, values in errors.items():
        print(f"{name:>9}: {np.mean(values):.2f} mm on {len(values)} heads")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
