"""Writer of a face folder: every file of the output contract, or none."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerelief.face.reconstruction import DepthPatch, Reconstruction
from facerelief.facefolder.face_json import FaceParameters, write_face_json
from facerelief.facefolder.head_glb import write_head_glb
from facerelief.facefolder.preview import preview
from facerelief.facefolder.texture import appearance, textured
from facerelief.geometry.depth import camera_normals, depth_to_mesh
from facerelief.geometry.mesh import Mesh
from facerelief.io.atomic import atomic_folder, write_bytes
from facerelief.io.obj import ObjMaterial, write_mtl, write_obj
from facerelief.io.ply import write_ply
from facerelief.io.write_images import encode_jpeg, encode_normals, encode_png, write_depth, write_png
from facerelief.typed import Float32

PHOTO = "photo.jpg"
"""The upright image, JPEG of quality 97 without chroma subsampling."""
MARKER = "face.json"
"""The file that identifies a folder as a saved face."""
_MATERIAL = ObjMaterial("face.mtl", "texture.png")


def save_reconstruction(
    reconstruction: Reconstruction,
    folder: str | Path,
    *,
    overwrite: bool = False,
    texture_size: int = 1024,
    same_subject: Sequence[Reconstruction] = (),
) -> Path:
    """Write one face into a folder, whole or not at all.

    The files: face.json, coarse.obj, neutral.obj, face.mtl, face.glb, detail.ply, depth.npy,
    depth_coarse.npy, normals.png, texture.png, preview.png, photo.jpg. Where the method found no relief,
    detail.ply, depth.npy and normals.png hold the model's surface and face.json says `relief: false`. A model
    without uv gives vertex colours and no texture.png or face.mtl. photo.jpg is the whole upright image, in
    whose pixels all image coordinates are; with it `load_reconstruction` needs only the folder.

    Args:
        reconstruction: The face.
        folder: Folder to be written; missing parents are made.
        overwrite: Replace an earlier result; a folder without a face.json is never replaced.
        texture_size: Side of the texture, px.
        same_subject: Faces of the subject in other photos; the texture takes the best view of all.

    Returns:
        The folder.

    Raises:
        OutputError: The folder exists or cannot be written; nothing is left behind.
    """
    r = reconstruction
    folder = Path(folder)
    with atomic_folder(folder, overwrite=overwrite, marker=MARKER) as out:
        write_face_json(out / MARKER, face_parameters(r))
        colors, texture = appearance(r, texture_size, same_subject)
        # most of both is coding and rendering without the interpreter lock: two thirds of the time
        with ThreadPoolExecutor(1, "facerelief") as other:
            meshes = other.submit(_write_meshes, r, out, colors, texture)
            detail = _write_maps(r, out)
            write_ply(out / "detail.ply", detail)
            write_png(out / "preview.png", preview(r, detail, colors))
            write_bytes(out / PHOTO, encode_jpeg(r.image, 97, full_color=True))
            meshes.result()
    return folder


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


def _write_meshes(r: Reconstruction, out: Path, colors: Float32, texture: Float32 | None) -> None:
    """Write coarse.obj, neutral.obj with their material, texture.png, face.glb."""
    model = r.model
    for name, vertices in (("coarse", r.vertices), ("neutral", r.neutral)):
        if texture is None:
            write_obj(out / f"{name}.obj", Mesh(vertices, model.triangles, colors), name=name)
        else:
            write_obj(out / f"{name}.obj", textured(model, vertices), _MATERIAL, name=name)
    if texture is not None:
        write_mtl(out / _MATERIAL.library, _MATERIAL)
        write_bytes(out / _MATERIAL.texture, encode_png(texture))
    write_head_glb(out / "face.glb", model, r.neutral, colors, texture, r.expression, identity=r.identity)


def _write_maps(r: Reconstruction, out: Path) -> Mesh:
    """Write depth.npy, depth_coarse.npy, normals.png; return the dense surface with the photo's colours."""
    fine = r.fine or r.coarse
    height, width = r.image.shape[:2]
    whole = np.full((height, width), np.nan, np.float32)
    for name, patch in (("depth_coarse", r.coarse), ("depth", fine)):
        target, source = _overlap(patch, height, width)
        whole[target] = patch.depth[source]
        write_depth(out / f"{name}.npy", whole)
        whole[target] = np.nan
    del whole
    target, source = _overlap(fine, height, width)
    coded = np.zeros((height, width, 3), np.uint16)
    coded[target] = encode_normals(camera_normals(fine.depth, r.camera, fine.left, fine.top))[source]
    write_bytes(out / "normals.png", _quick_png(coded))
    left, top = target[1].start, target[0].start
    return depth_to_mesh(fine.depth[source], r.camera, left, top, r.image[target])


def _quick_png(rgb: NDArray[np.uint16]) -> bytes:
    """PNG bytes of a mostly empty (H, W, 3) map, which is overwritten: a fixed row filter, for speed."""
    import cv2

    options = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # OpenCV 4.11 and later
        options += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB]
        options += [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    done, data = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR, dst=rgb), options)
    if not done:
        raise ValueError(f"a {rgb.shape} {rgb.dtype} array cannot be coded as PNG")
    return np.asarray(data).tobytes()


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
