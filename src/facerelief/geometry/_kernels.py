# pyright: basic
"""Compiled loops of the geometry room. Import inside functions only: importing facerelief stays quick.

Tested by tests/geometry/test_normals.py, test_closest.py and test_depth.py.
"""

from __future__ import annotations

import math

import numpy as np

from facerelief.geometry._jit import kernel


@kernel
def vertex_normals(vertices, triangles, out):
    """Sum of the triangles' cross products per vertex, normalised; out (N, 3) is overwritten."""
    n = vertices.shape[0]
    total = np.zeros((n, 3), np.float64)
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = np.float64(vertices[a, 0]), np.float64(vertices[a, 1]), np.float64(vertices[a, 2])
        bx, by, bz = vertices[b, 0] - ax, vertices[b, 1] - ay, vertices[b, 2] - az
        cx, cy, cz = vertices[c, 0] - ax, vertices[c, 1] - ay, vertices[c, 2] - az
        x = by * cz - bz * cy
        y = bz * cx - bx * cz
        z = bx * cy - by * cx
        total[a, 0] += x
        total[a, 1] += y
        total[a, 2] += z
        total[b, 0] += x
        total[b, 1] += y
        total[b, 2] += z
        total[c, 0] += x
        total[c, 1] += y
        total[c, 2] += z
    for i in range(n):
        x, y, z = total[i, 0], total[i, 1], total[i, 2]
        length = math.sqrt(x * x + y * y + z * z)
        inverse = 1.0 / length if length > 0.0 else 0.0
        out[i, 0] = x * inverse
        out[i, 1] = y * inverse
        out[i, 2] = z * inverse


LEAF = 4


@kernel
def build_tree(corners, order, bounds, split):
    """Bounding-box tree over triangles, depth first: the left child of a node follows it.

    corners (T, 3, 3); order (n,) int32 holds the ids to include and is permuted so that each node owns a run
    of it; bounds (M, 6) float64 low and high corner; split (M, 3) int32: right child or -1 for a leaf, first
    and last + 1 place in order. Returns the number of nodes.
    """
    center = np.empty((corners.shape[0], 3), np.float64)
    for t in range(corners.shape[0]):
        for k in range(3):
            center[t, k] = corners[t, 0, k] + corners[t, 1, k] + corners[t, 2, k]
    # a stack of (first, last, parent whose right child this is or -1)
    stack = np.empty((128, 3), np.int64)
    stack[0, 0], stack[0, 1], stack[0, 2] = 0, order.shape[0], -1
    top = 1
    node = 0
    low, high = np.empty(3), np.empty(3)
    while top > 0:
        top -= 1
        first, last, parent = stack[top, 0], stack[top, 1], stack[top, 2]
        if parent >= 0:
            split[parent, 0] = node
        for k in range(3):
            bounds[node, k], bounds[node, 3 + k] = np.inf, -np.inf
            low[k], high[k] = np.inf, -np.inf
        for p in range(first, last):
            t = order[p]
            for k in range(3):
                for c in range(3):
                    bounds[node, k] = min(bounds[node, k], corners[t, c, k])
                    bounds[node, 3 + k] = max(bounds[node, 3 + k], corners[t, c, k])
                low[k] = min(low[k], center[t, k])
                high[k] = max(high[k], center[t, k])
        split[node, 0], split[node, 1], split[node, 2] = -1, first, last
        if last - first > LEAF:
            axis = 0
            for k in range(1, 3):
                if high[k] - low[k] > high[axis] - low[axis]:
                    axis = k
            middle = (first + last) // 2
            # quickselect: the middle in place, smaller before it, larger after it
            left, right = first, last - 1
            while left < right:
                pivot = center[order[(left + right) // 2], axis]
                i, j = left, right
                while i <= j:
                    while center[order[i], axis] < pivot:
                        i += 1
                    while center[order[j], axis] > pivot:
                        j -= 1
                    if i <= j:
                        order[i], order[j] = order[j], order[i]
                        i += 1
                        j -= 1
                if middle <= j:
                    right = j
                elif middle >= i:
                    left = i
                else:
                    break
            stack[top, 0], stack[top, 1], stack[top, 2] = middle, last, node
            stack[top + 1, 0], stack[top + 1, 1], stack[top + 1, 2] = first, middle, -1
            top += 2
        node += 1
    return node


@kernel
def _segment(p, a, b):
    """Parameter in [0, 1] of the point of segment a b nearest to p, and its squared distance."""
    dot, length = 0.0, 0.0
    for k in range(3):
        d = b[k] - a[k]
        dot += (p[k] - a[k]) * d
        length += d * d
    s = min(max(dot / length, 0.0), 1.0) if length > 0.0 else 0.0
    distance = 0.0
    for k in range(3):
        d = p[k] - a[k] - s * (b[k] - a[k])
        distance += d * d
    return s, distance


@kernel
def _nearest_on_triangle(p, corners, weights):
    """Squared distance from p to a triangle (3, 3); weights (3,) receives the barycentrics of the nearest
    point.

    By regions (Ericson, Real-Time Collision Detection, 5.1.5); triangles without area by their three sides.
    """
    ab0, ab1, ab2 = (
        corners[1, 0] - corners[0, 0],
        corners[1, 1] - corners[0, 1],
        corners[1, 2] - corners[0, 2],
    )
    ac0, ac1, ac2 = (
        corners[2, 0] - corners[0, 0],
        corners[2, 1] - corners[0, 1],
        corners[2, 2] - corners[0, 2],
    )
    ap0, ap1, ap2 = p[0] - corners[0, 0], p[1] - corners[0, 1], p[2] - corners[0, 2]
    n0, n1, n2 = ab1 * ac2 - ab2 * ac1, ab2 * ac0 - ab0 * ac2, ab0 * ac1 - ab1 * ac0
    bb = ab0 * ab0 + ab1 * ab1 + ab2 * ab2
    cc = ac0 * ac0 + ac1 * ac1 + ac2 * ac2
    area = n0 * n0 + n1 * n1 + n2 * n2
    if area <= 1e-20 * bb * cc or bb == 0.0 or cc == 0.0:
        best = np.inf
        for k in range(3):
            m = (k + 1) % 3
            s, distance = _segment(p, corners[k], corners[m])
            if distance < best:
                best = distance
                weights[k], weights[m], weights[3 - k - m] = 1.0 - s, s, 0.0
        return best
    d1 = ab0 * ap0 + ab1 * ap1 + ab2 * ap2
    d2 = ac0 * ap0 + ac1 * ap1 + ac2 * ap2
    bc = ab0 * ac0 + ab1 * ac1 + ab2 * ac2
    d3, d4 = d1 - bb, d2 - bc
    d5, d6 = d1 - bc, d2 - cc
    va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    if d1 <= 0.0 and d2 <= 0.0:
        v, w = 0.0, 0.0
    elif d3 >= 0.0 and d4 <= d3:
        v, w = 1.0, 0.0
    elif d6 >= 0.0 and d5 <= d6:
        v, w = 0.0, 1.0
    elif vc <= 0.0 and d1 >= 0.0 and d3 <= 0.0:
        v, w = d1 / (d1 - d3), 0.0
    elif vb <= 0.0 and d2 >= 0.0 and d6 <= 0.0:
        v, w = 0.0, d2 / (d2 - d6)
    elif va <= 0.0 and d4 - d3 >= 0.0 and d5 - d6 >= 0.0:
        w = (d4 - d3) / ((d4 - d3) + (d5 - d6))
        v = 1.0 - w
    else:
        share = 1.0 / (va + vb + vc)
        v, w = vb * share, vc * share
    weights[0], weights[1], weights[2] = 1.0 - v - w, v, w
    x, y, z = ap0 - v * ab0 - w * ac0, ap1 - v * ab1 - w * ac1, ap2 - v * ab2 - w * ac2
    return x * x + y * y + z * z


@kernel
def _box_distance(p, box):
    total = 0.0
    for k in range(3):
        d = max(max(box[k] - p[k], p[k] - box[3 + k]), 0.0)
        total += d * d
    return total


@kernel
def query_tree(points, corners, order, bounds, split, distance, triangle, weights):
    """Nearest point of the tree's triangles to each of points (Q, 3); the three outputs are overwritten."""
    stack = np.empty(128, np.int64)
    reach = np.empty(128, np.float64)
    trial = np.empty(3, np.float64)
    guess = -1
    for q in range(points.shape[0]):
        p = points[q]
        if not (math.isfinite(p[0]) and math.isfinite(p[1]) and math.isfinite(p[2])):
            distance[q], triangle[q] = np.nan, -1
            weights[q, 0], weights[q, 1], weights[q, 2] = np.nan, np.nan, np.nan
            continue
        best, found = np.inf, -1
        if guess >= 0:  # neighbouring queries often share their answer: a tight bound to start with
            best = _nearest_on_triangle(p, corners[guess], weights[q])
            found = guess
        stack[0], reach[0] = 0, _box_distance(p, bounds[0])
        top = 1
        while top > 0:
            top -= 1
            if reach[top] > best:
                continue
            node = stack[top]
            right = split[node, 0]
            if right < 0:
                for k in range(split[node, 1], split[node, 2]):
                    t = order[k]
                    d = _nearest_on_triangle(p, corners[t], trial)
                    if d < best or (d == best and t < found):  # of equal ones the lowest id
                        best, found = d, t
                        weights[q, 0], weights[q, 1], weights[q, 2] = trial[0], trial[1], trial[2]
                continue
            near, far = node + 1, np.int64(right)
            near_reach, far_reach = _box_distance(p, bounds[near]), _box_distance(p, bounds[far])
            if far_reach < near_reach:
                near, far = far, near
                near_reach, far_reach = far_reach, near_reach
            if far_reach <= best:
                stack[top], reach[top] = far, far_reach
                top += 1
            if near_reach <= best:
                stack[top], reach[top] = near, near_reach
                top += 1
        distance[q], triangle[q] = math.sqrt(best), found
        guess = found


@kernel
def normals_from_depth(depth, scale, out):
    """out (h, w, 3) camera-space normals of depth (h, w) mm at scale px/mm; see depth.normals_from_depth."""
    height, width = depth.shape
    for i in range(height):
        for j in range(width):
            z = np.float64(depth[i, j])
            if not math.isfinite(z):
                out[i, j, 0], out[i, j, 1], out[i, j, 2] = np.nan, np.nan, np.nan
                continue
            x0, x1, step_x = z, z, 0
            if j > 0 and math.isfinite(depth[i, j - 1]):
                x0 = np.float64(depth[i, j - 1])
                step_x += 1
            if j + 1 < width and math.isfinite(depth[i, j + 1]):
                x1 = np.float64(depth[i, j + 1])
                step_x += 1
            y0, y1, step_y = z, z, 0
            if i > 0 and math.isfinite(depth[i - 1, j]):
                y0 = np.float64(depth[i - 1, j])
                step_y += 1
            if i + 1 < height and math.isfinite(depth[i + 1, j]):
                y1 = np.float64(depth[i + 1, j])
                step_y += 1
            dx = (x1 - x0) * scale / step_x if step_x > 0 else 0.0
            dy = (y0 - y1) * scale / step_y if step_y > 0 else 0.0
            inverse = 1.0 / math.sqrt(dx * dx + dy * dy + 1.0)
            out[i, j, 0], out[i, j, 1], out[i, j, 2] = -dx * inverse, -dy * inverse, inverse
