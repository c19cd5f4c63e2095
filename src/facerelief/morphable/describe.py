"""Facts about a model, for `facerelief model info`."""

from __future__ import annotations

import numpy as np

from facerelief.morphable.model import FaceModel


def describe(model: FaceModel) -> dict[str, object]:
    """Facts about a model, in the order to print them; JSON-serialisable.

    Counts; extents of the mean face in mm (x, y, z); per-vertex RMS over the components of one deviation of
    identity, mm; landmark sets with their sizes; regions with their vertex counts; memory of the arrays in
    MB; licence.
    """
    arrays = (model.mean, model.identity, model.expression, model.triangles, model.albedo_mean, model.albedo)
    extent = np.ptp(model.mean, axis=0) if model.n_vertices else np.zeros(3)
    spread = (
        float(np.sqrt(np.square(model.identity, dtype=np.float64).sum(axis=(1, 2)).mean()))
        if model.n_vertices
        else 0.0
    )
    return {
        "name": model.name,
        "version": model.version,
        "vertices": model.n_vertices,
        "triangles": len(model.triangles),
        "identity_components": model.n_identity,
        "expression_components": model.n_expression,
        "expression_kind": model.expression_kind,
        "expression_names": list(model.expression_names),
        "albedo_components": model.n_albedo,
        "texture_coordinates": len(model.uv),
        "extent_mm": [round(float(size), 1) for size in extent],
        "identity_rms_mm": round(spread, 2),
        "landmarks": {name: len(points) for name, points in model.landmarks.items()},
        "contours": {name: len(contour.landmarks) for name, contour in model.contours.items()},
        "regions": {name: int(mask.sum()) for name, mask in model.regions.items()},
        "symmetric": model.symmetry is not None,
        "megabytes": round(sum(array.nbytes for array in arrays) / 1e6, 1),
        "licence": model.licence,
    }
