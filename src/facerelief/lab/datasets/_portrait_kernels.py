# pyright: basic
"""Compiled loops of `portraits`: hair, shading of vertices with shine and cast shadow, strands in depth.

Tested by tests/lab/datasets/test_portraits.py.
"""

from __future__ import annotations

import math

from facerelief.geometry._jit import kernel


@kernel
def grow_strands(
    roots, normals, length, flow, gravity, inertia, curl, waves, phase, radius, centre, clearance, out
):
    """Strands of hair over a head.

    roots, normals (S, 3) mm; length (S,) mm; flow (S, 3) direction in which each is combed; curl, waves,
    phase (S,): amplitude mm, radians a mm, radians; radius (A, B) of the head about `centre` by elevation and
    azimuth, mm; clearance (S,) mm above it; out (S, T, 3).
    """
    rows, columns = radius.shape
    steps = out.shape[1]
    for s in range(roots.shape[0]):
        x, y, z = roots[s, 0], roots[s, 1], roots[s, 2]
        size = math.sqrt(flow[s, 0] ** 2 + flow[s, 1] ** 2 + flow[s, 2] ** 2) + 1e-6
        dx = 0.4 * normals[s, 0] + 0.6 * flow[s, 0] / size
        dy = 0.4 * normals[s, 1] + 0.6 * flow[s, 1] / size
        dz = 0.4 * normals[s, 2] + 0.6 * flow[s, 2] / size
        step = length[s] / (steps - 1)
        keep = inertia ** (step / 6.0)
        for t in range(steps):
            # distance of the point from the head's middle, and the head's own there
            ux, uy, uz = x - centre[0], y - centre[1], z - centre[2]
            far = math.sqrt(ux * ux + uy * uy + uz * uz) + 1e-6
            ux, uy, uz = ux / far, uy / far, uz / far
            i = int((math.asin(min(max(uy, -1.0), 1.0)) / math.pi + 0.5) * rows)
            j = int((math.atan2(ux, uz) / (2.0 * math.pi) + 0.5) * columns)
            i, j = min(max(i, 0), rows - 1), min(max(j, 0), columns - 1)
            reach = radius[i, j] + clearance[s] * min(1.0, t / 3.0)
            if far < reach:
                x, y, z = centre[0] + ux * reach, centre[1] + uy * reach, centre[2] + uz * reach
                along = dx * ux + dy * uy + dz * uz
                if along < 0.0:
                    dx, dy, dz = dx - along * ux, dy - along * uy, dz - along * uz
            angle = phase[s] + waves[s] * t * step
            swing = curl[s] * min(1.0, t / 4.0)
            out[s, t, 0] = x + swing * math.cos(angle)
            out[s, t, 1] = y + 0.5 * swing * math.sin(angle)
            out[s, t, 2] = z + swing * math.sin(angle)
            combed = math.exp(-t * step / 60.0)  # far from the head hair hangs
            wx, wy, wz = combed * flow[s, 0], combed * flow[s, 1] - gravity, combed * flow[s, 2]
            size = math.sqrt(wx * wx + wy * wy + wz * wz) + 1e-6
            dx = keep * dx + (1 - keep) * wx / size
            dy = keep * dy + (1 - keep) * wy / size
            dz = keep * dz + (1 - keep) * wz / size
            size = math.sqrt(dx * dx + dy * dy + dz * dz) + 1e-6
            dx, dy, dz = dx / size, dy / size, dz / size
            x, y, z = x + dx * step, y + dy * step, z + dz * step


@kernel
def shade_vertices(points, normals, albedo, seen, gloss, light, key, color, shadow, axes, place, bias, out):
    """Colours of vertices.

    points, normals (N, 3) camera space; albedo (N, 3); seen (N,) ambient visibility; gloss (N, 2) strength
    and exponent of the shine; light (9, 3) folded (`lighting.fold_light`); key (3,) direction, color (3,);
    shadow (H, W) depth of the head seen from the key light; axes (2, 3), place (3,) = scale, u, v of that
    image; bias mm.
    """
    height, width = shadow.shape
    for n in range(points.shape[0]):
        x, y, z = normals[n, 0], normals[n, 1], normals[n, 2]
        facing = x * key[0] + y * key[1] + z * key[2]
        lit = 0.0
        if facing > 0.0:
            px, py, pz = points[n, 0], points[n, 1], points[n, 2]
            u = (axes[0, 0] * px + axes[0, 1] * py + axes[0, 2] * pz) * place[0] + place[1]
            v = place[2] - (axes[1, 0] * px + axes[1, 1] * py + axes[1, 2] * pz) * place[0]
            depth = key[0] * px + key[1] * py + key[2] * pz + bias
            j, i = math.floor(u - 0.5), math.floor(v - 0.5)
            fu, fv = u - 0.5 - j, v - 0.5 - i
            for k in range(4):
                r, c = i + k // 2, j + k % 2
                weight = (fv if k // 2 else 1 - fv) * (fu if k % 2 else 1 - fu)
                if r < 0 or c < 0 or r >= height or c >= width or not shadow[r, c] > depth:
                    lit += weight
        xy, yz, zz, xz, d = x * y, y * z, z * z, x * z, x * x - y * y
        # half vector of the key light and the viewer at z
        hx, hy, hz = key[0], key[1], key[2] + 1.0
        half = math.sqrt(hx * hx + hy * hy + hz * hz) + 1e-6
        shine = max(0.0, (x * hx + y * hy + z * hz) / half)
        edge = (1.0 - min(max(z, 0.0), 1.0)) ** 4
        shine = (
            gloss[n, 0] * lit * (shine ** gloss[n, 1] * gloss[n, 1] * 0.06 + 0.8 * edge * max(facing, 0.0))
        )
        for k in range(3):
            ambient = light[0, k] + light[1, k] * y + light[2, k] * z + light[3, k] * x + light[4, k] * xy
            ambient += light[5, k] * yz + light[6, k] * zz + light[7, k] * xz + light[8, k] * d
            total = albedo[n, k] * (max(ambient, 0.02) * seen[n] + color[k] * lit * max(facing, 0.0))
            out[n, k] = total + shine * color[k]


@kernel
def paint(triangle, barycentric, triangles, colors, texture, grain, image):
    """image (H, W, 4) float32: interpolated colours times 1 + texture * grain, and coverage.

    texture (N,) strength; grain (G, G) noise, repeated over the image.
    """
    height, width = triangle.shape
    size = grain.shape[0]
    for i in range(height):
        for j in range(width):
            t = triangle[i, j]
            if t < 0:
                image[i, j, 0] = image[i, j, 1] = image[i, j, 2] = image[i, j, 3] = 0.0
                continue
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            wa, wb, wc = barycentric[i, j, 0], barycentric[i, j, 1], barycentric[i, j, 2]
            strength = wa * texture[a] + wb * texture[b] + wc * texture[c]
            gain = 1.0 + strength * grain[i % size, j % size]
            for k in range(3):
                value = gain * (wa * colors[a, k] + wb * colors[b, k] + wc * colors[c, k])
                image[i, j, k] = min(max(value, 0.0), 1.0)
            image[i, j, 3] = 1.0


@kernel
def draw_strands(lines, width, color, key, strength, ambient, opacity, fade, bias, image, depth):
    """Draw polylines in front of a rendered image, hidden where the surface is nearer.

    lines (S, T, 3) u px, v px, z mm; width (S,) px; color (S, 3); key (3,) light's direction and its
    strength; ambient (3,); opacity (S,); fade: share of the width left at the end; bias mm; image (H, W, 4),
    depth (H, W), NaN where empty; both are changed.
    """
    height, breadth = depth.shape
    for s in range(lines.shape[0]):
        count = lines.shape[1]
        for t in range(count - 1):
            u0, v0, z0 = lines[s, t, 0], lines[s, t, 1], lines[s, t, 2]
            du, dv, dz = lines[s, t + 1, 0] - u0, lines[s, t + 1, 1] - v0, lines[s, t + 1, 2] - z0
            if max(u0, u0 + du) < -8 or max(v0, v0 + dv) < -8 or min(u0, u0 + du) > breadth + 8:
                continue
            if min(v0, v0 + dv) > height + 8:
                continue
            span = math.sqrt(du * du + dv * dv)
            # Kajiya and Kay (1989): light by the angle between hair and light
            size = math.sqrt(span * span + dz * dz) + 1e-6
            along = (du * key[0] - dv * key[1] + dz * key[2]) / size
            side = math.sqrt(max(0.0, 1.0 - along * along))
            lit = strength * side
            half = (du * key[0] - dv * key[1] + dz * (key[2] + 1.0)) / size
            shine = 0.35 * strength * max(0.0, 1.0 - 0.25 * half * half) ** 30
            c0 = color[s, 0] * (ambient[0] + lit) + shine * (0.3 + color[s, 0])
            c1 = color[s, 1] * (ambient[1] + lit) + shine * (0.3 + color[s, 1])
            c2 = color[s, 2] * (ambient[2] + lit) + shine * (0.3 + color[s, 2])
            c0, c1, c2 = min(max(c0, 0.0), 1.0), min(max(c1, 0.0), 1.0), min(max(c2, 0.0), 1.0)
            share = opacity[s]
            radius = 0.5 * width[s] * (1.0 - (1.0 - fade) * t / (count - 1))
            reach = (radius + 0.5) * (radius + 0.5)
            number = int(span / max(0.9, 0.8 * radius)) + 1
            for k in range(number):
                q = k / number
                u, v, z = u0 + q * du, v0 + q * dv, z0 + q * dz
                i0, i1 = max(math.floor(v - radius), 0), min(math.floor(v + radius), height - 1)
                j0, j1 = max(math.floor(u - radius), 0), min(math.floor(u + radius), breadth - 1)
                for i in range(i0, i1 + 1):
                    for j in range(j0, j1 + 1):
                        if depth[i, j] > z + bias:
                            continue
                        x, y = j + 0.5 - u, i + 0.5 - v
                        if radius > 1.5 and x * x + y * y > reach:
                            continue
                        image[i, j, 0] += share * (c0 - image[i, j, 0])
                        image[i, j, 1] += share * (c1 - image[i, j, 1])
                        image[i, j, 2] += share * (c2 - image[i, j, 2])
                        image[i, j, 3] += share * (1.0 - image[i, j, 3])
                        if share > 0.5:
                            depth[i, j] = z


@kernel
def head_radius(points, centre, out):
    """out (A, B): largest distance of points (N, 3) from `centre` by elevation and azimuth; 0 where none."""
    rows, columns = out.shape
    out[:] = 0.0
    for n in range(points.shape[0]):
        x, y, z = points[n, 0] - centre[0], points[n, 1] - centre[1], points[n, 2] - centre[2]
        far = math.sqrt(x * x + y * y + z * z) + 1e-6
        i = min(int((math.asin(y / far) / math.pi + 0.5) * rows), rows - 1)
        j = min(int((math.atan2(x, z) / (2.0 * math.pi) + 0.5) * columns), columns - 1)
        out[i, j] = max(out[i, j], far)
    for _ in range(6):  # fill what no point fell into
        for i in range(rows):
            for j in range(columns):
                if out[i, j] == 0.0:
                    best = 0.0
                    for k in range(4):
                        r = min(max(i + (k == 0) - (k == 1), 0), rows - 1)
                        c = (j + (k == 2) - (k == 3)) % columns
                        best = max(best, out[r, c])
                    out[i, j] = best


@kernel
def point_visibility(uvz, depth, zoom, tolerance, out):
    """out (N,): 1 where a point (u px, v px, z mm) is at most `tolerance` mm behind the image's depth, 0
    where it is hidden or outside; depth has `zoom` px for one of the points' px."""
    height, width = depth.shape
    for n in range(uvz.shape[0]):
        i, j = math.floor(uvz[n, 1] * zoom), math.floor(uvz[n, 0] * zoom)
        out[n] = 0
        for di in range(-1, 2):
            for dj in range(-1, 2):
                r, c = i + di, j + dj
                if 0 <= r < height and 0 <= c < width and not depth[r, c] > uvz[n, 2] + tolerance:
                    out[n] = 1
