"""facerelief's own model file: one .npz without pickled objects.

Layout: `meta` (JSON text as uint8), plain arrays, and each basis quantised per component: `<basis>_q8` /
`<basis>_q16` hold (N, 3, k) integers, `<basis>_scale` (K,) the mm (or colour) per integer step,
`<basis>_is16` (K,) which store a component lives in. A component goes to 8 bits where that rounds by at most
`tolerance`. With `<basis>_rows` (R,), the integers are those of these vertices, and the others are zero.

A basis whose components move few vertices each is kept sparse: `<basis>_count` (K,) vertices of each
component, `<basis>_vertices` their ids, `<basis>_values` (S, 3) integers, one component after another.
Nothing is deflated: that would take most of the time of loading. Version 1 of the format was, and had
neither rows nor sparse bases.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import ModelError
from facerelief.io.npz import write_npz
from facerelief.morphable.model import Contour, Corrective, FaceModel, SurfacePoints
from facerelief.typed import Float32

FORMAT = "facerelief-model"
FORMAT_VERSION = 2

Arrays = dict[str, NDArray[Any]]


def save_model(model: FaceModel, path: str | Path, *, tolerance_mm: float = 0.01) -> None:
    """Write a model; bases are rounded by at most `tolerance_mm` (colour: 1/1000)."""
    meta = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "name": model.name,
        "version": model.version,
        "licence": model.licence,
        "expression_names": list(model.expression_names),
        "expression_kind": model.expression_kind,
        "landmarks": list(model.landmarks),
        "contours": list(model.contours),
        "regions": list(model.regions),
        "correctives": [corrective.unit for corrective in model.correctives],
        "quads": model.quads,
    }
    arrays: Arrays = {
        "meta": np.frombuffer(json.dumps(meta).encode(), np.uint8),
        "mean": model.mean,
        "triangles": model.triangles,
        "albedo_mean": model.albedo_mean,
        "uv": model.uv,
        "uv_triangles": model.uv_triangles,
    }
    for label, basis, tolerance in (
        ("identity", model.identity, tolerance_mm),
        ("expression", model.expression, tolerance_mm),
        ("albedo", model.albedo, 1e-3),
    ):
        arrays |= _quantise(label, basis, tolerance)
    for key, points in model.landmarks.items():
        arrays[f"landmarks_{key}_vertices"] = points.vertices
        arrays[f"landmarks_{key}_weights"] = points.weights
        if points.spread is not None:
            arrays[f"landmarks_{key}_spread"] = points.spread
    for key, contour in model.contours.items():
        arrays[f"contour_{key}_landmarks"] = contour.landmarks
        arrays[f"contour_{key}_candidates"] = contour.candidates
    for key, mask in model.regions.items():
        arrays[f"region_{key}"] = np.packbits(mask)
    if model.symmetry is not None:
        arrays["symmetry"] = model.symmetry
    for k, corrective in enumerate(model.correctives):
        arrays[f"corrective{k}_vertices"] = corrective.vertices
        arrays |= _quantise(f"corrective{k}", corrective.basis, tolerance_mm)
    write_npz(path, arrays, compressed=lambda name, size: False)


def load_own_model(path: str | Path) -> FaceModel:
    """Read a model written by `save_model`; raises ModelError naming the file and what is wrong with it."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays: Arrays = {key: archive[key] for key in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise ModelError(
            f"{path}: not a readable model file ({error}); expected a facerelief .npz"
        ) from error
    try:
        return _assemble(arrays)
    except KeyError as error:
        raise ModelError(f"{path}: model file lacks {error}; rebuild or convert it again") from error
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    except (ValueError, TypeError, IndexError) as error:
        raise ModelError(f"{path}: malformed model file ({error}); rebuild or convert it again") from error


def _assemble(arrays: Arrays) -> FaceModel:
    meta = json.loads(arrays["meta"].tobytes().decode())
    if meta.get("format") != FORMAT:
        raise ModelError("not a facerelief model file (no format mark)")
    if meta.get("format_version") not in (1, FORMAT_VERSION):
        raise ModelError(
            f"model file format {meta.get('format_version')}, this facerelief reads {FORMAT_VERSION}: "
            "upgrade it"
        )
    n = len(arrays["mean"])
    return FaceModel(
        name=meta["name"],
        version=meta["version"],
        licence=meta["licence"],
        mean=arrays["mean"],
        identity=_restore("identity", arrays, n),
        expression=_restore("expression", arrays, n),
        expression_names=tuple(meta["expression_names"]),
        expression_kind=meta["expression_kind"],
        triangles=arrays["triangles"],
        albedo_mean=arrays["albedo_mean"],
        albedo=_restore("albedo", arrays, n),
        uv=arrays["uv"],
        uv_triangles=arrays["uv_triangles"],
        landmarks={
            k: SurfacePoints(
                arrays[f"landmarks_{k}_vertices"],
                arrays[f"landmarks_{k}_weights"],
                arrays.get(f"landmarks_{k}_spread"),
            )
            for k in meta["landmarks"]
        },
        contours={
            k: Contour(arrays[f"contour_{k}_landmarks"], arrays[f"contour_{k}_candidates"])
            for k in meta["contours"]
        },
        regions={k: np.unpackbits(arrays[f"region_{k}"], count=n).astype(bool) for k in meta["regions"]},
        symmetry=arrays.get("symmetry"),
        correctives=tuple(
            Corrective(unit, vertices, _restore(f"corrective{k}", arrays, len(vertices)))
            for k, unit in enumerate(meta.get("correctives", ()))
            for vertices in [arrays[f"corrective{k}_vertices"]]
        ),
        quads=int(meta.get("quads", 0)),
    )


def _quantise(label: str, basis: Float32, tolerance: float) -> Arrays:
    k = basis.shape[2]
    moved: NDArray[np.bool_] = np.asarray(np.abs(basis).max(axis=1) > 0.2 * tolerance)
    if basis.size and moved.mean() < 0.5:
        return _sparse(label, basis, moved)
    rows = np.flatnonzero(moved.any(axis=1))
    kept = basis[rows] if len(rows) < 0.9 * len(basis) else basis
    peak = np.abs(kept).max(axis=(0, 1)) if kept.size else np.zeros(k, np.float32)
    is16 = peak / 127.0 / 2.0 > tolerance
    scale = np.where(is16, peak / 32767.0, peak / 127.0).astype(np.float32)
    steps = np.rint(kept / np.where(scale > 0, scale, 1.0)) if kept.size else kept
    arrays: Arrays = {
        f"{label}_scale": scale,
        f"{label}_is16": is16,
        f"{label}_q8": steps[:, :, ~is16].astype(np.int8),
        f"{label}_q16": steps[:, :, is16].astype(np.int16),
    }
    return arrays if kept is basis else arrays | {f"{label}_rows": rows.astype(np.int32)}


def _sparse(label: str, basis: Float32, moved: NDArray[np.bool_]) -> Arrays:
    """Components that move some of the vertices: `moved` (N, K)."""
    component, vertex = np.nonzero(moved.T)
    scale = (np.abs(basis).max(axis=(0, 1)) / 32767.0).astype(np.float32)
    values = basis[vertex, :, component] / np.where(scale > 0, scale, 1.0)[component, None]
    return {
        f"{label}_scale": scale,
        f"{label}_count": moved.sum(axis=0).astype(np.int32),
        f"{label}_vertices": vertex.astype(np.uint16 if len(basis) <= 1 << 16 else np.int32),
        f"{label}_values": np.rint(values).astype(np.int16),
    }


def _restore(label: str, arrays: Arrays, n: int) -> Float32:
    if f"{label}_count" in arrays:
        return _restore_sparse(label, arrays, n)
    rows = arrays.get(f"{label}_rows")
    is16, scale = arrays[f"{label}_is16"], arrays[f"{label}_scale"]
    stored = n if rows is None else len(rows)
    out = np.empty((stored, 3, len(scale)), np.float32)
    for store, where in (("q8", ~is16), ("q16", is16)):
        part = arrays[f"{label}_{store}"]
        wanted = (stored, 3, int(where.sum()))
        if part.shape != wanted:
            raise ModelError(f"{label}_{store} has shape {part.shape}, expected {wanted}")
        # slice by slice of neighbouring components: NumPy writes a masked assignment several times slower
        place = np.flatnonzero(where)
        runs = np.split(np.arange(len(place)), np.flatnonzero(np.diff(place) != 1) + 1)
        for run in runs:
            if len(run):
                first, last = place[run[0]], place[run[-1]] + 1
                np.multiply(
                    part[:, :, run[0] : run[-1] + 1],
                    scale[first:last],
                    out=out[:, :, first:last],
                    casting="unsafe",
                )
    if rows is None:
        return out
    whole = np.zeros((n, 3, len(scale)), np.float32)
    whole[rows] = out
    return whole


def _restore_sparse(label: str, arrays: Arrays, n: int) -> Float32:
    scale, count = arrays[f"{label}_scale"], arrays[f"{label}_count"]
    vertices, values = arrays[f"{label}_vertices"], arrays[f"{label}_values"]
    total = int(count.sum())
    if count.shape != scale.shape or vertices.shape != (total,) or values.shape != (total, 3):
        raise ModelError(
            f"{label}_values has shape {values.shape}, expected {(total, 3)} and as many vertices"
        )
    out = np.zeros((n, 3, len(scale)), np.float32)
    for k, last in enumerate(np.cumsum(count)):
        part = slice(last - count[k], last)
        out[vertices[part], :, k] = values[part] * scale[k]
    return out
