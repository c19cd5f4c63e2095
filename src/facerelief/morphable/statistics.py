"""Statistical expression bases derived from blendshapes, in the form the papers use.

The papers express a face's motion by principal components with a standard deviation each; the open model has
named blendshapes. Here plausible blendshape weights are drawn, and the components of their motion taken.

The components are taken *about the neutral face*, not about the average expression: coefficient zero must
stay the neutral face for everything that removes or transfers expressions. "One deviation" is therefore the
root mean square of a coefficient, and the first components have a mean of their own (a mouth opens, it does
not close beyond shut).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import ModelError
from facerelief.morphable.model import FaceModel
from facerelief.typed import Float32


@dataclass(frozen=True)
class ExpressionSampling:
    """Distribution of plausible blendshape weights."""

    active: float = 4.0
    """Expected number of units in use per face, a left-right pair counting once."""
    together: float = 0.85
    """Chance that both sides of a pair move, rather than one."""
    asymmetry: float = 0.15
    """Largest relative difference between the sides when both move."""
    beta: tuple[float, float] = (1.2, 2.0)
    """Shape of the distribution of a used unit's weight in [0, 1]."""


# what a face does not do at once, ARKit stems; a sided stem conflicts on its own side
_EXCLUSIVE = (
    ("jawLeft", "jawRight"),
    ("mouthLeft", "mouthRight"),
    ("eyeBlink", "eyeWide"),
    ("eyeSquint", "eyeWide"),
    ("mouthSmile", "mouthFrown"),
    ("browDown", "browOuterUp"),
    ("mouthPucker", "mouthFunnel"),
    ("mouthPucker", "mouthSmile"),
    ("mouthPucker", "mouthStretch"),
    ("mouthFunnel", "mouthSmile"),
    ("mouthFunnel", "mouthStretch"),
    ("mouthRollUpper", "mouthUpperUp"),
    ("mouthRollLower", "mouthLowerDown"),
    ("eyeLookUp", "eyeLookDown"),
    ("eyeLookIn", "eyeLookOut"),
)


def sample_expressions(
    names: Sequence[str], samples: int, seed: int = 0, sampling: ExpressionSampling | None = None
) -> Float32:
    """Plausible sparse blendshape weights, (samples, E) float32 in [0, 1], for expressions of those names.

    Sides of a pair (xLeft and xRight, or x_L and x_R) mostly move alike; both eyes look the same way (one in,
    the other out); of units that exclude each other only the stronger stays; the lips close over an open jaw
    (mouthClose) no further than the jaw is open. Names that ARKit does not have move independently.
    """
    rng = np.random.default_rng(seed)
    s = sampling or ExpressionSampling()
    units = _units(names)
    out = np.zeros((samples, len(names)), np.float32)
    chance = min(1.0, s.active / max(1, len(units)))
    for sides in units.values():
        used = rng.random(samples) < chance
        weight = rng.beta(*s.beta, size=samples) * used
        if len(sides) == 1:
            out[:, sides[0]] = weight
            continue
        weaker = 1.0 - s.asymmetry * rng.random(samples)
        alone = rng.random(samples) >= s.together
        first = rng.random(samples) < 0.5
        other = np.where(alone, 0.0, weight * weaker)
        out[:, sides[0]] = np.where(first, weight, other)
        out[:, sides[1]] = np.where(first, other, weight)
    _turn_eyes_together(out, units)
    for one, two in _EXCLUSIVE:
        for a, b in _meetings(units.get(one, ()), units.get(two, ())):
            lose = np.where(out[:, a] >= out[:, b], b, a)
            both = (out[:, a] > 0) & (out[:, b] > 0)
            out[both, lose[both]] = 0.0
    if "mouthClose" in units and "jawOpen" in units:
        close, jaw = units["mouthClose"][0], units["jawOpen"][0]
        out[:, close] = np.minimum(out[:, close], out[:, jaw])
    return out


def expression_pca(
    model: FaceModel,
    n_components: int,
    samples: int = 2000,
    seed: int = 0,
    sampling: ExpressionSampling | None = None,
) -> FaceModel:
    """The model with a statistical expression basis (kind "pca") in place of its blendshapes.

    The `n_components` strongest principal components of `samples` drawn expressions, about the neutral face
    (see the module's docstring); each column is the displacement of one deviation in mm. The same seed gives
    the same basis. Raises ModelError if the model's expressions are not blendshapes or fewer than asked for.
    """
    if model.expression_kind != "blendshape":
        raise ModelError(
            f"model {model.name!r}: its expressions are statistical already; use them as they are"
        )
    if not 1 <= n_components <= model.n_expression:
        raise ModelError(
            f"model {model.name!r}: {n_components} components asked of {model.n_expression} blendshapes; "
            f"ask for 1 to {model.n_expression}"
        )
    weights = sample_expressions(model.expression_names, samples, seed, sampling).astype(np.float64)
    shapes = model.expression.reshape(-1, model.n_expression).astype(np.float64)
    # with root root^T = E[w w^T], the second moment of displacements is (shapes root) times its transpose
    moment = weights.T @ weights / max(1, samples)
    values, vectors = np.linalg.eigh(moment)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    gram = root.T @ (shapes.T @ shapes) @ root
    strength, directions = np.linalg.eigh(gram)
    order = np.argsort(strength)[::-1][:n_components]
    basis = shapes @ (root @ directions[:, order])
    # a component's sign is free: let its largest displacement be positive, so that builds agree
    peak = basis[np.abs(basis).argmax(axis=0), np.arange(n_components)]
    basis *= np.where(peak < 0, -1.0, 1.0)
    return replace(
        model,
        expression=np.ascontiguousarray(basis.reshape(model.n_vertices, 3, n_components), np.float32),
        expression_names=tuple(f"expression_{i:03d}" for i in range(n_components)),
        expression_kind="pca",
    )


def _units(names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Stem -> its one component, or its (left, right) components."""
    index = {name: i for i, name in enumerate(names)}
    units: dict[str, tuple[int, ...]] = {}
    for name, i in index.items():
        for left, right in (("Left", "Right"), ("_L", "_R")):
            stem = name.removesuffix(left)
            # jawLeft and jawRight are two directions, not two sides
            if name.endswith(left) and stem + right in index and stem not in ("jaw", "mouth"):
                units[stem] = (i, index[stem + right])
    paired = {i for sides in units.values() for i in sides}
    return units | {name: (i,) for name, i in index.items() if i not in paired}


def _meetings(one: tuple[int, ...], two: tuple[int, ...]) -> list[tuple[int, int]]:
    """Pairs of components of two units that can conflict: of the same side, or all where one has no sides."""
    return list(zip(one, two)) if len(one) == len(two) else [(a, b) for a in one for b in two]


def _turn_eyes_together(weights: NDArray[np.float32], units: dict[str, tuple[int, ...]]) -> None:
    """Looking to the left is the left eye out and the right eye in; up and down go together as any pair."""
    inward, outward = units.get("eyeLookIn", ()), units.get("eyeLookOut", ())
    if len(inward) == len(outward) == 2:
        to_left, to_right = weights[:, outward[0]].copy(), weights[:, inward[0]].copy()
        to_right[to_left > 0] = 0.0
        weights[:, outward[0]] = weights[:, inward[1]] = to_left
        weights[:, inward[0]] = weights[:, outward[1]] = to_right
    for stem in ("eyeLookUp", "eyeLookDown"):
        sides = units.get(stem, ())
        if len(sides) == 2:
            both = weights[:, list(sides)].max(axis=1)
            weights[:, sides[0]] = weights[:, sides[1]] = both
