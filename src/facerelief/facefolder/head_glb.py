"""A head as one GLB: skin, eyes, mouth, lashes; texture and normal map; joints and blendshapes.

Tested by tests/facefolder/test_head_glb.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from facerelief.facefolder.maps import HeadMaps
from facerelief.facefolder.skeleton import head_skeleton
from facerelief.facefolder.texture import textured
from facerelief.geometry.mesh import Mesh
from facerelief.io.glb import Animation, Material, MorphTargets, Part, encode_glb
from facerelief.io.write_images import encode_jpeg, encode_map
from facerelief.morphable.model import FaceModel
from facerelief.morphable.named_expressions import AVATAR_KEYS, VISEMES
from facerelief.typed import Float32

_PARTS = {
    "eyes": (("eyeballs",), 0.1),
    "teeth": (("teeth",), 0.2),
    "mouth": (("mouth", "gums", "tongue", "eye_sockets"), 0.35),
    "lashes": (("lashes",), 0.9),
}
"""Regions and roughness of the parts with a material of their own: eyes, teeth and mouth are wet."""
_SKIN = 0.55
"""Roughness of skin."""
_LEAST_MM = 0.01
"""Displacements below this are left out of the morph targets."""


@dataclass(frozen=True)
class GlbOptions:
    """Optional parts of face.glb."""

    visemes: bool = False
    """Also write 15 Oculus visemes, mouthOpen, mouthSmile, eyesClosed, eyesLookUp and eyesLookDown as morph
    targets."""
    morph_normals: bool = True
    """Write the change of the normals by each morph target."""
    normal_map: bool = True
    """Write the relief as a normal map."""
    identity_strength: float = 1.0
    """Factor of the shape's distance from the mean face, here and in displaced.glb; the skin stays the
    photo's."""


def encode_head_glb(
    model: FaceModel,
    neutral: Float32,
    maps: HeadMaps,
    *,
    weights: Float32 | None = None,
    animation: Animation | None = None,
    identity: Float32 | None = None,
    options: GlbOptions | None = None,
) -> bytes:
    """One head as the bytes of a .glb file.

    Args:
        model: Face model with the topology, uv and blendshapes.
        neutral: (N, 3) shape without expression, model space, mm.
        maps: Colours and normal map.
        weights: (E,) initial weights of the blendshapes; 0 unless given.
        animation: Tracks of weights (F, E) and pose.
        identity: (K,) the shape's coefficients, for models whose blendshapes depend on them.
        options: Optional parts.
    """
    options = options or GlbOptions()
    image = normals = None
    mesh = Mesh(neutral, model.triangles, maps.colors)
    if maps.texture is not None:
        mesh, image = textured(model, neutral), encode_jpeg(maps.texture)
        if maps.normal_map is not None and options.normal_map:
            normals = encode_map(maps.normal_map)
    parts = [
        Part(chosen, Material(name, image, roughness=roughness, double_sided=name in ("lashes", "mouth")))
        for name, (regions, roughness) in _PARTS.items()
        if (chosen := np.asarray(model.region(*regions)[model.triangles].all(axis=1))).any()
    ]
    morphs, jaw_open = None, None
    if model.n_expression:
        shown = np.zeros(model.n_expression, np.float32) if weights is None else weights
        units = model.expression if identity is None else model.expression_of(identity)
        morphs = MorphTargets(model.expression_names, np.ascontiguousarray(units.transpose(2, 0, 1)), shown)
        if "jawOpen" in model.expression_names:
            jaw_open = units[:, :, model.expression_names.index("jawOpen")]
        if options.visemes:
            morphs, animation = _with_mixes(morphs, animation, {**VISEMES, **AVATAR_KEYS})
    return encode_glb(
        mesh,
        material=Material("skin", image, roughness=_SKIN, normal_texture=normals),
        parts=parts,
        morphs=morphs,
        animation=animation,
        name="face",
        skeleton=head_skeleton(model, neutral, jaw_open),
        morph_normals=options.morph_normals,
        epsilon_mm=_LEAST_MM,
    )


def _with_mixes(
    morphs: MorphTargets, animation: Animation | None, mixes: Mapping[str, Mapping[str, float]]
) -> tuple[MorphTargets, Animation | None]:
    """Morph targets with further ones that are weighted sums of them, at weight 0; mixes that need a missing
    one are left out."""
    index = {name: i for i, name in enumerate(morphs.names)}
    known = {name: mix for name, mix in mixes.items() if all(part in index for part in mix)}
    shares = np.zeros((len(known), len(index)), np.float32)
    for row, mix in zip(shares, known.values()):
        for part, share in mix.items():
            row[index[part]] = share
    flat = morphs.deltas.reshape(len(index), -1)
    more = (shares @ flat).reshape(-1, *morphs.deltas.shape[1:])
    wider = MorphTargets(
        (*morphs.names, *known),
        np.concatenate([morphs.deltas, more]),
        np.append(morphs.weights, np.zeros(len(known), np.float32)),
    )
    if animation is not None and animation.weights is not None:
        still = np.zeros((len(animation.times), len(known)))
        animation = replace(animation, weights=np.concatenate([animation.weights, still], axis=1))
    return wider, animation
