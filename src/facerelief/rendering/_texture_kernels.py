# pyright: basic
"""Compiled loops of `texture`. Import inside functions only: importing facerelief stays quick.

Tested by tests/rendering/test_texture.py.
"""

from __future__ import annotations

import math

from facerelief.geometry._jit import kernel


@kernel
def sample_texels(
    triangle,
    barycentric,
    triangles,
    uvz,
    facing,
    image,
    nearest,
    inner,
    zoom,
    reach,
    tolerance,
    low,
    high,
    texture,
    weight,
    free,
):
    """Fetch each texel's colour from an image, with its weight; see texture.sample_texture.

    triangle, barycentric: the mesh rasterised in texture space; uvz (N, 3) its vertices in the image; facing
    (N,) n_z; image (h, w, 3); nearest (h zoom, w zoom) depth of the nearest surface as far as `reach` mm
    around each pixel, -inf where none; inner, of the same size, a factor on the weight; low, high: n_z where
    the weight begins and where it is 1. Outputs texture, weight, and free (S, S) 1 where nothing lies before
    a texel, else 0.
    """
    size_v, size_u = triangle.shape
    height, width = image.shape[0], image.shape[1]
    for i in range(size_v):
        for j in range(size_u):
            for k in range(3):
                texture[i, j, k] = 0.0
            weight[i, j], free[i, j] = 0.0, 0.0
            t = triangle[i, j]
            if t < 0:
                continue
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            wa, wb, wc = barycentric[i, j, 0], barycentric[i, j, 1], barycentric[i, j, 2]
            n = wa * facing[a] + wb * facing[b] + wc * facing[c]
            if not n > low:
                continue
            u = wa * uvz[a, 0] + wb * uvz[b, 0] + wc * uvz[c, 0]
            v = wa * uvz[a, 1] + wb * uvz[b, 1] + wc * uvz[c, 1]
            z = wa * uvz[a, 2] + wb * uvz[b, 2] + wc * uvz[c, 2]
            if not (u >= 0.5 and v >= 0.5 and u <= width - 0.5 and v <= height - 0.5):
                continue
            row, column = min(int(v * zoom), inner.shape[0] - 1), min(int(u * zoom), inner.shape[1] - 1)
            slope = math.sqrt(max(1.0 - n * n, 0.0)) / n
            free[i, j] = 0.0 if z < nearest[row, column] - tolerance - reach * slope else 1.0
            x, y = u - 0.5, v - 0.5
            x0, y0 = min(int(x), width - 2), min(int(y), height - 2)
            fx, fy = x - x0, y - y0
            for k in range(3):
                upper = image[y0, x0, k] * (1.0 - fx) + image[y0, x0 + 1, k] * fx
                lower = image[y0 + 1, x0, k] * (1.0 - fx) + image[y0 + 1, x0 + 1, k] * fx
                texture[i, j, k] = upper * (1.0 - fy) + lower * fy
            weight[i, j] = min((n - low) / (high - low), 1.0) * inner[row, column]


@kernel
def mirror_texels(triangle, barycentric, corners, uv, texture, weight, out, out_weight):
    """Fetch each texel's mirror image: corners (T, 3) ids into uv (px) of the mirrored triangle, -1 for none.

    texture (S, S, 3) counts with weight (S, S); out (S, S, 3) is the weighted mean of four texels, out_weight
    their mean weight.
    """
    height, width = triangle.shape
    for i in range(height):
        for j in range(width):
            out_weight[i, j] = 0.0
            for k in range(3):
                out[i, j, k] = 0.0
            t = triangle[i, j]
            if t < 0 or corners[t, 0] < 0:
                continue
            u, v = 0.0, 0.0
            for m in range(3):
                u += barycentric[i, j, m] * uv[corners[t, m], 0]
                v += barycentric[i, j, m] * uv[corners[t, m], 1]
            x, y = u - 0.5, v - 0.5
            x0, y0 = math.floor(x), math.floor(y)
            total, r, g, b = 0.0, 0.0, 0.0, 0.0
            for k in range(4):
                row, column = y0 + k // 2, x0 + k % 2
                if row < 0 or row >= height or column < 0 or column >= width:
                    continue
                share = (x - x0 if k % 2 else 1.0 - (x - x0)) * (y - y0 if k // 2 else 1.0 - (y - y0))
                share *= weight[row, column]
                total += share
                r += share * texture[row, column, 0]
                g += share * texture[row, column, 1]
                b += share * texture[row, column, 2]
            if total > 1e-6:
                out[i, j, 0], out[i, j, 1], out[i, j, 2] = r / total, g / total, b / total
                out_weight[i, j] = total
