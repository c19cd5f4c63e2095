"""A head as one GLB: skin, eyes, mouth and lashes with one texture, and blendshapes, still or animated.

Tested by tests/facefolder/test_save.py and tests/tracking/test_capture.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facerelief.facefolder.texture import textured
from facerelief.geometry.mesh import Mesh
from facerelief.io.glb import Animation, Material, MorphTargets, Part, write_glb
from facerelief.io.write_images import encode_jpeg
from facerelief.morphable.model import FaceModel
from facerelief.typed import Float32

_PARTS = {
    "eyes": (("eyeballs",), 0.25),
    "teeth": (("teeth",), 0.35),
    "mouth": (("mouth", "gums", "tongue"), 0.45),
    "lashes": (("lashes",), 0.9),
}
"""Regions and roughness of the parts with a material of their own."""


def write_head_glb(
    path: str | Path,
    model: FaceModel,
    neutral: Float32,
    colors: Float32,
    texture: Float32 | None,
    weights: Float32 | None = None,
    animation: Animation | None = None,
    identity: Float32 | None = None,
) -> None:
    """Write one head.

    Args:
        path: File to be written.
        model: Face model with the topology, uv and blendshapes.
        neutral: (N, 3) shape without expression, model space, mm.
        colors: (N, 3) sRGB in [0, 1], used where there is no texture.
        texture: (S, S, 3) sRGB in [0, 1] in the model's uv, or None.
        weights: (E,) initial weights of the blendshapes; 0 unless given.
        animation: Tracks of weights and pose.
        identity: (K,) the shape's coefficients, for models whose blendshapes depend on them.

    Raises:
        OutputError: The file cannot be written.
    """
    if texture is None:
        mesh, image = Mesh(neutral, model.triangles, colors), None
    else:
        mesh, image = textured(model, neutral), encode_jpeg(texture)
    parts = [
        Part(chosen, Material(name, image, roughness=roughness, double_sided=name == "lashes"))
        for name, (regions, roughness) in _PARTS.items()
        if (chosen := np.asarray(model.region(*regions)[model.triangles].all(axis=1))).any()
    ]
    morphs = None
    if model.n_expression:
        shown = np.zeros(model.n_expression, np.float32) if weights is None else weights
        units = model.expression if identity is None else model.expression_of(identity)
        morphs = MorphTargets(model.expression_names, units.transpose(2, 0, 1), shown)
    skin = Material("skin", image)
    write_glb(path, mesh, material=skin, parts=parts, morphs=morphs, animation=animation, name="face")
