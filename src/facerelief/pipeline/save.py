"""Fills one face's folder with every file of the output contract, all of them or none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facerelief.export.atomic import atomic_folder, write_bytes
from facerelief.export.face_json import FaceParameters, write_face_json
from facerelief.export.glb import Material, MorphTargets, Part, write_glb
from facerelief.export.images import (
    encode_jpeg,
    encode_normals,
    encode_png,
    write_depth,
    write_png,
)
from facerelief.export.obj import ObjMaterial, write_mtl, write_obj
from facerelief.export.ply import write_ply
from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.depth import depth_to_mesh, normals_from_depth
from facerelief.geometry.mesh import Mesh
from facerelief.geometry.normals import vertex_normals
from facerelief.morphable.model import FaceModel
from facerelief.pipeline.result import DepthPatch, Reconstruction
from facerelief.rendering.lighting import ambient_light, shade
from facerelief.rendering.preview import preview_sheet
from facerelief.rendering.rasterizer import interpolate, rasterize
from facerelief.rendering.render import shade_mesh
from facerelief.rendering.texture import complete_texture, sample_texture

Float32 = NDArray[np.float32]
Image = NDArray[np.uint8]

PHOTO = "photo.jpg"
"""The upright picture, JPEG of quality 97 with colours at full resolution."""
MARKER = "face.json"
"""The file that makes a folder recognisable as a saved face."""
_MATERIAL = ObjMaterial("face.mtl", "texture.png")
_PAPER = (0.98, 0.98, 0.98)
_MARGIN_MM = 7.0
"""Beside the head's outline in the photo, this much is not trusted to show the head."""


def save(
    reconstruction: Reconstruction, folder: str | Path, *, overwrite: bool = False, texture_size: int = 1024
) -> Path:
    """Write everything about one face into a folder, whole or not at all.

    The files: face.json, coarse.obj, neutral.obj, face.mtl, face.glb, detail.ply, depth.npy,
    depth_coarse.npy, normals.png, texture.png, preview.png, photo.jpg. Where the method found no relief,
    detail.ply, depth.npy and normals.png hold the model's surface and face.json says `relief: false`. A model
    without uv gives vertex colours and no texture.png or face.mtl. photo.jpg is the whole upright picture, in
    whose pixels everything is given; with it `load_reconstruction` needs nothing but the folder.

    Args:
        reconstruction: the face.
        folder: to be made; its parents too, where they are missing.
        overwrite: replace an earlier result; a folder without a face.json is never replaced.
        texture_size: side of the texture, px.

    Returns:
        The folder.

    Raises:
        OutputError: the folder is taken or cannot be written; nothing is left behind.
    """
    r = reconstruction
    folder = Path(folder)
    with atomic_folder(folder, overwrite=overwrite, marker=MARKER) as out:
        write_face_json(out / MARKER, face_parameters(r))
        colors, texture = appearance(r, texture_size)
        _write_meshes(r, out, colors, texture)
        detail = _write_maps(r, out)
        write_ply(out / "detail.ply", detail)
        write_png(out / "preview.png", preview(r, detail, colors))
        write_bytes(out / PHOTO, encode_jpeg(r.image, 97, full_color=True))
    return folder


def face_parameters(reconstruction: Reconstruction) -> FaceParameters:
    """What face.json says about a reconstruction."""
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
        fit=r.residuals,
    )


def preview(
    reconstruction: Reconstruction, detail: Mesh, colors: Float32 | None = None, height: int = 384
) -> Image:
    """Six panels in a row: photo, overlay, shaded coarse and detailed surface, two turned views.

    detail: the dense surface in model space; colors (N, 3): sRGB per model vertex, for the turned views (clay
        when left
    out); height of the panels in px.
    Returns (h, w, 3) uint8.
    """
    r = reconstruction
    model, vertices = r.model, r.vertices
    middle = vertices[model.face_vertices]
    uv = r.camera.project(middle)[:, :2]
    low, high = uv.min(axis=0), uv.max(axis=0)
    side = max(int(np.ceil(1.4 * float((high - low).max()))), 8)
    left, top = (int(x) for x in np.round((low + high - side) / 2))
    zoom = height / side
    camera = r.camera.in_crop(left, top, zoom)
    photo = _window(r.image, left, top, side, height)

    def shaded(
        mesh: Mesh, view: WeakPerspective, light: ArrayLike | None = None, behind: ArrayLike = _PAPER
    ) -> Image:
        return shade_mesh(mesh, view, height, height, light=light, background=behind)[0]

    shown = _face_triangles(model)
    face = Mesh(vertices, shown)
    skin = Mesh(vertices, shown, _skin(r))
    head = Mesh(vertices, model.triangles, colors)
    flat = None if colors is None else ambient_light()
    return preview_sheet(
        [
            ("photo", photo),
            ("overlay", shaded(skin, camera, r.light, photo)),
            ("coarse", shaded(face, camera)),
            ("detail" if r.fine else "detail (no relief)", shaded(replace(detail, colors=None), camera)),
            ("turned left", shaded(head, _turned(camera, vertices, middle, -0.7, height), flat)),
            ("turned right", shaded(head, _turned(camera, vertices, middle, 0.7, height), flat)),
        ],
        height=height,
    )


def appearance(r: Reconstruction, size: int = 1024) -> tuple[Float32, Float32 | None]:
    """Colours (N, 3) of the vertices and, where the model has uv, the texture (S, S, 3); sRGB in [0, 1]."""
    skin = _skin(r)
    if not _has_uv(r.model):
        return skin, None
    mesh = _textured(r.model, r.vertices)
    none = np.zeros(r.model.n_vertices, bool)
    # ears stick out and the neck is dressed; both are fitted loosely: the photo shows other things there
    loose = r.model.regions.get("ears", none) | (r.model.regions.get("neck", none) & ~r.model.face_vertices)
    eyes = r.model.regions.get("eyeballs", none)[mesh.triangles].all(axis=1)
    sampled, weight = sample_texture(
        r.image, _part(mesh, ~loose[mesh.triangles].any(axis=1)), r.camera, size, margin_mm=_MARGIN_MM
    )
    texture = complete_texture(sampled, weight, _part(mesh, ~eyes), r.model.symmetry, skin)
    if eyes.any():
        _paint_eyes(texture, sampled, weight, _part(mesh, eyes), skin, _brightness(r))
    corner = np.full(r.model.n_vertices, -1, np.int64)
    corner[r.model.triangles.ravel()] = r.model.uv_triangles.ravel()
    column, row = (r.model.uv[corner] * [size, -size] + [0, size]).T
    at = texture[np.clip(row.astype(int), 0, size - 1), np.clip(column.astype(int), 0, size - 1)]
    return np.where(corner[:, None] >= 0, at, skin).astype(np.float32), texture


def _paint_eyes(
    texture: Float32, sampled: Float32, weight: Float32, eyes: Mesh, colors: Float32, brightness: Float32
) -> None:
    """Put the eyeballs into a texture (S, S, 3): the photo where it shows them, elsewhere the model's colours
    (N, 3), as bright as the white that the photo shows.

    weight (S, S) of the sampled texels; brightness (3,) for eyes of which no white is seen. A smooth fill, as
    the skin gets it, would carry the contrast of white and iris all around the ball.
    """
    import cv2

    assert eyes.uv is not None
    assert eyes.uv_triangles is not None
    size = len(texture)
    flat = np.column_stack([eyes.uv[:, 0], 1 - eyes.uv[:, 1], np.zeros(len(eyes.uv))]) * [size, size, 1]
    used = flat[np.unique(eyes.uv_triangles), :2]
    low = np.clip(np.floor(used.min(axis=0)), 0, size - 1).astype(int)
    high = np.clip(np.ceil(used.max(axis=0)), low + 1, size).astype(int)
    window = slice(low[1], high[1]), slice(low[0], high[0])
    texture, sampled, weight = texture[window], sampled[window], weight[window]
    fragments = rasterize(flat - [*low, 0], eyes.uv_triangles, *weight.shape)
    own = interpolate(fragments, eyes.triangles, colors)
    island = fragments.mask
    inside = ((weight > 0) | ~island).astype(np.uint8)
    edge = np.asarray(cv2.distanceTransform(np.pad(inside, 1, constant_values=1), cv2.DIST_L2, 5))[1:-1, 1:-1]
    alpha = np.clip(np.minimum(weight / 0.5, edge * (256.0 / size)), 0, 1) * island
    white = (alpha > 0.9) & (own.min(axis=2) > 0.7 * float(colors[eyes.triangles].max()))
    if np.count_nonzero(white) >= 20:
        # lashes shade the white, and dark glasses hide it: never below half the skin's brightness
        brightness = np.maximum(np.median(sampled[white] / own[white], axis=0), 0.5 * brightness)
    fill = np.clip(own * np.clip(brightness, 0.05, 1.2), 0, 1)
    texture[island] = (fill + (sampled - fill) * alpha[:, :, None])[island]


def _brightness(r: Reconstruction) -> Float32:
    """(3,) how much light the photo's face gets: shading of the vertices that face the camera, median."""
    normals = vertex_normals(r.camera.to_camera(r.vertices), r.model.triangles)
    front = r.model.face_vertices & (normals[:, 2] > 0.5)
    if not front.any():
        return np.ones(3, np.float32)
    return np.median(shade(normals[front], r.light), axis=0).astype(np.float32)


def _part(mesh: Mesh, kept: NDArray[np.bool_] | np.bool_) -> Mesh:
    """Some of a textured mesh's triangles."""
    assert mesh.uv_triangles is not None
    return replace(mesh, triangles=mesh.triangles[kept], uv_triangles=mesh.uv_triangles[kept])


def _write_meshes(r: Reconstruction, out: Path, colors: Float32, texture: Float32 | None) -> None:
    """coarse.obj, neutral.obj with their material, texture.png, face.glb."""
    model = r.model
    if texture is None:
        for name, vertices in (("coarse", r.vertices), ("neutral", r.neutral)):
            write_obj(out / f"{name}.obj", Mesh(vertices, model.triangles, colors), name=name)
        neutral, picture = Mesh(r.neutral, model.triangles, colors), None
    else:
        for name, vertices in (("coarse", r.vertices), ("neutral", r.neutral)):
            write_obj(out / f"{name}.obj", _textured(model, vertices), _MATERIAL, name=name)
        write_mtl(out / _MATERIAL.library, _MATERIAL)
        write_bytes(out / _MATERIAL.texture, encode_png(texture))
        neutral, picture = _textured(model, r.neutral), encode_jpeg(texture)
    parts: list[Part] = []
    if "eyeballs" in model.regions:
        eyes = model.regions["eyeballs"][model.triangles].all(axis=1)
        parts.append(Part(np.asarray(eyes), Material("eyes", picture, roughness=0.25)))
    morphs = None
    if model.n_expression:
        morphs = MorphTargets(model.expression_names, model.expression.transpose(2, 0, 1), r.expression)
    write_glb(
        out / "face.glb", neutral, material=Material("skin", picture), parts=parts, morphs=morphs, name="face"
    )


def _write_maps(r: Reconstruction, out: Path) -> Mesh:
    """depth.npy, depth_coarse.npy, normals.png; returns the dense surface with the photo's colours."""
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
    coded[target] = encode_normals(normals_from_depth(fine.depth, r.camera.scale))[source]
    write_bytes(out / "normals.png", _quick_png(coded))
    left, top = target[1].start, target[0].start
    return depth_to_mesh(fine.depth[source], r.camera, left, top, r.image[target])


def _quick_png(rgb: NDArray[np.uint16]) -> bytes:
    """PNG bytes of a mostly empty (H, W, 3) map, in place: one fixed row filter, three times as fast."""
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
    """Where a patch lies in the photo, and the part of the patch that lies in it."""
    h, w = patch.depth.shape
    rows = np.clip([patch.top, patch.top + h], 0, height)
    columns = np.clip([patch.left, patch.left + w], 0, width)
    target = slice(int(rows[0]), int(rows[1])), slice(int(columns[0]), int(columns[1]))
    source = (
        slice(target[0].start - patch.top, target[0].stop - patch.top),
        slice(target[1].start - patch.left, target[1].stop - patch.left),
    )
    return target, source


def _face_triangles(model: FaceModel) -> NDArray[np.int32]:
    """Triangles of the face's skin and the eyes."""
    mask = model.face_vertices | model.regions.get("eyeballs", np.zeros(model.n_vertices, bool))
    return model.triangles[mask[model.triangles].all(axis=1)]


def _turned(
    camera: WeakPerspective, head: Float32, middle: Float32, yaw: float, size: int
) -> WeakPerspective:
    """The same scale, upright, turned: `head` centred across a square of `size` px, `middle` up and down."""
    view = WeakPerspective(0.0, yaw, 0.0, 0.0, 0.0, camera.scale)
    u, v = view.project(head)[:, 0], view.project(middle)[:, 1]
    across, down = (size - float(x.min() + x.max()) for x in (u, v))
    return replace(view, translation_u=across / 2, translation_v=down / 2)


def _window(image: Image, left: int, top: int, side: int, size: int) -> Image:
    """The square (left, top, side) of the photo at size x size px, paper where it leaves the photo."""
    import cv2

    height, width = image.shape[:2]
    window = np.full((size, size, 3), round(_PAPER[0] * 255), np.uint8)
    x0, x1 = (min(max(x, 0), width) for x in (left, left + side))
    y0, y1 = (min(max(y, 0), height) for y in (top, top + side))
    u0, u1 = (round((x - left) * size / side) for x in (x0, x1))
    v0, v1 = (round((y - top) * size / side) for y in (y0, y1))
    if u0 < u1 and v0 < v1:
        method = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
        part = np.ascontiguousarray(image[y0:y1, x0:x1])
        window[v0:v1, u0:u1] = np.asarray(cv2.resize(part, (u1 - u0, v1 - v0), interpolation=method))
    return window


def _skin(r: Reconstruction) -> Float32:
    """(N, 3) the skin colour the fit believes in, sRGB in [0, 1]."""
    return np.clip(r.model.skin(r.albedo if len(r.albedo) else None), 0, 1)


def _has_uv(model: FaceModel) -> bool:
    return len(model.uv) > 0 and len(model.uv_triangles) == len(model.triangles)


def _textured(model: FaceModel, vertices: Float32) -> Mesh:
    return Mesh(vertices, model.triangles, uv=model.uv, uv_triangles=model.uv_triangles)
