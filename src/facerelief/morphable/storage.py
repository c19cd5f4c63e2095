"""facerelief's own model file: one .npz without pickled objects.

Layout: `meta` (JSON text as uint8), plain arrays, and each basis quantised per component: `<basis>_q8` /
`<basis>_q16` hold (N, 3, k) integers, `<basis>_scale` (K,) the mm (or colour) per integer step,
`<basis>_is16` (K,) which store a component lives in. A component goes to 8 bits where that rounds by at most
`tolerance`.
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
FORMAT_VERSION = 1

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
    # expressions and colours are mostly zero; the rest compresses little and would only load more slowly
    write_npz(path, arrays, compressed=lambda name, _: name.startswith(("expression_q", "albedo_q")))


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
    if meta.get("format_version") != FORMAT_VERSION:
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
    peak = np.abs(basis).max(axis=(0, 1)) if basis.size else np.zeros(k, np.float32)
    is16 = peak / 127.0 / 2.0 > tolerance
    scale = np.where(is16, peak / 32767.0, peak / 127.0).astype(np.float32)
    steps = np.rint(basis / np.where(scale > 0, scale, 1.0)) if basis.size else basis
    return {
        f"{label}_scale": scale,
        f"{label}_is16": is16,
        f"{label}_q8": steps[:, :, ~is16].astype(np.int8),
        f"{label}_q16": steps[:, :, is16].astype(np.int16),
    }


def _restore(label: str, arrays: Arrays, n: int) -> Float32:
    is16, scale = arrays[f"{label}_is16"], arrays[f"{label}_scale"]
    out = np.empty((n, 3, len(scale)), np.float32)
    for store, where in (("q8", ~is16), ("q16", is16)):
        part = arrays[f"{label}_{store}"]
        if part.shape != (n, 3, int(where.sum())):
            raise ModelError(f"{label}_{store} has shape {part.shape}, expected {(n, 3, int(where.sum()))}")
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
    return out
