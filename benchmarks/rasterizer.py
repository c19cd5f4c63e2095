"""How long one drawing of a head takes.

    python benchmarks/rasterizer.py [--json FILE]

Synthetic heads of 10,000 and 20,000 triangles and the open face model, drawn at 256 and 512 px filling the
picture; one thread. "reference" is the plainest z-buffer in numpy, one triangle after another, in the same
run: the ratio tells more than the milliseconds do on a machine with other work. Both must give the same
picture, which is checked. Also timed: interpolating normals over the drawing, shading them, vertex normals,
and nearest points on the surface.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import FacereliefError
from facerelief.geometry import ClosestPoint, Mesh, WeakPerspective, vertex_normals
from facerelief.rendering import directional_light, interpolate, rasterize, shade

Float = NDArray[np.floating]


def head(triangles: int) -> Mesh:
    """An egg with a nose, about so many triangles, mm."""
    columns = round((triangles / 2) ** 0.5 * 1.2)
    rows = round(triangles / 2 / columns)
    theta = np.pi * (np.arange(rows + 1) + 0.5) / (rows + 1)
    phi = 2 * np.pi * np.arange(columns) / columns
    t, p = np.meshgrid(theta, phi, indexing="ij")
    xyz = np.stack(
        [75 * np.sin(t) * np.sin(p), 110 * np.cos(t), 90 * np.sin(t) * np.cos(p)], axis=-1
    ).reshape(-1, 3)
    nose = np.exp(-(xyz[:, 0] ** 2) / 150 - (xyz[:, 1] + 8) ** 2 / 500) * (xyz[:, 2] > 0)
    xyz[:, 2] += 18 * nose
    ids = np.arange((rows + 1) * columns).reshape(rows + 1, columns)
    a, d = ids[:-1].ravel(), np.roll(ids, -1, axis=1)[:-1].ravel()
    b, c = ids[1:].ravel(), np.roll(ids, -1, axis=1)[1:].ravel()
    faces = np.concatenate([np.column_stack([a, b, c]), np.column_stack([a, c, d])])
    return Mesh(xyz.astype(np.float32), faces.astype(np.int32))


def camera_for(mesh: Mesh, size: int) -> WeakPerspective:
    """Turned a little, the mesh's height filling 95 % of a size x size picture."""
    turned = WeakPerspective(0.1, 0.35, 0.05, 0, 0, 1).to_camera(mesh.vertices)
    low, high = turned.min(axis=0), turned.max(axis=0)
    scale = 0.95 * size / float((high - low)[:2].max())
    u, v = size / 2 - scale * (low + high)[0] / 2, size / 2 + scale * (low + high)[1] / 2
    return WeakPerspective(0.1, 0.35, 0.05, u, v, scale)


def reference(uvz: Float, triangles: NDArray[np.int32], size: int) -> tuple[NDArray[np.int32], Float]:
    """Triangle ids and depth by the plainest means: per triangle, all centres of its bounding box at once."""
    ids = np.full((size, size), -1, np.int32)
    depth = np.full((size, size), -np.inf)
    points = uvz.astype(np.float64)
    for t, (a, b, c) in enumerate(points[triangles]):
        low = np.maximum(np.ceil(np.minimum(np.minimum(a, b), c)[:2] - 0.5), 0).astype(int)
        high = np.minimum(np.floor(np.maximum(np.maximum(a, b), c)[:2] - 0.5), size - 1).astype(int)
        if (high < low).any():
            continue
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if area == 0:
            continue
        u = np.arange(low[0], high[0] + 1) + 0.5
        v = (np.arange(low[1], high[1] + 1) + 0.5)[:, None]
        wb = ((c[1] - a[1]) * (u - a[0]) - (c[0] - a[0]) * (v - a[1])) / area
        wc = ((b[0] - a[0]) * (v - a[1]) - (b[1] - a[1]) * (u - a[0])) / area
        z = a[2] + wb * (b[2] - a[2]) + wc * (c[2] - a[2])
        box = (slice(low[1], high[1] + 1), slice(low[0], high[0] + 1))
        nearer = (wb >= 0) & (wc >= 0) & (wb + wc <= 1) & (z > depth[box])
        depth[box][nearer] = z[nearer]
        ids[box][nearer] = t
    return ids, depth


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """Median time of one call, after one to warm up."""
    work()
    times: list[float] = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.median(times) * 1e3)


def measure(label: str, mesh: Mesh, size: int, repeats: int) -> dict[str, object]:
    """One row of the table."""
    camera = camera_for(mesh, size)
    uvz = camera.project(mesh.vertices)
    drawn = rasterize(uvz, mesh.triangles, size, size)
    ids, depth = reference(uvz, mesh.triangles, size)
    both = drawn.mask & (ids >= 0)
    agree = float((np.abs(drawn.depth[both] - depth[both]) < 1e-2).mean() * both.sum() / (ids >= 0).sum())
    normals = vertex_normals(camera.to_camera(mesh.vertices), mesh.triangles)
    field = interpolate(drawn, mesh.triangles, normals)
    light = directional_light((-0.4, 0.5, 1.0), 0.8, 0.2)
    ours = milliseconds(lambda: rasterize(uvz, mesh.triangles, size, size), repeats)
    front = milliseconds(lambda: rasterize(uvz, mesh.triangles, size, size, cull_backfaces=True), repeats)
    plain = milliseconds(lambda: reference(uvz, mesh.triangles, size), 3)
    return {
        "mesh": label,
        "triangles": len(mesh.triangles),
        "size": size,
        "draw_ms": round(ours, 3),
        "draw_culled_ms": round(front, 3),
        "reference_ms": round(plain, 1),
        "ratio": round(plain / ours),
        "agreement_percent": round(100 * agree, 3),
        "covered_percent": round(100 * float(drawn.mask.mean()), 1),
        "interpolate_ms": round(
            milliseconds(lambda: interpolate(drawn, mesh.triangles, normals), repeats), 3
        ),
        "shade_ms": round(milliseconds(lambda: shade(field, light), repeats), 3),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--repeats", type=int, default=50, help="calls timed for each figure (default 50)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()

    meshes = [("head 10k", head(10_000)), ("head 20k", head(20_000))]
    try:
        from facerelief.morphable import open_model

        model = open_model()
        meshes.append(("open model", Mesh(model.mean, model.triangles)))
    except FacereliefError as error:
        print(f"without the open model: {error}")

    start = time.perf_counter()
    rasterize(np.zeros((3, 3)), [[0, 1, 2]], 4, 4)
    first = time.perf_counter() - start
    rows = [measure(label, mesh, size, args.repeats) for label, mesh in meshes for size in (256, 512)]
    print(f"{'mesh':12}{'triangles':>10}{'px':>5}{'draw':>8}{'culled':>8}{'reference':>11}{'ratio':>7}{'same':>9}"
          f"{'normals':>9}{'shade':>8}   (ms)")  # fmt: skip
    for row in rows:
        print(f"{row['mesh']:12}{row['triangles']:>10}{row['size']:>5}{row['draw_ms']:>8}{row['draw_culled_ms']:>8}"
              f"{row['reference_ms']:>11}{row['ratio']:>6}x{row['agreement_percent']:>8}%{row['interpolate_ms']:>9}"
              f"{row['shade_ms']:>8}")  # fmt: skip

    mesh = meshes[1][1]
    rng = np.random.default_rng(0)
    near = mesh.vertices[rng.integers(0, len(mesh.vertices), 10_000)] + rng.normal(0, 2, (10_000, 3))
    tree = ClosestPoint(mesh.vertices, mesh.triangles)
    other = {
        "first_call_s": round(first, 2),
        "vertex_normals_20k_ms": round(
            milliseconds(lambda: vertex_normals(mesh.vertices, mesh.triangles), 50), 3
        ),
        "closest_build_20k_ms": round(
            milliseconds(lambda: ClosestPoint(mesh.vertices, mesh.triangles), 10), 2
        ),
        "closest_10k_queries_ms": round(milliseconds(lambda: tree.query(near), 10), 2),
    }
    print(json.dumps(other))
    if args.json:
        args.json.write_text(json.dumps({"drawing": rows, **other}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
