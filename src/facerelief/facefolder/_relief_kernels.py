# pyright: basic
"""Compiled loops of `relief_uv`. Import inside functions only: importing facerelief stays quick.

Tested by tests/facefolder/test_relief_uv.py.
"""

from __future__ import annotations

import math

import numpy as np

from facerelief.geometry._jit import kernel


@kernel
def sample_relief(
    triangle,
    barycentric,
    triangles,
    allowed,
    places,
    points,
    normals,
    relief,
    share,
    nearest,
    distance,
    pixel,
    tolerance,
    low,
    high,
    height,
    weight,
):
    """Height of each texel along its normal, and its weight; see relief_uv.relief_in_uv.

    triangle, barycentric: the mesh rasterised in texture space; allowed (T,) triangles of skin; places (N, 2)
    px on the patch, points (N, 3) camera space, mm, normals (N, 3) likewise; relief (h, w) mm along camera z,
    0 where none; share (h, w) its weight; nearest (h, w) depth of the rendered surface, NaN where none;
    distance: k, 1/mm; pixel: mm per px; tolerance, mm; low, high: facing at which the weight begins and is 1.
    Outputs height and weight (S, S).
    """
    rows, columns = relief.shape
    for i in range(triangle.shape[0]):
        for j in range(triangle.shape[1]):
            height[i, j], weight[i, j] = 0.0, 0.0
            t = triangle[i, j]
            if t < 0 or not allowed[t]:
                continue
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            wa, wb, wc = barycentric[i, j, 0], barycentric[i, j, 1], barycentric[i, j, 2]
            x = wa * places[a, 0] + wb * places[b, 0] + wc * places[c, 0] - 0.5
            y = wa * places[a, 1] + wb * places[b, 1] + wc * places[c, 1] - 0.5
            if not (x >= 0.0 and y >= 0.0 and x <= columns - 1.0 and y <= rows - 1.0):
                continue
            nx = wa * normals[a, 0] + wb * normals[b, 0] + wc * normals[c, 0]
            ny = wa * normals[a, 1] + wb * normals[b, 1] + wc * normals[c, 1]
            nz = wa * normals[a, 2] + wb * normals[b, 2] + wc * normals[c, 2]
            length = math.sqrt(nx * nx + ny * ny + nz * nz)
            px = wa * points[a, 0] + wb * points[b, 0] + wc * points[c, 0]
            py = wa * points[a, 1] + wb * points[b, 1] + wc * points[c, 1]
            pz = wa * points[a, 2] + wb * points[b, 2] + wc * points[c, 2]
            # the way from the point to the viewer, its z 1
            away = 1.0 - distance * pz
            vx, vy = -distance * px / away, -distance * py / away
            along = (nx * vx + ny * vy + nz) / max(length, 1e-9)
            facing = along / math.sqrt(vx * vx + vy * vy + 1.0)
            if not facing > low:
                continue
            x0, y0 = min(int(x), columns - 2), min(int(y), rows - 2)
            if x0 < 0 or y0 < 0:
                continue
            front = nearest[min(int(y + 0.5), rows - 1), min(int(x + 0.5), columns - 1)]
            slope = math.sqrt(max(1.0 - facing * facing, 0.0)) / facing
            if not abs(front - pz) < tolerance + pixel * slope:
                continue
            fx, fy = x - x0, y - y0
            upper = share[y0, x0] * (1.0 - fx) + share[y0, x0 + 1] * fx
            lower = share[y0 + 1, x0] * (1.0 - fx) + share[y0 + 1, x0 + 1] * fx
            seen = upper * (1.0 - fy) + lower * fy
            # Catmull-Rom: slopes are continuous, and between pixels no steps of the normals show
            total = 0.0
            for m in range(4):
                if m == 0:
                    wy = ((-0.5 * fy + 1.0) * fy - 0.5) * fy
                elif m == 1:
                    wy = (1.5 * fy - 2.5) * fy * fy + 1.0
                elif m == 2:
                    wy = ((-1.5 * fy + 2.0) * fy + 0.5) * fy
                else:
                    wy = (0.5 * fy - 0.5) * fy * fy
                row = min(max(y0 - 1 + m, 0), rows - 1)
                line = (
                    relief[row, max(x0 - 1, 0)] * (((-0.5 * fx + 1.0) * fx - 0.5) * fx)
                    + relief[row, x0] * ((1.5 * fx - 2.5) * fx * fx + 1.0)
                    + relief[row, x0 + 1] * (((-1.5 * fx + 2.0) * fx + 0.5) * fx)
                    + relief[row, min(x0 + 2, columns - 1)] * ((0.5 * fx - 0.5) * fx * fx)
                )
                total += wy * line
            height[i, j] = total * along
            weight[i, j] = seen * min((facing - low) / (high - low), 1.0)


@kernel
def tangent_normals(triangle, barycentric, corners, source, normals, tangents, dual_u, dual_v, height, out):
    """Code the normals of a surface with heights in its tangent frame; see relief_uv.normal_map.

    corners (T, 3) ids of the split mesh, source (V,) its vertices, normals (N, 3), tangents (V, 4); dual_u,
    dual_v (T, 3): gradient of u and v on the triangle, 1/mm; height (S, S) mm. Output out (S, S, 3) uint8,
    flat where the height is 0 all around.
    """
    rows, columns = height.shape
    for i in range(rows):
        for j in range(columns):
            out[i, j, 0], out[i, j, 1], out[i, j, 2] = 128, 128, 255
            t = triangle[i, j]
            if t < 0:
                continue
            here = height[i, j]
            right, left, up, down = here, here, here, here
            across, along = 0.0, 0.0
            if j + 1 < columns and triangle[i, j + 1] >= 0:
                right, across = height[i, j + 1], across + 1.0
            if j > 0 and triangle[i, j - 1] >= 0:
                left, across = height[i, j - 1], across + 1.0
            if i > 0 and triangle[i - 1, j] >= 0:
                up, along = height[i - 1, j], along + 1.0
            if i + 1 < rows and triangle[i + 1, j] >= 0:
                down, along = height[i + 1, j], along + 1.0
            hu = (right - left) * columns / max(across, 1.0)
            hv = (up - down) * rows / max(along, 1.0)
            if hu == 0.0 and hv == 0.0:
                continue
            gx = hu * dual_u[t, 0] + hv * dual_v[t, 0]
            gy = hu * dual_u[t, 1] + hv * dual_v[t, 1]
            gz = hu * dual_u[t, 2] + hv * dual_v[t, 2]
            nx, ny, nz, tx, ty, tz = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for k in range(3):
                w = barycentric[i, j, k]
                corner = corners[t, k]
                v = source[corner]
                nx += w * normals[v, 0]
                ny += w * normals[v, 1]
                nz += w * normals[v, 2]
                tx += w * tangents[corner, 0]
                ty += w * tangents[corner, 1]
                tz += w * tangents[corner, 2]
            length = math.sqrt(nx * nx + ny * ny + nz * nz)
            if not length > 1e-6:
                continue
            nx, ny, nz = nx / length, ny / length, nz / length
            drop = gx * nx + gy * ny + gz * nz
            # the gradient along the smooth surface, of which shading has the normals
            gx, gy, gz = gx - drop * nx, gy - drop * ny, gz - drop * nz
            drop = tx * nx + ty * ny + tz * nz
            tx, ty, tz = tx - drop * nx, ty - drop * ny, tz - drop * nz
            length = math.sqrt(tx * tx + ty * ty + tz * tz)
            if not length > 1e-6:
                continue
            tx, ty, tz = tx / length, ty / length, tz / length
            sign = tangents[corners[t, 0], 3]
            bx, by, bz = sign * (ny * tz - nz * ty), sign * (nz * tx - nx * tz), sign * (nx * ty - ny * tx)
            p = -(gx * tx + gy * ty + gz * tz)
            q = -(gx * bx + gy * by + gz * bz)
            scale = 1.0 / math.sqrt(1.0 + p * p + q * q)
            out[i, j, 0] = np.uint8(min(max(127.5 * (p * scale + 1.0) + 0.5, 0.0), 255.0))
            out[i, j, 1] = np.uint8(min(max(127.5 * (q * scale + 1.0) + 0.5, 0.0), 255.0))
            out[i, j, 2] = np.uint8(min(max(127.5 * (scale + 1.0) + 0.5, 0.0), 255.0))
