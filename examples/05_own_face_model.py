"""A face model of your own

Adds a blendshape to the open model, keeps 40 of its identity components, saves the result and
reconstructs a photo with it. A model is plain arrays, so a basis learned elsewhere goes in the same way.

Features:
    * `FaceModel` is a frozen dataclass: change it with `dataclasses.replace`
    * `save_model` and `load_model` keep it in one .npz file
    * `reconstruct(..., model=...)` fits any model that has landmarks
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

import facerelief
from facerelief import FaceModel
from facerelief.examples import astronaut_path


def with_nose_wider(model: FaceModel) -> FaceModel:
    """The model with one blendshape more: both wings of the nose move outward by up to 3 mm."""
    points = model.landmarks["ibug68"].of(model.mean)
    delta = np.zeros((model.n_vertices, 3), np.float32)
    for wing in (points[31], points[35]):  # the wings of the nose
        nearness = np.exp(-(np.linalg.norm(model.mean - wing, axis=1) ** 2) / (2 * 6.0**2))
        delta[:, 0] += 3.0 * np.sign(wing[0]) * nearness
    return replace(
        model,
        name="wide-nose",
        expression=np.concatenate([model.expression, delta[:, :, None]], axis=2),
        expression_names=(*model.expression_names, "noseWider"),
    )


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    file = out / "wide-nose.npz"
    facerelief.save_model(with_nose_wider(facerelief.open_model().truncated(identity=40)), file)
    model = facerelief.load_model(file)
    print(f"{model.name}: {model.n_identity} identity components, {model.n_expression} blendshapes")
    face = facerelief.reconstruct(astronaut_path(), model=file)[0]
    weights = dict(zip(model.expression_names, face.expression.tolist(), strict=True))
    print(f"method {face.method}, noseWider {weights['noseWider']:.2f}, jawOpen {weights['jawOpen']:.2f}")
    face.save(out / "face0", overwrite=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
