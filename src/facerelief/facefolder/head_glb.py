"""A head as one GLB: skin and eyes with their texture, the model's blendshapes, still or moving."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facerelief.facefolder.texture import textured
from facerelief.geometry.mesh import Mesh
from facerelief.io.glb import Animation, Material, MorphTargets, Part, write_glb
from facerelief.io.write_images import encode_jpeg
from facerelief.morphable.model import FaceModel
from facerelief.typed import Float32


def write_head_glb(
    path: str | Path,
    model: FaceModel,
    neutral: Float32,
    colors: Float32,
    texture: Float32 | None,
    weights: Float32 | None = None,
    animation: Animation | None = None,
) -> None:
    """Write one head.

    neutral (N, 3) mm, without expression; colors (N, 3) sRGB of the vertices, shown where there is no texture
    (S, S, 3) in the model's uv; weights (E,) of the blendshapes at opening, 0 unless given. Raises
    OutputError.
    """
    if texture is None:
        mesh, picture = Mesh(neutral, model.triangles, colors), None
    else:
        mesh, picture = textured(model, neutral), encode_jpeg(texture)
    parts: list[Part] = []
    if "eyeballs" in model.regions:
        eyes = np.asarray(model.regions["eyeballs"][model.triangles].all(axis=1))
        parts.append(Part(eyes, Material("eyes", picture, roughness=0.25)))
    morphs = None
    if model.n_expression:
        shown = np.zeros(model.n_expression, np.float32) if weights is None else weights
        morphs = MorphTargets(model.expression_names, model.expression.transpose(2, 0, 1), shown)
    skin = Material("skin", picture)
    write_glb(path, mesh, material=skin, parts=parts, morphs=morphs, animation=animation, name="face")
