"""Writer of a face folder: every file of the output contract, or none."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from facerelief.errors import FacereliefError
from facerelief.face.reconstruction import DepthPatch, Reconstruction
from facerelief.facefolder.displaced import encode_displaced_glb
from facerelief.facefolder.face_json import FaceParameters, encode_face_json, write_face_json
from facerelief.facefolder.head_glb import GlbOptions, encode_head_glb
from facerelief.facefolder.maps import HeadMaps, encode_displacement, head_maps
from facerelief.facefolder.preview import preview
from facerelief.facefolder.strengths import with_identity_strength
from facerelief.facefolder.texture import appearance, textured
from facerelief.geometry.depth import camera_normals, depth_to_mesh
from facerelief.geometry.mesh import Mesh
from facerelief.io.atomic import atomic_folder, write_bytes
from facerelief.io.obj import ObjMaterial, write_mtl, write_obj
from facerelief.io.ply import write_ply
from facerelief.io.write_images import (
    encode_jpeg,
    encode_map,
    encode_normals,
    write_depth,
    write_png,
)
from facerelief.typed import Float32

PHOTO = "photo.jpg"
"""The upright image, JPEG of quality 97 without chroma subsampling."""
MARKER = "face.json"
"""The file that identifies a folder as a saved face."""
NORMAL_MAP, DISPLACEMENT = "normal_map.png", "displacement.png"
FILES = {
    "json": "face.json",
    "obj": "coarse.obj, neutral.obj, face.mtl, texture.png",
    "glb": "face.glb",
    "ply": "detail.ply",
    "depth": "depth.npy, depth_coarse.npy, normals.png",
    "texture": "texture.png, normal_map.png, displacement.png",
    "preview": "preview.png",
    "photo": "photo.jpg",
    "displaced": "displaced.glb",
}
"""Name of a choice -> its files."""
DEFAULT_FILES = tuple(name for name in FILES if name != "displaced")
_MATERIAL = ObjMaterial("face.mtl", "texture.png")


def save_reconstruction(
    reconstruction: Reconstruction,
    folder: str | Path,
    *,
    overwrite: bool = False,
    texture_size: int = 2048,
    files: Sequence[str] | None = None,
    glb: GlbOptions | None = None,
    maps: HeadMaps | None = None,
) -> Path:
    """Write one face into a folder, whole or not at all.

    The files: face.json, coarse.obj, neutral.obj, face.mtl, face.glb, detail.ply, depth.npy,
    depth_coarse.npy, normals.png, texture.png, normal_map.png, displacement.png, preview.png, photo.jpg.
    Where the method found no relief, detail.ply, depth.npy and normals.png hold the model's surface,
    face.json says `relief: false`, and there is no normal_map.png or displacement.png. A model without uv
    gives vertex colours and no maps or face.mtl. photo.jpg is the whole upright image, in whose pixels all
    image coordinates are; with it and the depth maps `load_reconstruction` needs only the folder.

    Args:
        reconstruction: The face.
        folder: Folder to be written; missing parents are made.
        overwrite: Replace an earlier result; a folder without a face.json is never replaced.
        texture_size: Side of texture and maps, texels.
        files: Names of `FILES`, all but "displaced" unless given; face.json is always written. "displaced"
            adds displaced.glb, the head subdivided twice and displaced by its relief, in the photo's
            expression.
        glb: Optional parts of face.glb.
        maps: Texture and relief of the head, as of several photos; found in this one unless given.

    Returns:
        The folder.

    Raises:
        OutputError: The folder exists or cannot be written; nothing is left behind.
        FacereliefError: `files` has an unknown name.
    """
    r, chosen = reconstruction, checked_files(DEFAULT_FILES if files is None else files)
    folder = Path(folder)
    with atomic_folder(folder, overwrite=overwrite, marker=MARKER) as out:
        parameters = face_parameters(r)
        encode_face_json(parameters)  # numbers that are not finite are found before anything is made of them
        colored = chosen & {"obj", "glb", "texture", "preview", "displaced"}
        maps = (maps or head_maps(r, texture_size)) if colored else None
        if maps is not None and maps.displacement is not None and "texture" in chosen:
            coded, reach = encode_displacement(maps.displacement)
            write_bytes(out / DISPLACEMENT, encode_map(coded))
            parameters = replace(parameters, displacement_range_mm=reach)
        write_face_json(out / MARKER, parameters)
        # most of both is coding and rendering without the interpreter lock: two thirds of the time
        with ThreadPoolExecutor(1, "facerelief") as other:
            meshes = None if maps is None else other.submit(_write_meshes, r, out, maps, chosen, glb)
            if chosen & {"depth", "ply", "preview"}:
                detail = _write_maps(r, out, "depth" in chosen)
                if "ply" in chosen:
                    write_ply(out / "detail.ply", detail)
                if maps is not None and "preview" in chosen:
                    write_png(out / "preview.png", preview(r, detail, maps.colors))
            if "photo" in chosen:
                write_bytes(out / PHOTO, encode_jpeg(r.image, 97, full_color=True))
            if meshes is not None:
                meshes.result()
    return folder


def write_face_glb(
    reconstruction: Reconstruction,
    path: str | Path,
    *,
    texture_size: int = 2048,
    visemes: bool = False,
    normal_map: bool = True,
    morph_normals: bool = True,
) -> Path:
    """Write a face as one .glb file: neutral shape, blendshapes at the photo's weights, joints, materials.

    Args:
        reconstruction: The face.
        path: File to be written.
        texture_size: Side of texture and normal map, texels.
        visemes: Add 15 Oculus visemes and five more keys of avatars, mixes of the 52.
        normal_map: Write the relief as a normal map.
        morph_normals: Write the change of the normals by each morph target.

    Returns:
        The file.

    Raises:
        OutputError: The file cannot be written.
    """
    options = GlbOptions(visemes, morph_normals, normal_map)
    write_bytes(path, face_glb(reconstruction, head_maps(reconstruction, texture_size), options))
    return Path(path)


def face_texture(reconstruction: Reconstruction, size: int = 2048) -> Float32:
    """Albedo of the head in its model's uv, as in texture.png.

    Args:
        reconstruction: The face.
        size: Side S, texels.

    Returns:
        (S, S, 3) sRGB in [0, 1].

    Raises:
        FacereliefError: The model has no uv.
    """
    texture = appearance(reconstruction, size)[1]
    if texture is None:
        raise FacereliefError(f"model {reconstruction.model.name!r} has no uv: it takes no texture")
    return texture


def checked_files(files: Sequence[str]) -> set[str]:
    """The names as a set; raises FacereliefError for one that is not in `FILES`."""
    for name in files:
        if name not in FILES:
            raise FacereliefError(f"no file {name!r} of a face; expected some of {', '.join(FILES)}")
    return set(files)


def face_parameters(reconstruction: Reconstruction) -> FaceParameters:
    """The content of face.json for a reconstruction."""
    r = reconstruction
    known = "ibug68" in r.model.landmarks
    return FaceParameters(
        camera=r.camera,
        image_size=(r.image.shape[1], r.image.shape[0]),
        model_name=r.model.name,
        model_version=r.model.version,
        method=r.method,
        box=r.box,
        confidence=r.confidence,
        identity=r.identity,
        expression=dict(zip(r.model.expression_names, r.expression.tolist(), strict=True)),
        albedo=r.albedo,
        light=r.light,
        landmarks68_mm=r.landmarks68_mm if known else None,
        landmarks68_px=r.landmarks68_px if known else None,
        relief=r.fine is not None,
        expression_kind=r.model.expression_kind,
        timings_ms=r.timings_ms,
        warnings=r.warnings,
        source=Path(r.source).name.encode("utf-8", "replace").decode(),  # file names need not be text
        source_sha256=r.source_sha256,
        networks=r.networks,
        model_sha256=r.model_sha256,
        fit=r.residuals,
        expected_error_mm=r.expected_error_mm,
    )


def _write_meshes(
    r: Reconstruction, out: Path, maps: HeadMaps, chosen: set[str], options: GlbOptions | None
) -> None:
    """Write coarse.obj, neutral.obj with their material, texture.png, normal_map.png, face.glb."""
    model, textures = r.model, maps.texture is not None
    if "obj" in chosen:
        for name, vertices in (("coarse", r.vertices), ("neutral", r.neutral)):
            if textures:
                write_obj(out / f"{name}.obj", textured(model, vertices), _MATERIAL, name=name)
            else:
                write_obj(out / f"{name}.obj", Mesh(vertices, model.triangles, maps.colors), name=name)
        if textures:
            write_mtl(out / _MATERIAL.library, _MATERIAL)
    if maps.texture is not None and chosen & {"obj", "texture"}:
        write_bytes(out / _MATERIAL.texture, encode_map(maps.texture))
    if maps.normal_map is not None and "texture" in chosen:
        write_bytes(out / NORMAL_MAP, encode_map(maps.normal_map))
    shaped = with_identity_strength(r, 1.0 if options is None else options.identity_strength)
    if "glb" in chosen:
        write_bytes(out / "face.glb", face_glb(shaped, maps, options))
    if "displaced" in chosen:
        write_bytes(out / "displaced.glb", encode_displaced_glb(shaped, maps))


def face_glb(r: Reconstruction, maps: HeadMaps, options: GlbOptions | None = None) -> bytes:
    """face.glb of a face with its maps."""
    return encode_head_glb(
        r.model, r.neutral, maps, weights=r.expression, identity=r.identity, options=options
    )


def _write_maps(r: Reconstruction, out: Path, depths: bool) -> Mesh:
    """Write depth.npy, depth_coarse.npy, normals.png if wanted; return the dense surface with the photo's
    colours."""
    fine = r.fine or r.coarse
    height, width = r.image.shape[:2]
    target, source = _overlap(fine, height, width)
    if depths:
        whole = np.full((height, width), np.nan, np.float32)
        for name, patch in (("depth_coarse", r.coarse), ("depth", fine)):
            there, own = _overlap(patch, height, width)
            whole[there] = patch.depth[own]
            write_depth(out / f"{name}.npy", whole)
            whole[there] = np.nan
        del whole
        coded = np.zeros((height, width, 3), np.uint16)
        normals = camera_normals(fine.depth, r.camera, fine.left, fine.top)
        coded[target] = encode_normals(normals)[source]
        write_bytes(out / "normals.png", encode_map(coded))
    left, top = target[1].start, target[0].start
    return depth_to_mesh(fine.depth[source], r.camera, left, top, r.image[target])


def _overlap(patch: DepthPatch, height: int, width: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Rows and columns of the photo that a patch covers, and those of the patch inside the photo."""
    h, w = patch.depth.shape
    rows = np.clip([patch.top, patch.top + h], 0, height)
    columns = np.clip([patch.left, patch.left + w], 0, width)
    target = slice(int(rows[0]), int(rows[1])), slice(int(columns[0]), int(columns[1]))
    source = (
        slice(target[0].start - patch.top, target[0].stop - patch.top),
        slice(target[1].start - patch.left, target[1].stop - patch.left),
    )
    return target, source
