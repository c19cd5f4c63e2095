"""Lights of other photos, turned and made uneven, for photos that are shaded anew.

Tested by tests/lab/datasets/test_fine.py and tests/lab/datasets/test_wrinkles.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from facerelief.geometry.rotation import matrix_from_euler
from facerelief.rendering.lighting import rotate_light, shade
from facerelief.synthesis.transfer import ReliefView
from facerelief.typed import Float32, Float64

_HARDEST = 2.5
"""The uneven part of a light is made at most this many times stronger."""
_BRIGHTEST = 0.92
"""A new light leaves nearly all of a face's pixels below this."""


def moved_light(
    view: ReliefView,
    lights: Float32 | None,
    rng: np.random.Generator,
    turn_degrees: tuple[float, float],
    darkest_share: tuple[float, float],
) -> Float64 | None:
    """Another photo's light, turned, and as bright and as coloured on a face as its own.

    Args:
        view: The face.
        lights: (F, 9, 3) to choose from; None for none.
        rng: Random numbers; as many are taken whether there is a light or not.
        turn_degrees: The light is turned about the head by an angle between these, either way.
        darkest_share: It is made so uneven that the darkest part of the face has a share of the mean shading
            between these.

    Returns:
        (9, 3), or None where there are no lights or no skin.
    """
    turn, nod = np.radians(rng.uniform(*turn_degrees)) * rng.choice([-1, 1]), rng.uniform(-0.3, 0.3)
    pick, darkest = rng.random(), rng.uniform(*darkest_share)
    level = math.exp(0.08 * rng.standard_normal())
    if lights is None or not view.mask.any():
        return None
    light: Any = rotate_light(
        lights[int(pick * len(lights))].astype(np.float64), matrix_from_euler(nod, turn, 0.0)
    )
    normals, seen = view.normals[view.mask][::5], view.image[view.mask][::5] / np.float32(255)
    old = np.maximum(shade(normals, view.light), view.least(view.light))
    even, uneven = light.copy(), light.copy()
    even[1:], uneven[0] = 0, 0
    uneven_shading = shade(normals, uneven)
    base = shade(normals, even).mean(axis=1) + uneven_shading.mean()
    drop = float(np.quantile(uneven_shading.mean(axis=1) - uneven_shading.mean(), 0.03))
    bright = max(float(base.mean()), 1e-3)
    light[1:] *= min((1 - darkest) * bright / max(-drop, 1e-6), _HARDEST)
    new = np.maximum(shade(normals, light), 1e-3)
    light *= level * np.maximum(old.mean(axis=0), 1e-3) / new.mean(axis=0)
    new = np.maximum(shade(normals, light), 0)
    peak = float(np.quantile((seen * new / old).max(axis=1), 0.97))
    return light * min(1.0, max(_BRIGHTEST, float(np.quantile(seen.max(axis=1), 0.97))) / max(peak, 1e-3))
