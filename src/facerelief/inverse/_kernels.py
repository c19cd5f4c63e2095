# pyright: basic
"""Compiled loops of the inverse room. Import inside functions only: importing facerelief stays quick.

All grids are (h, w) with a frame of at least one pixel in which nothing is active, so that neighbours need no
checks. Slopes are dz/dx and dz/dy with y up: row i - 1 is above row i.

Tested by tests/inverse/test_relief.py and test_detail.py.
"""

from __future__ import annotations

import math

import numpy as np

from facerelief.geometry._jit import kernel


@kernel
def _shade(p, q, light, s, js):
    """Shading s (3,) of slopes p = dz/dx, q = dz/dy and its derivative js (3, 2); light (9, 3) folded."""
    z = 1.0 / math.sqrt(1.0 + p * p + q * q)
    x, y = -p * z, -q * z
    for c in range(3):
        s[c] = (
            light[0, c]
            + light[1, c] * y
            + light[2, c] * z
            + light[3, c] * x
            + light[4, c] * x * y
            + light[5, c] * y * z
            + light[6, c] * z * z
            + light[7, c] * x * z
            + light[8, c] * (x * x - y * y)
        )
        sx = light[3, c] + light[4, c] * y + light[7, c] * z + 2.0 * light[8, c] * x
        sy = light[1, c] + light[4, c] * x + light[5, c] * z - 2.0 * light[8, c] * y
        sz = light[2, c] + light[5, c] * y + 2.0 * light[6, c] * z + light[7, c] * x
        # dn/dp = z ((x x - 1), x y, x z), dn/dq = z (x y, (y y - 1), y z): the derivative of normalisation
        along = sx * x + sy * y + sz * z
        js[c, 0] = z * (along * x - sx)
        js[c, 1] = z * (along * y - sy)


@kernel
def shade_slopes(p, q, light, shading, jacobian):
    """shading (h, w, 3) of slopes p, q (h, w) and jacobian (h, w, 3, 2) of it; both overwritten."""
    s, js = np.empty(3, np.float32), np.empty((3, 2), np.float32)
    for i in range(p.shape[0]):
        for j in range(p.shape[1]):
            _shade(p[i, j], q[i, j], light, s, js)
            for c in range(3):
                shading[i, j, c] = s[c]
                jacobian[i, j, c, 0] = js[c, 0]
                jacobian[i, j, c, 1] = js[c, 1]


@kernel
def _along_shading(jacobian, i, j, c, e):
    """Entry (c, e) of a pixel's jacobian jacobian^T: how channels change together when slopes do."""
    return (
        np.float64(jacobian[i, j, c, 0]) * jacobian[i, j, e, 0]
        + np.float64(jacobian[i, j, c, 1]) * jacobian[i, j, e, 1]
    )


@kernel
def band_statistics(band, jacobian, noise, skin, mask, out):
    """Per pixel what tells how strong albedo detail is in a band of log colour; out (h, w, 3) is overwritten.

    band (h, w, 3); jacobian (h, w, 3, 2) of log shading by slopes; noise (h, w, 3) variances; skin (3, 3)
    covariance of albedo detail. With N = diag(noise) and P = (jacobian jacobian^T + N)^-1, which nearly
    projects shading away: q^T P q, its mean from noise alone, and what detail of covariance skin adds to it.
    """
    m, inverse = np.empty((3, 3)), np.empty((3, 3))
    for i in range(band.shape[0]):
        for j in range(band.shape[1]):
            for k in range(3):
                out[i, j, k] = 0.0
            if not mask[i, j]:
                continue
            for c in range(3):
                for e in range(3):
                    m[c, e] = _along_shading(jacobian, i, j, c, e)
                m[c, c] += noise[i, j, c]
            _inverse(m, inverse)
            for c in range(3):
                # a clipped channel's variance stands for "unknown": it has no noise to expect
                out[i, j, 1] += inverse[c, c] * min(noise[i, j, c], 0.1)
                for e in range(3):
                    out[i, j, 0] += inverse[c, e] * np.float64(band[i, j, c]) * band[i, j, e]
                    out[i, j, 2] += inverse[c, e] * skin[c, e]


@kernel
def separate(band, strength, slope, jacobian, noise, skin, mask, out):
    """The part of a band of log colour that albedo detail explains; out (h, w, 3) is overwritten.

    As `band_statistics`, with the local strength (h, w) of the detail, a factor on skin, and the variance
    of slopes: A (A + slope S + N)^-1 band with A = strength skin, the best linear estimate.
    """
    m, inverse = np.empty((3, 3)), np.empty((3, 3))
    v = np.empty(3)
    for i in range(band.shape[0]):
        for j in range(band.shape[1]):
            for c in range(3):
                out[i, j, c] = 0.0
            if not mask[i, j]:
                continue
            g = np.float64(strength[i, j])
            for c in range(3):
                for e in range(3):
                    m[c, e] = g * skin[c, e] + slope * _along_shading(jacobian, i, j, c, e)
                m[c, c] += noise[i, j, c]
            _inverse(m, inverse)
            for c in range(3):
                v[c] = 0.0
                for e in range(3):
                    v[c] += inverse[c, e] * band[i, j, e]
            for c in range(3):
                total = 0.0
                for e in range(3):
                    total += skin[c, e] * v[e]
                out[i, j, c] = g * total


@kernel
def _inverse(m, out):
    """Inverse of a symmetric positive definite matrix (3, 3)."""
    a, b, c = m[0, 0], m[0, 1], m[0, 2]
    d, e, f = m[1, 1], m[1, 2], m[2, 2]
    i00, i01, i02 = d * f - e * e, c * e - b * f, b * e - c * d
    share = 1.0 / max(a * i00 + b * i01 + c * i02, 1e-30)
    out[0, 0], out[0, 1], out[0, 2] = i00 * share, i01 * share, i02 * share
    out[1, 0], out[1, 1], out[1, 2] = out[0, 1], (a * f - c * c) * share, (b * c - a * e) * share
    out[2, 0], out[2, 1], out[2, 2] = out[0, 2], out[1, 2], (a * d - b * b) * share


@kernel
def precision(noise, skin, spread, detail, strength, mask, out):
    """out (h, w, 6): xx xy xz yy yz zz of (strength skin + spread a a^T + noise)^-1; a is detail."""
    m, inverse = np.empty((3, 3)), np.empty((3, 3))
    for i in range(noise.shape[0]):
        for j in range(noise.shape[1]):
            for k in range(6):
                out[i, j, k] = 0.0
            if not mask[i, j]:
                continue
            for c in range(3):
                for e in range(3):
                    m[c, e] = (
                        strength[i, j] * skin[c, e] + spread * np.float64(detail[i, j, c]) * detail[i, j, e]
                    )
                m[c, c] += noise[i, j, c]
            _inverse(m, inverse)
            out[i, j, 0], out[i, j, 1], out[i, j, 2] = inverse[0, 0], inverse[0, 1], inverse[0, 2]
            out[i, j, 3], out[i, j, 4], out[i, j, 5] = inverse[1, 1], inverse[1, 2], inverse[2, 2]


@kernel
def linearise(d, mask, p0, q0, target, unit, inverse, light, scale, tensor, force, misfit):
    """Photometric term at displacement d (h, w) mm, before robust weights.

    Each pixel's colour is compared with the shading of two triangles, the one to its right and above and the
    one to its left and below (forward and backward differences), half each: central differences would leave
    checkerboards free. Residual r_c = (target_c - s_c(n)) / unit_c, cost r^T P r with P from inverse (h, w,
    6). Outputs: tensor (h, w, 6) J^T P J of each triangle (xx, xy, yy twice), force (h, w, 4) J^T P r
    likewise, misfit (h, w) the cost; J is the derivative of the model s/unit by the slopes.
    """
    s, js = np.empty(3, np.float32), np.empty((3, 2), np.float32)
    r, v = np.empty(3, np.float32), np.empty((3, 2), np.float32)
    half = np.float32(0.5)
    scale = np.float32(scale)
    for i in range(d.shape[0]):
        for j in range(d.shape[1]):
            misfit[i, j] = 0.0
            if not mask[i, j]:
                for k in range(6):
                    tensor[i, j, k] = 0.0
                for k in range(4):
                    force[i, j, k] = 0.0
                continue
            cost = np.float32(0.0)
            for side in range(2):
                if side == 0:
                    p = p0[i, j] + (d[i, j + 1] - d[i, j]) * scale
                    q = q0[i, j] + (d[i - 1, j] - d[i, j]) * scale
                else:
                    p = p0[i, j] + (d[i, j] - d[i, j - 1]) * scale
                    q = q0[i, j] + (d[i, j] - d[i + 1, j]) * scale
                _shade(p, q, light, s, js)
                for c in range(3):
                    u = np.float32(1.0) / unit[i, j, c]
                    r[c] = (target[i, j, c] - s[c]) * u
                    js[c, 0] *= u
                    js[c, 1] *= u
                a, b, c_ = inverse[i, j, 0], inverse[i, j, 1], inverse[i, j, 2]
                e, f, g = inverse[i, j, 3], inverse[i, j, 4], inverse[i, j, 5]
                for k in range(2):
                    v[0, k] = a * js[0, k] + b * js[1, k] + c_ * js[2, k]
                    v[1, k] = b * js[0, k] + e * js[1, k] + f * js[2, k]
                    v[2, k] = c_ * js[0, k] + f * js[1, k] + g * js[2, k]
                xx = v[0, 0] * js[0, 0] + v[1, 0] * js[1, 0] + v[2, 0] * js[2, 0]
                xy = v[0, 0] * js[0, 1] + v[1, 0] * js[1, 1] + v[2, 0] * js[2, 1]
                yy = v[0, 1] * js[0, 1] + v[1, 1] * js[1, 1] + v[2, 1] * js[2, 1]
                tensor[i, j, 3 * side] = half * xx
                tensor[i, j, 3 * side + 1] = half * xy
                tensor[i, j, 3 * side + 2] = half * yy
                for k in range(2):
                    force[i, j, 2 * side + k] = half * (v[0, k] * r[0] + v[1, k] * r[1] + v[2, k] * r[2])
                cost += half * (
                    a * r[0] * r[0]
                    + e * r[1] * r[1]
                    + g * r[2] * r[2]
                    + 2 * (b * r[0] * r[1] + c_ * r[0] * r[2] + f * r[1] * r[2])
                )
            misfit[i, j] = cost


@kernel
def slopes_adjoint(force, active, scale, out):
    """out (h, w) = D^T force: the adjoint of the forward and backward differences of `linearise`."""
    height, width = active.shape
    scale = np.float32(scale)
    for i in range(height):
        for j in range(width):
            out[i, j] = 0.0
    for i in range(1, height - 1):
        for j in range(1, width - 1):
            a, b, c, d = force[i, j, 0], force[i, j, 1], force[i, j, 2], force[i, j, 3]
            out[i, j] += scale * (c + d - a - b)
            out[i, j + 1] += scale * a
            out[i - 1, j] += scale * b
            out[i, j - 1] -= scale * c
            out[i + 1, j] -= scale * d
    for i in range(height):
        for j in range(width):
            if not active[i, j]:
                out[i, j] = 0.0


@kernel
def laplacian(d, active, scale, out):
    """out (h, w) five-point Laplacian in 1/mm of d (h, w) mm at active pixels, 0 elsewhere."""
    height, width = d.shape
    ss = np.float32(scale * scale)
    for i in range(height):
        for j in range(width):
            out[i, j] = 0.0
            if active[i, j]:
                around = d[i - 1, j] + d[i + 1, j] + d[i, j - 1] + d[i, j + 1]
                out[i, j] = ss * (around - np.float32(4.0) * d[i, j])


@kernel
def apply(x, active, tensor, pull, bend, scale, out):
    """out = (D^T T D + pull + L^T bend L) x on active pixels; x must be 0 elsewhere.

    tensor (h, w, 6) as `linearise` gives it, robust weights multiplied in; pull, bend (h, w).
    """
    height, width = x.shape
    scale = np.float32(scale)
    ss = scale * scale
    four = np.float32(4.0)
    for i in range(height):
        for j in range(width):
            out[i, j] = 0.0
    for i in range(1, height - 1):
        for j in range(1, width - 1):
            h = x[i, j]
            right, left, up, down = x[i, j + 1], x[i, j - 1], x[i - 1, j], x[i + 1, j]
            fx, fy, bx, by = right - h, up - h, h - left, h - down
            a = ss * (tensor[i, j, 0] * fx + tensor[i, j, 1] * fy)
            b = ss * (tensor[i, j, 1] * fx + tensor[i, j, 2] * fy)
            c = ss * (tensor[i, j, 3] * bx + tensor[i, j, 4] * by)
            d = ss * (tensor[i, j, 4] * bx + tensor[i, j, 5] * by)
            k = ss * ss * bend[i, j] * (right + left + up + down - four * h)
            out[i, j] += c + d - a - b + pull[i, j] * h - four * k
            out[i, j + 1] += a + k
            out[i - 1, j] += b + k
            out[i, j - 1] += k - c
            out[i + 1, j] += k - d
    for i in range(height):
        for j in range(width):
            if not active[i, j]:
                out[i, j] = 0.0


@kernel
def diagonal(active, tensor, pull, bend, scale, out):
    """out (h, w): the diagonal of `apply`'s operator, 1 where nothing is active."""
    height, width = pull.shape
    ss = np.float32(scale * scale)
    for i in range(height):
        for j in range(width):
            out[i, j] = 0.0
    for i in range(1, height - 1):
        for j in range(1, width - 1):
            bent = ss * ss * bend[i, j]
            forward = tensor[i, j, 0] + np.float32(2.0) * tensor[i, j, 1] + tensor[i, j, 2]
            backward = tensor[i, j, 3] + np.float32(2.0) * tensor[i, j, 4] + tensor[i, j, 5]
            out[i, j] += ss * (forward + backward) + pull[i, j] + np.float32(16.0) * bent
            out[i, j + 1] += ss * tensor[i, j, 0] + bent
            out[i - 1, j] += ss * tensor[i, j, 2] + bent
            out[i, j - 1] += ss * tensor[i, j, 3] + bent
            out[i + 1, j] += ss * tensor[i, j, 5] + bent
    for i in range(height):
        for j in range(width):
            if not active[i, j] or not out[i, j] > 0.0:
                out[i, j] = 1.0


@kernel
def conjugate_gradient(b, active, tensor, pull, bend, scale, steps, tolerance, x):
    """Solve apply(x) = b with Jacobi preconditioning from x = 0; x (h, w) is overwritten.

    At most `steps` steps, or until the preconditioned residual has fallen by `tolerance`.
    """
    height, width = b.shape
    m = np.empty_like(b)
    diagonal(active, tensor, pull, bend, scale, m)
    r, p, ap = np.empty_like(b), np.empty_like(b), np.empty_like(b)
    rz = 0.0
    for i in range(height):
        for j in range(width):
            x[i, j] = 0.0
            r[i, j] = b[i, j] if active[i, j] else 0.0
            m[i, j] = np.float32(1.0) / m[i, j]
            p[i, j] = m[i, j] * r[i, j]
            rz += r[i, j] * p[i, j]
    start = rz
    for _ in range(steps):
        if not rz > tolerance * tolerance * start:
            break
        apply(p, active, tensor, pull, bend, scale, ap)
        pap = 0.0
        for i in range(height):
            row = np.float32(0.0)  # a row's sum in float32, vectorised; rows in float64
            for j in range(width):
                row += p[i, j] * ap[i, j]
            pap += row
        if not pap > 0.0:
            break
        alpha = np.float32(rz / pap)
        fresh = 0.0
        for i in range(height):
            row = np.float32(0.0)
            for j in range(width):
                x[i, j] += alpha * p[i, j]
                r[i, j] -= alpha * ap[i, j]
                row += r[i, j] * m[i, j] * r[i, j]
            fresh += row
        beta = np.float32(fresh / rz)
        rz = fresh
        for i in range(height):
            for j in range(width):
                p[i, j] = m[i, j] * r[i, j] + beta * p[i, j]


@kernel
def face_pixels(triangle, barycentric, kinds, triangles, share, skin, eyes):
    """skin and eyes (h, w) bool of a drawing: triangle (h, w) ids, -1 for none; kinds (T,) 0 neither, 1 skin,
    2 crossed by the outline, where share (N,) interpolated tells, 3 eyes."""
    h, w = triangle.shape
    for i in range(h):
        for j in range(w):
            t = triangle[i, j]
            kind = kinds[t] if t >= 0 else 0
            inside = kind == 1
            if kind == 2:
                s = np.float32(0)
                for k in range(3):
                    s += barycentric[i, j, k] * share[triangles[t, k]]
                inside = s >= np.float32(0.5)
            skin[i, j] = inside
            eyes[i, j] = kind == 3
